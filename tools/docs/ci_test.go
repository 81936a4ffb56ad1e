// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

var yamlFence = regexp.MustCompile("(?ms)^```yaml\n# (\\S+)\n(.*?)^```")

// The guide to CI servers has files that they accept: actionlint checks the workflow, and of
// GitLab's what can be checked without it.
func TestCI(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/guides/ci.md")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, m := range yamlFence.FindAllStringSubmatch(string(text), -1) {
		files[m[1]] = m[2]
	}
	workflow, gitlab := files[".github/workflows/deploy.yml"], files[".gitlab-ci.yml"]
	if workflow == "" || gitlab == "" {
		t.Fatalf("the guide has %d files", len(files))
	}
	file := filepath.Join(t.TempDir(), "deploy.yml")
	if err := os.WriteFile(file, []byte(workflow), 0o644); err != nil {
		t.Fatal(err)
	}
	// The shell scripts in it are checked where there is a shellcheck, which not all have.
	if out, err := exec.CommandContext(t.Context(), "go", "tool", "actionlint", "-no-color", "-shellcheck=", "-pyflakes=", file).CombinedOutput(); err != nil {
		t.Errorf("actionlint: %v\n%s", err, out)
	}

	var jobs map[string]yaml.Node
	if err := yaml.Unmarshal([]byte(gitlab), &jobs); err != nil {
		t.Fatalf("GitLab's file: %v", err)
	}
	for name, node := range jobs {
		if name == "variables" || name == "default" {
			continue
		}
		var job struct {
			Script []string
			Rules  []struct{ If string }
		}
		if err := node.Decode(&job); err != nil || len(job.Script) == 0 || len(job.Rules) == 0 {
			t.Errorf("job %s of GitLab's has %d lines and %d rules: %v", name, len(job.Script), len(job.Rules), err)
		}
		for _, line := range job.Script {
			if out, err := exec.CommandContext(t.Context(), "sh", "-n", "-c", line).CombinedOutput(); err != nil {
				t.Errorf("line %q of job %s: %v\n%s", line, name, err, out)
			}
		}
	}
	if strings.Contains(workflow+gitlab, "AWS_SECRET") {
		t.Error("there is a key in it")
	}
}
