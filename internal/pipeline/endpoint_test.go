// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline_test

import (
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// An environment that serves moves between no load balancers; one that doesn't may, and another
// host or priority of the same listener is no move.
func TestCheckEndpoint(t *testing.T) {
	t.Parallel()
	rule := func(listener string, priority int) *pipeline.ListenerRule {
		return &pipeline.ListenerRule{Listener: listener, Host: "shop.example.com", Priority: priority}
	}
	for name, tt := range map[string]struct {
		from, to *pipeline.ListenerRule
		status   pipeline.EnvironmentStatus
		want     string
	}{
		"to a listener":              {nil, rule("l-1", 10), pipeline.EnvRunning, "behind a load balancer of its own, and can't move to listener l-1"},
		"back":                       {rule("l-1", 10), nil, pipeline.EnvDegraded, "behind listener l-1, and can't move to a load balancer of its own"},
		"to another listener":        {rule("l-1", 10), rule("l-2", 10), pipeline.EnvRunning, "listener l-2"},
		"another priority":           {rule("l-1", 10), rule("l-1", 20), pipeline.EnvRunning, ""},
		"nothing serves":             {nil, rule("l-1", 10), pipeline.EnvLaunching, ""},
		"it is gone":                 {nil, rule("l-1", 10), pipeline.EnvGone, ""},
		"a load balancer of its own": {nil, nil, pipeline.EnvRunning, ""},
	} {
		s := &pipeline.State{Environments: map[string]pipeline.Environment{
			"e-1": {ID: "e-1", Stage: "production", Purpose: pipeline.ForStage, Status: tt.status, Spec: pipeline.EnvironmentSpec{Rule: tt.from}},
		}}
		stage := pipeline.Stage{Name: "production", Pipeline: "shop", Env: &pipeline.EnvironmentSpec{Keep: true, Rule: tt.to}}
		err := pipeline.CheckEndpoint(s, stage)
		if (err != nil) != (tt.want != "") || err != nil && (pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}
