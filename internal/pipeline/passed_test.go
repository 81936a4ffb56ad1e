// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline_test

import (
	"testing"

	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline/pipelinetest"
)

func TestLaunch(t *testing.T) {
	s := Tell(t).Event(PipelineDefined, Facts{Pipeline: &Pipeline{Name: "shop", Service: Service{Install: "install", Start: "start"}}}).
		Stages(CommitOf("x"), A(TypeAcceptance, "commit"), A(TypeCapacity, "acceptance"), Named("early", "commit")).Offered("x")
	build := s.State().Builds[ID("x")]
	build.Artifact = &Artifact{Digest: "sha256:1"}
	s.Event(RunEnded, Facts{Build: &build})
	if got := s.State().Launch(A(TypeCapacity, "acceptance"), ID("x")); got.Image != "img-1" || !got.Install {
		t.Errorf("before the bake: %+v", got)
	}
	build.Image, build.BakedBy = "img-app", "acceptance"
	s.Event(RunEnded, Facts{Build: &build})
	st := s.State()
	for stage, want := range map[string]string{"capacity": "img-app", "acceptance": "img-1", "early": "img-1"} {
		if got := st.Launch(st.Stages[stage], ID("x")); got.Image != want || got.Install != (want == "img-1") {
			t.Errorf("%s launches %+v, want %s", stage, got, want)
		}
	}
	if got := st.Launch(Stage{}, ID("x")); got.Image != "img-app" {
		t.Errorf("a person launches %+v", got)
	}
}

// TestDerivedIDs fixes what must be the same on every machine, permanently.
func TestDerivedIDs(t *testing.T) {
	if got := BuildID("shop", "sha256:1", "img-1"); got != "b-cac647d2c9" {
		t.Errorf("build ID is %s", got)
	}
	if BuildID("shop", "ab", "c") == BuildID("shop", "a", "bc") || ID("x") == BuildID("shop", "x", "img-2") || ID("x") == BuildID("other", "x", "img-1") {
		t.Error("different inputs give one build ID")
	}
	s := A(TypeCapacity, "acceptance")
	base := s.Digest(Pipeline{})
	if base != "d-3660d30af3f48b38" {
		t.Errorf("definition digest is %s", base)
	}
	same := s
	same.After, same.Pin, same.Trigger, same.Name = []string{"x"}, "b-1", TriggerManual, "other"
	same.Env = &EnvironmentSpec{Instances: 7}
	if same.Digest(Pipeline{Scale: Scale{Instances: 5}}) != base {
		t.Error("a name, gate, pin or number of instances changed the digest")
	}
	for name, change := range map[string]func(*Stage, *Pipeline){
		"step":        func(s *Stage, _ *Pipeline) { s.Steps = []Step{{Name: "x"}} },
		"environment": func(s *Stage, _ *Pipeline) { s.Env = &EnvironmentSpec{Env: map[string]string{"A": "b"}} },
		"service":     func(_ *Stage, p *Pipeline) { p.Service.Start = "other" },
		"runner":      func(s *Stage, _ *Pipeline) { s.Runner = RunnerCodeBuild },
		"machines":    func(s *Stage, _ *Pipeline) { s.Steps = []Step{{Load: &Load{Machines: 2}}} },
		"secrets":     func(s *Stage, _ *Pipeline) { s.Env = &EnvironmentSpec{SecretsVersion: 2} },
	} {
		changed, p := s, Pipeline{}
		change(&changed, &p)
		if changed.Digest(p) == base {
			t.Errorf("a change of the %s did not change the digest", name)
		}
	}
}
