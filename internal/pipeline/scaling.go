// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"cmp"
	"slices"
)

// Scaling says how the number of instances of a persistent environment follows its load.
type Scaling struct {
	Min      int             `json:"min,omitempty"` // 0 means the environment's number of instances
	Max      int             `json:"max"`
	Target   *ScalingTarget  `json:"target,omitempty"`
	Schedule []ScheduledSize `json:"schedule,omitempty"`
	WarmPool *WarmPool       `json:"warm_pool,omitempty"`
}

// Least returns the least number of instances of an environment that is defined with a
// number of them. Scaling may be nil.
func (s *Scaling) Least(instances int) int {
	if s == nil {
		return instances
	}
	return cmp.Or(s.Min, min(instances, s.Max))
}

// ScalingTarget is what the number of instances keeps a metric at. Exactly one is set.
type ScalingTarget struct {
	CPU               float64        `json:"cpu,omitempty"`                 // average utilization, in percent
	RequestsPerTarget float64        `json:"requests_per_target,omitempty"` // requests that an instance gets in a minute
	Metric            *ScalingMetric `json:"metric,omitempty"`
}

// ScalingMetric is a metric of CloudWatch that falls as instances are added.
type ScalingMetric struct {
	Namespace  string            `json:"namespace"`
	Name       string            `json:"name"`
	Dimensions map[string]string `json:"dimensions,omitempty"`
	Statistic  string            `json:"statistic"` // Average, Minimum, Maximum, SampleCount or Sum
	Value      float64           `json:"value"`     // to keep it at
}

// ScheduledSize changes the numbers of instances at times. Nil leaves one as it is.
type ScheduledSize struct {
	Name     string `json:"name"`
	Cron     string `json:"cron"`                // five fields
	TimeZone string `json:"time_zone,omitempty"` // of the IANA database; empty means UTC
	Min      *int   `json:"min,omitempty"`
	Max      *int   `json:"max,omitempty"`
	Desired  *int   `json:"desired,omitempty"`
}

// WarmPool are instances that have started once, and wait to be added.
type WarmPool struct {
	MinSize        int    `json:"min_size"`
	MaxPrepared    int    `json:"max_prepared,omitempty"` // instances, with those that serve; 0 means the maximum
	State          string `json:"state"`                  // WarmStopped, WarmRunning or WarmHibernated
	ReuseOnScaleIn bool   `json:"reuse_on_scale_in,omitempty"`
}

// How the instances of a warm pool wait.
const (
	WarmStopped    = "stopped"
	WarmRunning    = "running"
	WarmHibernated = "hibernated"
)

// targetAttributes are those of target groups that environment.target_attributes may set, by
// AWS's names: those of application load balancers whose targets are instances, but for what
// drain_timeout says.
var targetAttributes = []string{
	"load_balancing.algorithm.anomaly_mitigation", "load_balancing.algorithm.type", "load_balancing.cross_zone.enabled", "slow_start.duration_seconds",
	"stickiness.app_cookie.cookie_name", "stickiness.app_cookie.duration_seconds", "stickiness.enabled", "stickiness.lb_cookie.duration_seconds", "stickiness.type",
	"target_group_health.dns_failover.minimum_healthy_targets.count", "target_group_health.dns_failover.minimum_healthy_targets.percentage",
	"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage",
}

// TargetAttribute reports whether target groups have an attribute that environments may set.
func TargetAttribute(name string) bool { return slices.Contains(targetAttributes, name) }

// TargetAttributes lists the attributes of target groups that environments may set.
func TargetAttributes() []string { return slices.Clone(targetAttributes) }

// Size is how many instances an environment has.
type Size struct {
	Instances int
	Scaling   *Scaling // nil where nothing is declared
}

// ScalesAlike reports whether the numbers of instances of two environments follow their load
// alike.
func (e EnvironmentSpec) ScalesAlike(f EnvironmentSpec) bool {
	return hashJSON(e.Scaling) == hashJSON(f.Scaling)
}
