// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"time"
)

// StageType selects a stage's defaults.
type StageType string

// The stage types that a penstock_stage can have. Baked images and self-service
// environments are resources of their own.
const (
	TypeBootstrap     StageType = "bootstrap"
	TypeCommit        StageType = "commit"
	TypeAcceptance    StageType = "acceptance"
	TypeExploratory   StageType = "exploratory"
	TypeCapacity      StageType = "capacity"
	TypePreProduction StageType = "pre-production"
	TypeProduction    StageType = "production"
	TypeCustom        StageType = "custom"
)

// StageTypes lists the types in the order of a pipeline.
var StageTypes = []StageType{
	TypeBootstrap, TypeCommit, TypeAcceptance, TypeExploratory,
	TypeCapacity, TypePreProduction, TypeProduction, TypeCustom,
}

// Trigger says what moves a stage to a new build.
type Trigger string

// The triggers.
const (
	TriggerAutomatic Trigger = "automatic"
	TriggerManual    Trigger = "manual" // only a pin or a promotion moves it
)

// OnFailure says what happens to a run's environment if the run fails.
type OnFailure string

// The values of OnFailure.
const (
	OnFailureDestroy OnFailure = "destroy"
	OnFailureKeep    OnFailure = "keep"
)

// RunnerKind says which machine runs a stage's steps, except for those on the environment.
type RunnerKind string

// The kinds of runner.
const (
	RunnerLocal     RunnerKind = "" // the machine that runs Terraform
	RunnerCodeBuild RunnerKind = "codebuild"
)

// Stage is the definition of a named gate.
type Stage struct {
	ID        string           `json:"id"` // random, chosen when it is first defined
	Pipeline  string           `json:"pipeline"`
	Name      string           `json:"name"`
	Type      StageType        `json:"type"`
	After     []string         `json:"after,omitempty"`           // names of the stages upstream
	Elsewhere []Elsewhere      `json:"after_elsewhere,omitempty"` // stages of other pipelines that it comes after, too
	Pin       string           `json:"pin,omitempty"`             // a build ID; promotion by attribute
	Trigger   Trigger          `json:"trigger"`
	Source    *SourceRef       `json:"source,omitempty"`     // commit and bootstrap stages only
	BaseImage string           `json:"base_image,omitempty"` // commit stages only: an image ID
	Steps     []Step           `json:"steps,omitempty"`
	Artifact  string           `json:"artifact,omitempty"` // commit stages only: path in the checkout
	Env       *EnvironmentSpec `json:"environment,omitempty"`
	At        Target           `json:"at,omitzero"`       // where its environments are
	Targets   []StageTarget    `json:"targets,omitempty"` // where its environments are, if they are at several places
	Rollout   Rollout          `json:"rollout,omitzero"`  // of a build over the targets
	Approval  bool             `json:"approval"`          // a build passes only with a person's approval
	Bake      bool             `json:"bake"`              // a passed run yields the build's application image
	OnFailure OnFailure        `json:"on_failure"`
	Runner    RunnerKind       `json:"runner,omitempty"`
	Publish   *Publication     `json:"publish,omitempty"` // of the image of the build that it gives out; nil: none is published
	Applied   bool             `json:"applied"`           // its first apply has ended well at least once
	Owner     string           `json:"owner"`
	Made      Made             `json:"made,omitzero"`
}

// EnvironmentSpec says what environment the steps of a stage get.
type EnvironmentSpec struct {
	Instances        int                        `json:"instances"` // 0 means the pipeline's scale
	Env              map[string]string          `json:"env,omitempty"`
	SecretsVersion   int64                      `json:"secrets_version,omitempty"`
	Keep             bool                       `json:"keep"`                  // persistent: it serves until the next build replaces it
	Address          string                     `json:"address,omitempty"`     // to listen on; empty means loopback
	Port             int                        `json:"port,omitempty"`        // of the endpoint; 0 means any free one, kept
	Certificate      string                     `json:"certificate,omitempty"` // ARN; the endpoint of a persistent environment speaks HTTPS with it
	Balancer         *Balancer                  `json:"load_balancer,omitempty"`
	Rule             *ListenerRule              `json:"listener_rule,omitempty"` // of a listener that exists; nil: the environment has a load balancer of its own
	DNS              *AliasRecord               `json:"dns,omitempty"`           // that leads to the endpoint of a persistent environment
	DataFrom         string                     `json:"data_from,omitempty"`     // the stage whose environment's data is copied
	Unmasked         bool                       `json:"unmasked,omitempty"`      // production's data may be copied as it is
	DrainTimeout     time.Duration              `json:"drain_timeout"`           // 0 means DefaultDrainTimeout
	InstanceType     string                     `json:"instance_type,omitempty"`
	Profile          string                     `json:"instance_profile,omitempty"` // of the instances, with their role; empty: the platform's
	Groups           []string                   `json:"security_groups,omitempty"`  // of the instances; none: the platform's
	Shift            []ShiftStep                `json:"shift,omitempty"`            // of a persistent environment; empty: all at once
	Alarms           []string                   `json:"alarms,omitempty"`           // that send its traffic back
	KeepPrevious     time.Duration              `json:"keep_previous,omitempty"`
	TargetAttributes map[string]string          `json:"target_attributes,omitempty"` // of a persistent environment's target groups, by AWS's names
	Scaling          *Scaling                   `json:"scaling,omitempty"`           // of a persistent environment; nil: none is declared
	Variables        map[string]json.RawMessage `json:"variables,omitempty"`         // of the pipeline's module: values in JSON
	VariablesVersion int64                      `json:"variables_version,omitempty"` // of the write-only ones
	AllowDestroy     bool                       `json:"allow_destroy,omitempty"`     // the module may destroy or replace what keeps data
	TrustedProxies   []string                   `json:"trusted_proxies,omitzero"`    // whose forwarding headers the endpoint keeps; nil: DefaultTrustedProxies
	Machine
}

// Balancer says how the load balancer of an environment behaves, beside where it listens.
// Zero fields, as none at all, are the platform's own choice.
type Balancer struct {
	SSLPolicy    string `json:"ssl_policy,omitempty"`    // with which it speaks HTTPS, by AWS's name
	Host         string `json:"host,omitempty"`          // name of the certificate by which the next build is reached; empty: its first
	RedirectHTTP bool   `json:"redirect_http,omitempty"` // requests of port 80 go to HTTPS
	LogBucket    string `json:"log_bucket,omitempty"`    // of S3, for its access log; empty: none is kept
	LogPrefix    string `json:"log_prefix,omitempty"`
}

// ShiftStep sends a share of the traffic to a new fleet, and pauses there for a look.
type ShiftStep struct {
	Percent int           `json:"percent"` // 1 to 99
	Pause   time.Duration `json:"pause"`
}

// Traffic returns how the traffic of the environment moves to a new fleet.
func (e EnvironmentSpec) Traffic() Traffic {
	return Traffic{Port: e.Port, Certificate: e.Certificate, Balancer: e.Balancer, Rule: e.Rule, DNS: e.DNS, Steps: e.Shift, Alarms: e.Alarms, KeepPrevious: e.KeepPrevious, Scaling: e.Scaling}
}

// Step is one command, HTTP check or load profile of a run. Exactly one of
// Command, Script, HTTP and Load is set.
type Step struct {
	Name           string            `json:"name"`
	Command        string            `json:"command,omitempty"` // run by a shell
	Script         string            `json:"script,omitempty"`  // a file of the source, for baked images
	On             StepPlace         `json:"on,omitempty"`
	Directory      string            `json:"directory,omitempty"` // relative to the checkout
	Env            map[string]string `json:"env,omitempty"`
	SecretsVersion int64             `json:"secrets_version,omitempty"`
	Timeout        time.Duration     `json:"timeout,omitempty"` // 0 means DefaultStepTimeout
	Retries        int               `json:"retries,omitempty"` // further tries after a failure
	Report         string            `json:"report,omitempty"`  // JUnit XML, a path or a pattern in the checkout
	// AllowEmptyReport accepts reports without a single test.
	AllowEmptyReport bool       `json:"allow_empty_report,omitempty"`
	HTTP             *HTTPCheck `json:"http,omitempty"`
	Load             *Load      `json:"load,omitempty"`
}

// Within returns the step for the whole checkout, of a step for one of its directories. A
// step that does not run beside the checkout is unchanged.
func (s Step) Within(dir string) Step {
	if dir == "" || s.On != OnRunner {
		return s
	}
	s.Directory = path.Join(dir, s.Directory)
	if s.Report != "" {
		s.Report = path.Join(dir, s.Report)
	}
	return s
}

// StepPlace says where a command runs.
type StepPlace string

// The places.
const (
	OnRunner      StepPlace = ""            // beside the checkout
	OnEnvironment StepPlace = "environment" // in one instance of the environment
	OnInstances   StepPlace = "instances"   // in each instance of it
)

// DefaultStepTimeout bounds a step that sets no time-out of its own: an hour is
// longer than a healthy test suite and shorter than a lost night.
const DefaultStepTimeout = time.Hour

// HTTPCheck requests a URL and checks the answer.
type HTTPCheck struct {
	URL      string            `json:"url,omitempty"`  // absolute
	Path     string            `json:"path,omitempty"` // on the environment's endpoint
	Method   string            `json:"method,omitempty"`
	Headers  map[string]string `json:"headers,omitempty"`
	Body     string            `json:"body,omitempty"`
	Status   int               `json:"status,omitempty"`   // 0 means 200
	Contains string            `json:"contains,omitempty"` // a regular expression that the body matches
}

// Load is a constant rate of requests and the thresholds that it must meet. A
// threshold of zero is not checked, but for ErrorRate, whose zero allows no error.
type Load struct {
	Rate          float64           `json:"rate"` // requests per second
	Duration      time.Duration     `json:"duration"`
	Ramp          time.Duration     `json:"ramp,omitempty"` // before Duration, in which the rate grows from nothing, and nothing is measured
	URL           string            `json:"url,omitempty"`
	Path          string            `json:"path,omitempty"`
	Method        string            `json:"method,omitempty"`
	Headers       map[string]string `json:"headers,omitempty"`
	Body          string            `json:"body,omitempty"`
	P50           time.Duration     `json:"p50,omitempty"`
	P95           time.Duration     `json:"p95,omitempty"`
	P99           time.Duration     `json:"p99,omitempty"`
	Max           time.Duration     `json:"max,omitempty"`
	ErrorRate     float64           `json:"error_rate"`               // share of requests, 0 to 1
	MinThroughput float64           `json:"min_throughput,omitempty"` // successful requests per second
	Machines      int               `json:"machines,omitempty"`       // that share the rate, if the runner has several; 0 means as many as the rate needs
}

// TakesBuild reports whether the stage runs for builds; a bootstrap stage runs
// for the platform itself.
func (s Stage) TakesBuild() bool { return s.Type != TypeBootstrap }

// RequiresDeployRight reports whether only people with the deploy right may move the stage: a
// person moves it, or its type is production.
func (s Stage) RequiresDeployRight() bool {
	return s.Trigger == TriggerManual || s.Type == TypeProduction
}

// Persistent reports whether the stage's environment outlives its run.
func (s Stage) Persistent() bool { return s.Env != nil && s.Env.Keep }

// Upstream returns the names in After once each, in order.
func (s Stage) Upstream() []string {
	seen := make(map[string]bool, len(s.After))
	var names []string
	for _, name := range s.After {
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

// Instances returns the number of instances of the stage's environment: its own,
// else the pipeline's scale, else one. It is zero without an environment.
func (s Stage) Instances(p Pipeline) int {
	switch {
	case s.Env == nil:
		return 0
	case s.Env.Instances > 0:
		return s.Env.Instances
	default:
		return max(p.Scale.Instances, 1)
	}
}

// StepsLimit returns how long the stage's steps may take together, with all their tries.
func (s Stage) StepsLimit() time.Duration {
	var limit time.Duration
	for _, step := range s.Steps {
		timeout := step.Timeout
		if timeout == 0 {
			timeout = DefaultStepTimeout
			if step.Load != nil {
				timeout = max(timeout, 2*(step.Load.Ramp+step.Load.Duration))
			}
		}
		limit += time.Duration(1+step.Retries) * timeout
	}
	return limit
}

// EnvironmentFor returns the specification of the stage's environment. Stages of production's
// size also have production's type of instance, if they set none.
func (s Stage) EnvironmentFor(p Pipeline) EnvironmentSpec {
	spec := *s.Env
	switch s.Type {
	case TypeCapacity, TypePreProduction, TypeProduction:
		if spec.InstanceType == "" {
			spec.InstanceType = p.Scale.InstanceType
		}
	}
	return spec
}

// Lasting reports whether the stage's instances may have what production's have, such as its
// secrets: those of production itself, of the stage that rehearses it on its data, and what
// serves until it is replaced. Tests may not.
func (s Stage) Lasting() bool {
	switch s.Type {
	case TypeProduction, TypePreProduction:
		return true
	case TypeCustom, TypeBootstrap:
		return s.Persistent()
	}
	return false
}

// WithDefaults fills in what the user left open and the stage's type decides: the name, the
// trigger, the environment, approval and bake. The caller says whether the user set approval
// and bake, because false is a choice there.
func (s Stage) WithDefaults(approval, bake *bool) Stage {
	if s.Name == "" {
		s.Name = string(s.Type)
	}
	if s.Trigger == "" {
		s.Trigger = TriggerAutomatic
		if s.Type == TypeProduction {
			s.Trigger = TriggerManual
		}
	}
	if s.OnFailure == "" {
		s.OnFailure = OnFailureDestroy
	}
	s.Approval, s.Bake = s.Type == TypeExploratory, s.Type == TypeAcceptance
	if approval != nil {
		s.Approval = *approval
	}
	if bake != nil {
		s.Bake = *bake
	}
	var env EnvironmentSpec
	if s.Env != nil {
		env = *s.Env
	}
	switch s.Type {
	case TypeAcceptance:
		if env.Instances == 0 {
			env.Instances = 1
		}
	case TypeCapacity, TypePreProduction:
	case TypeProduction:
		env.Keep = true
	default:
		if s.Env == nil {
			return s
		}
		if env.Instances == 0 {
			env.Instances = 1
		}
	}
	s.Env = &env
	return s
}

// Digest returns the definition digest: a hash of all that decides what a run of the stage
// does, so that a passed run with the same digest need not be repeated. Names, gates, the
// pin, the number of instances, how it follows the load, and the way that traffic moves are no
// part of it.
func (s Stage) Digest(p Pipeline) string {
	def := struct {
		Type     StageType
		Steps    []Step
		Artifact string
		Bake     bool
		Env      *EnvironmentSpec
		Service  *Service
		Approval bool
		Source   string
		Runner   RunnerKind `json:",omitempty"` // what ran before the choice existed keeps its digest
		Module   *Module    `json:",omitempty"` // as far as it decides what a run does
	}{Type: s.Type, Steps: s.Steps, Artifact: s.Artifact, Bake: s.Bake, Approval: s.Approval, Runner: s.Runner}
	if !s.TakesBuild() && s.Source != nil {
		def.Source = s.Source.Digest
	}
	if s.Env != nil {
		env := *s.Env
		env.Instances, env.Shift, env.Alarms, env.KeepPrevious, env.TrustedProxies, env.Scaling, env.AllowDestroy = 0, nil, nil, 0, nil, nil, false
		env.Unmasked = false
		def.Env, def.Service = &env, p.Service.forDigest(s)
	}
	if m := p.Module; m != nil && s.Env != nil {
		def.Module = &Module{Variables: m.Variables}
	} else if m != nil && s.Type == TypeCommit {
		def.Module = &Module{Directory: m.Directory, Source: m.Source, Version: m.Version}
	}
	return "d-" + hashJSON(def)[:16]
}

// Equal reports whether two stages have the same definition, source and gates.
func (s Stage) Equal(t Stage) bool { return hashJSON(s) == hashJSON(t) }

// hashJSON returns the hex SHA-256 of v's JSON. Maps are encoded in key order, so
// equal values give equal digests on every machine.
func hashJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("pipeline: encode definition: %v", err)) // only plain values are passed
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// TrustsAlike reports whether the endpoints of two environments trust the same proxies.
func (e EnvironmentSpec) TrustsAlike(f EnvironmentSpec) bool {
	return (e.TrustedProxies == nil) == (f.TrustedProxies == nil) && slices.Equal(e.TrustedProxies, f.TrustedProxies)
}

// Equal reports whether two environments are defined alike.
func (e EnvironmentSpec) Equal(f EnvironmentSpec) bool { return hashJSON(e) == hashJSON(f) }
