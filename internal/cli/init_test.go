// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// Of several services init asks which one is meant, and takes a number or a name.
func TestInitAsks(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("TF_CLI_CONFIG_FILE", "")
	for answer, want := range map[string]string{"2\n": "apps/web", "apps/mail\n": "apps/mail", "3\n": "", "\n": "", "": ""} {
		repo := t.TempDir()
		for _, name := range []string{".git/HEAD", "apps/mail/package.json", "apps/web/package.json"} {
			file := filepath.Join(repo, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(`{"scripts": {"start": "node ."}}`), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var out, talk bytes.Buffer
		f := &factory{Streams: Streams{In: strings.NewReader(answer), Out: &out, Err: &talk}, terminal: func() bool { return true }}
		err := runInit(t.Context(), &initOptions{factory: f, dir: repo, platform: "local"})
		if !strings.Contains(talk.String(), "  1  apps/mail (Node.js)\n  2  apps/web (Node.js)\nWhich? ") {
			t.Errorf("it asks %q", talk.String())
		}
		if want == "" {
			if pipeline.CodeOf(err) != pipeline.CodeInvalid || exitStatus(err) != exitUsage {
				t.Errorf("the answer %q ends with %v", answer, err)
			}
			continue
		}
		text, readErr := os.ReadFile(filepath.Join(repo, want, "deploy", "main.tf"))
		if err != nil || readErr != nil || !strings.Contains(string(text), `directory  = "`+want+`"`) {
			t.Errorf("the answer %q writes %q, %v, %v", answer, text, err, readErr)
		}
	}
}

// What stands in the way of a first pipeline is said, and nothing is written then.
func TestInitRefuses(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	repo := t.TempDir()
	for name, text := range map[string]string{
		"repo/.git/HEAD": "", "repo/go.mod": "module a\n", "repo/deploy/app.yaml": "kind: Deployment\n", "repo/penstock/notes": "n\n",
		"repo/own/main.tf": "source = \"penstock-io/penstock\"\n", "outside/a": "",
	} {
		file := filepath.Join(repo, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(repo, name) }
	for name, tt := range map[string]struct {
		o    initOptions
		code pipeline.Code
		says string
	}{
		"both directories are taken": {initOptions{dir: at("repo")}, pipeline.CodeConflict, "other files are in"},
		"the named one is taken":     {initOptions{dir: at("repo"), target: at("repo/deploy")}, pipeline.CodeConflict, "other files are in"},
		"it has a pipeline":          {initOptions{dir: at("repo"), target: at("repo/own")}, pipeline.CodeConflict, "there is a configuration already"},
		"the named one is a file":    {initOptions{dir: at("repo"), target: at("repo/go.mod")}, pipeline.CodeInvalid, "go.mod"},
		"no such service":            {initOptions{dir: at("repo"), service: "x"}, pipeline.CodeNotFound, "there is no directory"},
		"no repository":              {initOptions{dir: at("outside")}, pipeline.CodeInvalid, "is not in a git repository"},
	} {
		o := tt.o
		o.platform = "local"
		o.factory = &factory{Streams: Streams{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}, terminal: func() bool { return false }}
		err := runInit(t.Context(), &o)
		if pipeline.CodeOf(err) != tt.code || err == nil || !strings.Contains(err.Error(), tt.says) || reason.Hint(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A service of a directory of a repository is built in a copy of the whole repository.
func TestLocalOfADirectory(t *testing.T) {
	source := &pipeline.SourceRef{Paths: &pipeline.Paths{Directory: "services/shop"}}
	for dir, want := range map[string]string{"/src/services/shop": "/src", "/src": "/src"} {
		r := localBuild{commit: pipeline.Stage{Source: source, Artifact: "dist.tar.gz", Steps: []pipeline.Step{
			{Name: "build", Command: "make", Report: "junit.xml"}, {Name: "there", Command: "make", Directory: "web"},
			{Name: "inside", Command: "true", On: pipeline.OnEnvironment},
		}}}
		given := r.commit.Steps[0]
		root, err := r.whole(dir)
		if err != nil || root != want || r.commit.Artifact != "services/shop/dist.tar.gz" {
			t.Errorf("%s is of %s, %v, with %s", dir, root, err, r.commit.Artifact)
		}
		if s := r.commit.Steps; s[0].Directory != "services/shop" || s[0].Report != "services/shop/junit.xml" || s[1].Directory != "services/shop/web" || s[2].Directory != "" {
			t.Errorf("the steps are %+v", s)
		}
		if given.Directory != "" {
			t.Error("the recorded step is changed")
		}
	}
	r := localBuild{commit: pipeline.Stage{Artifact: "a"}}
	if root, err := r.whole("."); err != nil || root != "." || r.commit.Artifact != "a" {
		t.Errorf("a whole repository is %s, %v, %s", root, err, r.commit.Artifact)
	}
}
