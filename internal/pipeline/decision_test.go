// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline_test

import (
	"slices"
	"testing"

	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline/pipelinetest"
)

// An approval counts for the run and the content that it was made on, and once as many people
// approve as must.
func TestApprovalCounts(t *testing.T) {
	approved := func() *Story {
		return Tell(t).Route().Offered("x").Passed("acceptance", "x").Passed("exploratory", "x").Decided("exploratory", "x", Approved)
	}
	artifact := func(s *Story) *Story {
		b := s.State().Builds[ID("x")]
		b.Artifact = &Artifact{Digest: "sha256:other"}
		return s.Event(BuildOffered, Facts{Build: &b})
	}
	two := &Pipeline{Name: "shop", Service: Service{Start: "start"}, Authorization: &Authorization{Approvals: 2}}
	tests := map[string]struct {
		story *Story
		want  bool
	}{
		"as it was":                    {approved(), true},
		"another run":                  {approved().Passed("exploratory", "x"), false},
		"another content":              {artifact(approved()), false},
		"another content, run again":   {artifact(approved()).Passed("exploratory", "x"), false},
		"approved again":               {artifact(approved()).Passed("exploratory", "x").Decided("exploratory", "x", Approved), true},
		"two must approve":             {approved().Event(PipelineDefined, Facts{Pipeline: two}), false},
		"rejected afterwards":          {approved().Decided("exploratory", "x", Rejected), false},
		"rejected, then approved":      {approved().Decided("exploratory", "x", Rejected).Decided("exploratory", "x", Approved), true},
		"a rejection outlives the run": {approved().Decided("exploratory", "x", Rejected).Passed("exploratory", "x"), false},
		"a rejection lifted without a run": {Tell(t).Route().Offered("x").Passed("acceptance", "x").Decided("exploratory", "x", Rejected).
			Decided("exploratory", "x", Approved), false},
		"lifted, and run then": {Tell(t).Route().Offered("x").Passed("acceptance", "x").Decided("exploratory", "x", Rejected).
			Decided("exploratory", "x", Approved).Passed("exploratory", "x"), false},
		"a failed run after an approval": {approved().Ran("exploratory", "x", RunFailed), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			st := tt.story.State()
			if got := st.Passed("exploratory", ID("x")); got != tt.want {
				t.Errorf("passed: %v, want %v", got, tt.want)
			}
			rejected := st.Decisions[StageBuild("exploratory", ID("x"))].Result == Rejected
			if got := st.IsDecided(st.Stages["exploratory"], ID("x")); got != (tt.want || rejected) {
				t.Errorf("settled: %v", got)
			}
		})
	}
}

// The authors are those of every build that comes with it.
func TestAuthors(t *testing.T) {
	s := Tell(t).Route()
	for _, b := range []struct {
		name    string
		authors []string
	}{{"v", []string{"eve"}}, {"x", []string{"ada", "bob"}}, {"y", nil}, {"z", []string{"dave"}}} {
		revision := Revision{}
		if b.name == "y" {
			revision = Revision{Author: "carol", Committer: "mallory"}
		}
		s.Event(BuildOffered, Facts{Build: &Build{ID: ID(b.name), Pipeline: "shop", Stage: "commit", Digest: b.name, Authors: b.authors, Revision: revision}})
		s.Ran("commit", b.name, RunPassed)
	}
	s.Passed("acceptance", "v", "x", "y").Passed("exploratory", "v", "x", "y").Decided("exploratory", "v", Approved)
	st := s.State()
	if got := st.Authors(st.Stages["exploratory"], ID("y")); !slices.Equal(got, []string{"ada", "bob", "carol", "mallory"}) {
		t.Errorf("authors %q", got)
	}
	if got := st.Authors(st.Stages["exploratory"], ID("v")); !slices.Equal(got, []string{"eve"}) {
		t.Errorf("authors %q", got)
	}
}
