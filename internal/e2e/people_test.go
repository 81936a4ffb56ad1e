// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// peopleConfig is a pipeline in which people decide and deploy.
func peopleConfig() string {
	config := strings.Replace(faultConfig(), "  scale = { instances = 2 }\n", "  scale = { instances = 1 }\n  force_destroy = true\n  authorize = { override = [\"*\"] }\n", 1)
	from := strings.Index(config, `resource "penstock_stage" "production"`)
	return config[:from] + `
resource "penstock_stage" "exploratory" {
  pipeline = penstock_pipeline.p.name
  type     = "exploratory"
  after    = [penstock_stage.acceptance.passed]
}
resource "penstock_stage" "pre_production" {
  pipeline = penstock_pipeline.p.name
  type     = "pre-production"
  after    = [penstock_stage.exploratory.passed]

  environment = { unmasked = true }
}
resource "penstock_stage" "production" {
  pipeline = penstock_pipeline.p.name
  type     = "production"
  after    = [penstock_stage.pre_production.passed]
}
output "production" { value = penstock_stage.production.endpoint }
`
}

// changes returns the names of the resources that a plan changes, sorted.
func (s *site) changes() []string {
	s.t.Helper()
	file := filepath.Join(s.dir, "tfplan")
	s.run(s.dir, terraform, "plan", "-no-color", "-input=false", "-out", file)
	var plan struct {
		Resources []struct {
			Name   string
			Change struct{ Actions []string }
		} `json:"resource_changes"`
	}
	s.must(json.Unmarshal([]byte(s.run(s.dir, terraform, "show", "-json", file)), &plan))
	names := []string{}
	for _, r := range plan.Resources {
		if actions := r.Change.Actions; !slices.Equal(actions, []string{"no-op"}) && !slices.Equal(actions, []string{"read"}) {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return names
}

// TestPeople takes builds through a pipeline with both faces of the binary. After each
// command the plan shows exactly what that command opened.
func TestPeople(t *testing.T) {
	t.Parallel()
	s := newSite(t, peopleConfig())
	s.apply()
	if got := s.changes(); len(got) > 0 {
		t.Fatalf("a pipeline that waits for people plans %v", got)
	}
	builds := func() (ids []string) {
		var rows []struct{ ID string }
		s.must(json.Unmarshal([]byte(s.penstock("builds", "p", "--json")), &rows))
		for _, r := range rows {
			ids = append(ids, r.ID)
		}
		return ids
	}
	for _, step := range []struct {
		command string // NEWEST and OLDEST stand for builds; git commits
		refused int    // exit status
		changes []string
		answers string // production, after the apply
	}{
		{command: "promote --yes p production", refused: 3},
		{command: "try p"},
		{command: "approve p exploratory --reason fine", changes: []string{"pre_production"}},
		{command: "approve p exploratory"},
		{command: "pause p production --reason Friday"},
		{command: "promote --yes p production", refused: 3},
		{command: "resume p production"},
		{command: "env launch p mine --ttl 1h"},
		{command: "promote --yes p production", changes: []string{"production"}, answers: "1"},
		{command: "retry p pre-production", changes: []string{"pre_production"}, answers: "1"},
		{command: "env destroy p mine --yes", answers: "1"},
		{command: "git 2", changes: []string{"acceptance", "commit", "exploratory"}, answers: "1"},
		{command: "promote --yes p production", refused: 3},
		{command: "override --yes p exploratory NEWEST --reason alone", changes: []string{"pre_production"}, answers: "1"},
		{command: "promote --yes p production NEWEST", changes: []string{"production"}, answers: "2"},
		{command: "rollback --yes p production", changes: []string{"production"}, answers: "1"},
		{command: "reject p pre-production NEWEST --reason leaks", answers: "1"},
		{command: "promote --yes p production NEWEST", refused: 3},
		{command: "env launch p mine --build NEWEST", refused: 3},
		{command: "approve --lift --yes p pre-production NEWEST"},
		{command: "promote --yes p production NEWEST", changes: []string{"production"}, answers: "2"},
		{command: "gc --yes"},
	} {
		ids := builds()
		line := strings.NewReplacer("NEWEST", ids[0], "OLDEST", ids[len(ids)-1]).Replace(step.command)
		status := 0
		if version, ok := strings.CutPrefix(line, "git "); ok {
			s.commit(version)
		} else {
			cmd := s.command(s.dir, binary, strings.Fields(line)...)
			out, err := cmd.CombinedOutput()
			if ended := new(exec.ExitError); err != nil && !errors.As(err, &ended) {
				t.Fatal(err)
			}
			if status = cmd.ProcessState.ExitCode(); status != step.refused {
				t.Fatalf("penstock %s ended with %d, not %d:\n%s", line, status, step.refused, out)
			}
		}
		if got := s.changes(); !slices.Equal(got, append([]string{}, step.changes...)) {
			t.Fatalf("after %s the plan changes %v, want %v", line, got, step.changes)
		}
		if len(step.changes) == 0 {
			continue
		}
		if strings.HasPrefix(line, "rollback ") { // is not seen without a refresh
			s.run(s.dir, terraform, "apply", "-refresh=false", "-auto-approve", "-no-color", "-input=false")
			if got := s.changes(); !slices.Equal(got, step.changes) {
				t.Fatalf("after %s and an apply without a refresh the plan changes %v, want %v", line, got, step.changes)
			}
		}
		s.apply()
		if got := s.changes(); len(got) > 0 {
			t.Fatalf("after %s and an apply the plan changes %v", line, got)
		}
		if step.answers != "" && s.answer(s.output("production")) != step.answers {
			t.Fatalf("after %s production answers %q, want %q", line, s.answer(s.output("production")), step.answers)
		}
	}
	s.penstock("ledger", "verify")
	s.destroy()
}

// TestRejectedBeside rejects a build at one stage while another offers it to be tried: nobody
// may approve it any more, so what serves it ends with the rejection.
func TestRejectedBeside(t *testing.T) {
	t.Parallel()
	config := strings.Replace(peopleConfig(), "  after    = [penstock_stage.acceptance.passed]\n", "  after    = [penstock_stage.acceptance.passed]\n  environment = { instances = 1 }\n", 1)
	s := newSite(t, config+`
resource "penstock_stage" "security" {
  pipeline = penstock_pipeline.p.name
  name     = "security"
  type     = "custom"
  approval = true
  after    = [penstock_stage.acceptance.passed]
}
`)
	s.apply()
	tried := func() (endpoint string) {
		var rows []struct{ Name, Endpoint string }
		s.must(json.Unmarshal([]byte(s.penstock("env", "list", "p", "--all", "--json")), &rows))
		for _, r := range rows {
			if r.Name == "exploratory" {
				endpoint = r.Endpoint
			}
		}
		return endpoint
	}
	if got := s.answer(tried()); got != "1" {
		t.Fatalf("what is tried answers %q", got)
	}
	s.penstock("reject", "p", "security", "1", "--reason", "it leaks")
	if at := tried(); at != "" {
		t.Errorf("what nobody may approve is still served at %s", at)
	}
	s.apply()
	if at, left := tried(), s.changes(); at != "" || len(left) > 0 {
		t.Errorf("after an apply it is served at %q, and the plan changes %v", at, left)
	}
	s.penstock("approve", "--lift", "--yes", "p", "security", "1")
	s.apply()
	if got := s.answer(tried()); got != "1" {
		t.Errorf("after the lift, what is tried answers %q", got)
	}
	s.destroy()
}
