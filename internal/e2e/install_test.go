// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// newcomer is somebody with a home directory of their own, in which nothing is yet, and
// what the README asks them to do.
type newcomer struct {
	*site
	home string
}

func newNewcomer(t *testing.T) *newcomer {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	n := &newcomer{&site{t: t, root: root, repo: filepath.Join(root, "repo"), dir: filepath.Join(root, "deploy")}, filepath.Join(root, "home")}
	bin := filepath.Join(n.home, ".local", "bin")
	n.must(os.MkdirAll(bin, 0o755), os.MkdirAll(n.dir, 0o755), os.MkdirAll(n.repo, 0o755))
	n.env = slices.DeleteFunc(cleanEnviron(), func(v string) bool {
		return strings.HasPrefix(v, "HOME=") || strings.HasPrefix(v, "XDG_") || strings.HasPrefix(v, "TERRAFORM_")
	})
	n.env = append(n.env, "HOME="+n.home, "PATH="+bin+":"+os.Getenv("PATH"), "CHECKPOINT_DISABLE=1", "E2E_SITE="+root,
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	for _, name := range []string{"GOPATH", "GOCACHE", "GOMODCACHE", "GOFLAGS", "GOPROXY", "GOSUMDB"} { // theirs are as good, and take no time
		value, err := exec.Command("go", "env", name).Output()
		n.must(err)
		n.env = append(n.env, name+"="+strings.TrimSpace(string(value)))
	}
	return n
}

// installed is the command that was installed.
func (n *newcomer) installed() string { return filepath.Join(n.home, ".local", "bin", "penstock") }

// settings writes the newcomer's settings of Terraform.
func (n *newcomer) settings(text string) { n.write(filepath.Join(n.home, ".terraformrc"), text) }

// What is installed makes init, plans, modules and watch work, with no settings at all, and
// another build of the same version does not end in a checksum that does not match.
func TestInstall(t *testing.T) {
	t.Parallel()
	n := newNewcomer(t)
	if out := n.run(n.root, binary, "install"); !strings.Contains(out, "Installed penstock 0.0.0+dev.") || strings.Contains(out, "\n- ") {
		t.Errorf("installed: %s", out)
	}
	n.must(os.MkdirAll(filepath.Join(n.dir, "pipeline"), 0o755))
	n.write(filepath.Join(n.dir, "main.tf"), "terraform {\n  backend \"local\" {\n    path = \"the.tfstate\"\n  }\n  required_providers {\n    penstock = {\n      source  = \"penstock-io/penstock\"\n      version = \">= 0.0.0\"\n    }\n  }\n}\n\nmodule \"shop\" {\n  for_each = toset([\"shop\", \"web\"])\n  source   = \"./pipeline\"\n  name     = each.key\n}\n")
	n.write(filepath.Join(n.dir, "pipeline", "main.tf"), "terraform {\n  required_providers {\n    penstock = { source = \"penstock-io/penstock\" }\n  }\n}\n\nvariable \"name\" {\n  type = string\n}\n\nresource \"penstock_pipeline\" \"it\" {\n  name = var.name\n}\n")
	if out := n.run(n.dir, terraform, "init", "-no-color", "-input=false"); !strings.Contains(out, "Installed penstock-io/penstock v0.0.0+dev.") {
		t.Errorf("initialised: %s", out)
	}
	n.apply()
	if out := n.run(n.dir, n.installed(), "watch", "--once", "--terraform", terraform); !strings.Contains(out, "nothing can move") {
		t.Errorf("watched: %s", out)
	}

	// Another build, as of the next `make install`.
	text, err := os.ReadFile(binary)
	n.must(err)
	other := filepath.Join(n.root, "other")
	n.must(os.WriteFile(other, append(text, "another build"...), 0o755))
	if out := n.run(n.root, other, "install"); !strings.Contains(out, "It replaces 0.0.0+dev.") || !strings.Contains(out, "terraform init -upgrade") {
		t.Errorf("installed over another: %s", out)
	}
	out, err := n.try(n.dir, terraform, "plan", "-no-color", "-input=false")
	if err == nil || !strings.Contains(out, "terraform init") || strings.Contains(out, "checksum") {
		t.Errorf("a plan with the build of before: %v\n%s", err, out)
	}
	n.run(n.dir, terraform, "init", "-upgrade", "-no-color", "-input=false")
	if code, plan := n.planned(); code != 0 {
		t.Errorf("the plan with the new build has changes:\n%s", plan)
	}
	n.destroy()
}

// Settings that keep Terraform from the provider are named, with what to do about them.
func TestInstallWithSettings(t *testing.T) {
	t.Parallel()
	n := newNewcomer(t)
	file := filepath.Join(n.home, ".terraformrc")
	n.settings("provider_installation {\n  dev_overrides {\n    \"penstock-io/penstock\" = \"/src/bin\"\n    \"registry.opentofu.org/penstock-io/penstock\" = \"/src/bin\"\n  }\n  direct {}\n}\n")
	if out := n.run(n.root, binary, "install"); !strings.Contains(out, file+" has dev_overrides for the provider") || !strings.Contains(out, "filesystem_mirror") {
		t.Errorf("installed: %s", out)
	}
	n.run(n.repo, "git", "init", "-q")
	n.write(filepath.Join(n.repo, "index.html"), "hello\n")
	if out := n.run(n.repo, n.installed(), "init"); !strings.Contains(out, "Next: cd deploy && terraform apply\n") || !strings.Contains(out, file+" has dev_overrides") {
		t.Errorf("init: %s", out)
	}

	// What the note says to add makes it work.
	n.settings("provider_installation {\n  direct {}\n}\n")
	out := n.run(n.root, binary, "install")
	_, block, found := strings.Cut(out, "Add to the block:\n")
	block, _, cut := strings.Cut(block, "and, where it has direct")
	if !found || !cut {
		t.Fatalf("installed: %s", out)
	}
	n.settings("provider_installation {\n" + block + "  direct {\n    exclude = [\"penstock-io/penstock\"]\n  }\n}\n")
	if out := n.run(n.root, binary, "install"); strings.Contains(out, "\n- ") {
		t.Errorf("installed: %s", out)
	}
	n.write(filepath.Join(n.dir, "main.tf"), "terraform {\n  required_providers {\n    penstock = { source = \"penstock-io/penstock\" }\n  }\n}\n")
	n.run(n.dir, terraform, "init", "-no-color", "-input=false")
}

// A watch that can't begin ends, and says why in lines that people can read.
func TestWatchThatCantBegin(t *testing.T) {
	t.Parallel()
	n := newNewcomer(t)
	bare := filepath.Join(n.root, "nothing")
	n.must(os.MkdirAll(bare, 0o755), os.MkdirAll(filepath.Join(n.root, "empty"), 0o755))
	n.write(filepath.Join(n.dir, "main.tf"), "terraform {\n  required_providers {\n    penstock = { source = \"penstock-io/penstock\" }\n  }\n}\n")
	n.settings("provider_installation {\n  dev_overrides {\n    \"penstock-io/penstock\" = \"/src/bin\"\n    \"registry.opentofu.org/penstock-io/penstock\" = \"/src/bin\"\n  }\n}\n")
	for name, tt := range map[string]struct {
		dir, path string
		args      []string
		want      []string
	}{
		"no provider":      {n.dir, "", []string{"--terraform", terraform}, []string{"penstock: begin to watch .: ", "\nError: ", ".terraformrc has dev_overrides for the provider", "penstock install"}},
		"once":             {n.dir, "", []string{"--terraform", terraform, "--once"}, []string{"\nError: ", "dev_overrides"}},
		"no configuration": {bare, "", []string{"--terraform", terraform}, []string{"has no Terraform configuration", "penstock init"}},
		"no terraform":     {n.dir, filepath.Join(n.root, "empty"), nil, []string{"neither terraform nor tofu", "--terraform"}},
	} {
		cmd := n.command(tt.dir, binary, append([]string{"watch"}, tt.args...)...)
		if tt.path != "" {
			cmd.Env = append(cmd.Env, "PATH="+tt.path)
		}
		out, err := cmd.CombinedOutput()
		if err == nil || cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("%s: it ended with %d", name, cmd.ProcessState.ExitCode())
		}
		for _, want := range tt.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: it does not say %q:\n%s", name, want, out)
			}
		}
		for line := range strings.Lines(string(out)) {
			if len(line) > 260 {
				t.Errorf("%s: it says %d characters in a line: %s", name, len(line), line)
			}
		}
	}
}
