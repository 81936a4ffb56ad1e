// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/docstest"
)

// repository is the root of this repository.
func repository(t testing.TB) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestQuickstart runs the show that the README is written around, and shows parts of.
func TestQuickstart(t *testing.T) {
	if testing.Short() {
		t.Skip("the show takes a minute; `make test` runs it")
	}
	cmd := exec.Command(filepath.Join(repository(t), "examples/quickstart/run"), binary, terraform)
	cmd.Env = append(cleanEnviron(), "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("quickstart: %v\n%s", err, out)
	}
	for _, want := range []string{
		"No changes.", "a broken commit was stopped at acceptance", "production is back on b-",
		"the chain is whole", "destroyed: no process, no port, no file",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the show does not say %q:\n%s", want, out)
		}
	}
	docstest.Shows(t, "README.md", "$ ", string(out))
}

// watch runs the show of an example whose programs are there. In CI all are.
func watch(t *testing.T, example string, programs map[string][]string, want ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("the show takes a minute; `make test` runs it")
	}
	for name, places := range programs {
		if !slices.ContainsFunc(append(places, name), func(p string) bool { _, err := exec.LookPath(p); return err == nil }) {
			text := fmt.Sprintf("the example %q needs %s: install it, as the example's README says", example, name)
			if os.Getenv("CI") != "" {
				t.Fatal(text)
			}
			t.Skip(text)
		}
	}
	cmd := exec.Command(filepath.Join(repository(t), "examples", example, "run"), binary, terraform)
	cmd.Env = append(cleanEnviron(), "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", example, err, out)
	}
	said := strings.Join(strings.Fields(string(out)), " ") // Terraform breaks its lines where they are full
	for _, w := range want {
		if !strings.Contains(said, w) {
			t.Errorf("the show does not say %q:\n%s", w, out)
		}
	}
}

// TestContainersExample has a module make environments as a whole. No request is lost.
func TestContainersExample(t *testing.T) {
	watch(t, "containers", map[string][]string{"nginx": {"/usr/sbin/nginx", "/usr/local/sbin/nginx"}, "python3": nil, "curl": nil},
		"and no request was lost", "and 0 were not", "this greeting is not translated", "a build that does not start left production as it was",
		"production is back on b-", "destroyed: no process, no port, no file")
}

// TestPostgresExample has a PostgreSQL in each environment, and takes data through the pipeline.
func TestPostgresExample(t *testing.T) {
	var initdb []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/initdb", "/opt/homebrew/opt/postgresql*/bin/initdb", "/usr/local/opt/postgresql*/bin/initdb"} {
		found, _ := filepath.Glob(pattern)
		initdb = append(initdb, found...)
	}
	watch(t, "postgres", map[string][]string{"initdb": initdb, "psql": nil, "python3": nil, "curl": nil},
		"migrated, with a backup before", "could not create unique index", "a failed migration left production as it was",
		"with its data", "alice has a PostgreSQL of her own", "destroyed: no process, no port, no file")
}

// TestQuickstartKept lets the show leave everything running, looks around as it says one
// can, and ends it as it says.
func TestQuickstartKept(t *testing.T) {
	if testing.Short() {
		t.Skip("the show takes a minute; `make test` runs it")
	}
	t.Parallel()
	cmd := exec.Command(filepath.Join(repository(t), "examples/quickstart/run"), binary, terraform)
	cmd.Env = append(cleanEnviron(), "TMPDIR="+t.TempDir(), "KEEP=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("quickstart: %v\n%s", err, out)
	}
	shell := func(line string) string {
		cmd := exec.Command("bash", "-c", line)
		cmd.Env = cleanEnviron()
		said, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", line, err, said)
		}
		return string(said)
	}
	_, source, found := strings.Cut(string(out), "To look around: ")
	source, _, _ = strings.Cut(source, "\n")
	_, end, ending := strings.Cut(string(out), "To end it:      ")
	end, _, _ = strings.Cut(end, "\n")
	if !found || !ending || !strings.HasPrefix(source, "source /") {
		t.Fatalf("it does not say how to go on:\n%s", out)
	}
	defer func() {
		shell(strings.Replace(end, " destroy", " destroy -auto-approve", 1))
		if _, err := os.Stat(filepath.Dir(strings.TrimPrefix(source, "source "))); !os.IsNotExist(err) {
			t.Errorf("it is left behind: %v", err)
		}
	}()
	shell(source + " && " + filepath.Base(terraform) + " plan -detailed-exitcode -no-color")
	if said := shell(source + " && penstock status"); !strings.Contains(said, "alice") || !strings.Contains(said, "production") {
		t.Errorf("status is %s", said)
	}
}

// TestSelf applies the pipeline of this very repository to its newest commit.
func TestSelf(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds and tests the repository; `make test` runs it")
	}
	config, err := os.ReadFile(filepath.Join(repository(t), "examples/self/main.tf"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, string(config))
	s.apply("-var", "repository="+repository(t))
	build := s.output("build")
	if out := s.penstock("status", "penstock"); !strings.Contains(out, build) {
		t.Errorf("status does not show build %s:\n%s", build, out)
	}
	s.destroy("-var", "repository="+repository(t))
}

// TestExamplesAreValid validates every configuration below examples/.
func TestExamplesAreValid(t *testing.T) {
	root := filepath.Join(repository(t), "examples")
	dirs := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".tf") {
			dirs[filepath.Dir(path)] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(dirs) < 2 {
		t.Fatalf("found only %v", dirs)
	}
	for dir := range dirs {
		t.Run(strings.TrimPrefix(dir, root+"/"), func(t *testing.T) {
			s := newSite(t, "")
			files, err := filepath.Glob(filepath.Join(dir, "*.tf"))
			if err != nil {
				t.Fatal(err)
			}
			s.must(os.Remove(filepath.Join(s.dir, "main.tf")))
			required := "terraform {\n  required_providers {\n    penstock = { source = \"penstock-io/penstock\" }\n  }\n}\n"
			for _, f := range files {
				data, err := os.ReadFile(f)
				s.must(err)
				if strings.Contains(string(data), "required_providers") {
					required = ""
				}
				s.write(filepath.Join(s.dir, filepath.Base(f)), string(data))
			}
			if required != "" {
				s.write(filepath.Join(s.dir, "required.tf"), required)
			}
			s.run(s.dir, terraform, "init", "-no-color", "-input=false")
			s.run(s.dir, terraform, "validate", "-no-color")
		})
	}
}
