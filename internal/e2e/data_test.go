// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// dataConfig is a pipeline whose service keeps a schema and people in files. Its commands say
// in LOG what they did, and where.
func dataConfig() string {
	config := strings.NewReplacer(
		"  scale = { instances = 2 }\n", "  scale = { instances = 1 }\n  force_destroy = true\n",
		`  infrastructure = ["image/**"]`, "  infrastructure = [\"image/**\"]\n  data           = [\"db/**\"]",
		"tar -czf dist.tar.gz version", "tar -czf dist.tar.gz version db",
		"  trigger  = \"automatic\"\n", "",
		`    migrate      = "date > \"$PENSTOCK_DATA/migrated\""`, `
    migrate = <<-EOT
      cat db/* > "$PENSTOCK_DATA/schema"
      [ ! -e db/bad ] || { echo "relation does not exist"; exit 3; }
      echo "migrate $PENSTOCK_STAGE: $(tr '\n' ' ' < "$PENSTOCK_DATA/schema")" >> LOG
    EOT
    backup = <<-EOT
      mkdir -p "$PENSTOCK_DATA/backups"
      name=$(ls "$PENSTOCK_DATA/backups" | wc -l | tr -d ' ')
      cp "$PENSTOCK_DATA/schema" "$PENSTOCK_DATA/backups/$name"
      echo "backup $PENSTOCK_STAGE $name" >> LOG
      echo "copied the schema"
      echo "backups/$name"
    EOT
    restore = <<-EOT
      cp "$PENSTOCK_DATA/$PENSTOCK_BACKUP" "$PENSTOCK_DATA/schema"
      echo "restore $PENSTOCK_STAGE $PENSTOCK_BACKUP" >> LOG
    EOT
    copy = <<-EOT
      cp "$PENSTOCK_FROM_DATA/people" "$PENSTOCK_DATA/people"
      echo "copy from $PENSTOCK_FROM_STAGE $PENSTOCK_FROM_COLOUR to $PENSTOCK_STAGE $COLOUR" >> LOG
    EOT
    mask = <<-EOT
      echo "mask $(cat "$PENSTOCK_DATA/people")" >> LOG
      echo nobody > "$PENSTOCK_DATA/people"
    EOT
    finish = <<-EOT
      echo "finish $PENSTOCK_STAGE" >> LOG
    EOT`,
	).Replace(faultConfig())
	from := strings.Index(config, `resource "penstock_stage" "production"`)
	return config[:from] + `
resource "penstock_stage" "production" {
  pipeline    = penstock_pipeline.p.name
  type        = "production"
  after       = [penstock_stage.acceptance.passed]
  environment = { env = { COLOUR = "green" } }
}
resource "penstock_stage" "pre_production" {
  pipeline    = penstock_pipeline.p.name
  type        = "pre-production"
  after       = [penstock_stage.acceptance.passed]
  environment = { env = { COLOUR = "blue" } }
  steps       = [{ name = "harmless", command = "grep -q nobody \"$PENSTOCK_DATA/people\" || [ ! -e \"$PENSTOCK_DATA/people\" ]", on = "environment" }]
}
`
}

// TestData takes migrations through a pipeline on the local platform with both faces of the
// binary: backups, a migration that fails, a masked copy, a rollback with and without data,
// and what is run when a deployment is over.
func TestData(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	s := newSite(t, strings.ReplaceAll(dataConfig(), "LOG", log))
	did := func(when string, want ...string) {
		t.Helper()
		text, err := os.ReadFile(log)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		s.must(os.WriteFile(log, nil, 0o600))
		got := strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })
		for i := range got {
			got[i] = strings.TrimSpace(got[i])
		}
		slices.Sort(got) // two stages work at once
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the commands did\n  %s\nwant\n  %s", when, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
		}
	}
	migration := func(name, text string) {
		t.Helper()
		s.must(os.MkdirAll(filepath.Join(s.repo, "db"), 0o755))
		s.write(filepath.Join(s.repo, "db", name), text+"\n")
		s.run(s.repo, "git", "add", "-A")
		s.run(s.repo, "git", "commit", "-q", "-m", "migration "+name)
	}
	production := func() string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(s.dir, ".penstock", "environments", "*", "data"))
		if err != nil || len(found) != 1 {
			t.Fatalf("environments with data: %v, %v", found, err)
		}
		return found[0]
	}
	schema := func(want string) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(production(), "schema"))
		if got := strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", " "); err != nil || got != want {
			t.Errorf("production's schema is %q, want %q: %v", got, want, err)
		}
	}

	migration("1", "one")
	s.apply()
	did("the first apply", "migrate acceptance: one", "migrate pre-production: one")
	s.penstock("promote", "--yes", "p", "production")
	s.apply()
	did("the first deployment", "migrate production: one", "finish production")
	s.must(os.WriteFile(filepath.Join(production(), "people"), []byte("ada"), 0o600))

	// A change of the data alone goes all the way, and the copy of production's is masked.
	migration("2", "two")
	s.apply()
	did("a migration", "migrate acceptance: one two", "copy from production green to pre-production blue", "mask ada", "migrate pre-production: one two")
	var diff report.Diff
	s.must(json.Unmarshal([]byte(s.penstock("diff", "p", "--json")), &diff))
	if !slices.Equal(diff.Migrations, []report.Migration{{Path: "db/2", Change: "added"}}) {
		t.Errorf("the diff names the migrations %+v", diff.Migrations)
	}
	if text := s.penstock("diff", "p"); !strings.Contains(text, "MIGRATION") || !strings.Contains(text, "db/2") {
		t.Errorf("the diff says\n%s", text)
	}
	s.penstock("promote", "--yes", "p", "production")
	s.apply()
	did("its deployment", "backup production 0", "migrate production: one two", "finish production")
	schema("one two")
	if runs := s.penstock("runs", "p", "--stage", "production"); !strings.Contains(runs, "backup backups/0") {
		t.Errorf("the runs don't show the backup:\n%s", runs)
	}
	if text := s.penstock("logs", "p", "production"); !strings.Contains(text, `== hook "service.backup"`) || !strings.Contains(text, "the backup is backups/0") || !strings.Contains(text, `== hook "service.finish" passed`) {
		t.Errorf("the log is\n%s", text)
	}

	// A rollback leaves the data as it is, unless it is asked to restore it.
	s.penstock("rollback", "--yes", "p", "production")
	s.apply()
	did("a rollback", "backup production 1", "migrate production: one", "finish production")
	s.penstock("promote", "--yes", "p", "production")
	s.apply()
	did("forward again", "backup production 2", "migrate production: one two", "finish production")
	s.must(os.WriteFile(filepath.Join(production(), "schema"), []byte("broken"), 0o600))
	if text := s.penstock("rollback", "--yes", "--restore-data", "p", "production"); !strings.Contains(text, "restores backup backups/2") {
		t.Errorf("the rollback says\n%s", text)
	}
	s.apply()
	did("a rollback with data", "backup production 3", "restore production backups/2", "migrate production: one", "finish production")
	if code, text := s.planned(); code != 0 {
		t.Errorf("after that there is a plan:\n%s", text)
	}
	for _, line := range []string{"restored", "with the data of backup backups/2", "finished"} {
		if text := s.penstock("history", "p"); !strings.Contains(text, line) {
			t.Errorf("the history lacks %q:\n%s", line, text)
		}
	}

	// A migration that fails ends where it is found.
	migration("bad", "bad")
	if out, err := s.try(s.dir, terraform, "apply", "-auto-approve", "-no-color", "-input=false"); err == nil || !strings.Contains(out, "relation does not exist") {
		t.Errorf("a migration that fails: %v\n%s", err, out)
	}
	schema("one")
	s.destroy()
}
