// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import "strings"

// ListenerRule says which requests of a listener that exists are an environment's. The
// environment then has a rule of the listener, and no load balancer of its own. At least one of
// Host and Path is set; both may have * and ?.
type ListenerRule struct {
	Listener string `json:"listener"` // ARN
	Host     string `json:"host,omitempty"`
	Path     string `json:"path,omitempty"`
	Priority int    `json:"priority"` // 2 to 50000: the one before it is that of the rule for tests
}

// Name returns the host name that requests are sent to; empty where the rule says none, or a
// pattern.
func (r *ListenerRule) Name() string {
	if r == nil || strings.ContainsAny(r.Host, "*?") {
		return ""
	}
	return r.Host
}

// AliasRecord is a DNS name that leads to an environment.
type AliasRecord struct {
	Zone string `json:"zone_id"` // ID of a hosted zone
	Name string `json:"name"`    // in lower case, without a dot at its end
}

// CheckEndpoint refuses to move an environment that serves between load balancers: nobody who
// uses it would follow.
func CheckEndpoint(s *State, stage Stage) error {
	for _, at := range stage.AtTargets() {
		if err := CheckEndpoint(s, at); err != nil {
			return err
		}
	}
	env, exists := s.RunEnvironment(stage.Name, ForStage)
	if !exists || !env.Serves() || !stage.Persistent() {
		return nil
	}
	var from, to string
	if env.Spec.Rule != nil {
		from = env.Spec.Rule.Listener
	}
	if stage.Env.Rule != nil {
		to = stage.Env.Rule.Listener
	}
	if from == to {
		return nil
	}
	words := func(listener string) string {
		if listener == "" {
			return "a load balancer of its own"
		}
		return "listener " + listener
	}
	return Errorf(CodeInvalid, placing(stage), "environment.listener_arn: the environment serves behind %s, and can't move to %s without a gap for those who use it", words(from), words(to)).
		WithHint("Add a stage with the new place after the same stages, promote the build there, lead the names to it, and remove this stage then. "+
			"Where a gap does no harm, replace stage %q.", stage.Name)
}
