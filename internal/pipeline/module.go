// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"time"
)

// Module names the Terraform module that makes the infrastructure of a pipeline's
// environments: the same module for each of them, at the build's own revision. Exactly one of
// Directory and Source is set.
type Module struct {
	Directory string                     `json:"directory,omitempty"` // of the source, slash-separated: it rides with the build
	Source    string                     `json:"source,omitempty"`    // any address that a module block of Terraform takes
	Version   string                     `json:"version,omitempty"`   // constraint, for a Source that is in a registry
	Variables map[string]json.RawMessage `json:"variables,omitempty"` // values in JSON, for all environments
	Program   string                     `json:"terraform,omitempty"` // path or name of Terraform or OpenTofu; empty: the one that is found
	Timeout   time.Duration              `json:"timeout,omitempty"`   // of one apply; 0 means DefaultModuleTimeout
	Stateful  []string                   `json:"stateful,omitempty"`  // patterns of resource types or addresses that keep data, besides the known ones
	// DetectDrift has the environments of stages checked for what somebody else changed.
	DetectDrift bool          `json:"detect_drift,omitempty"`
	DriftEvery  time.Duration `json:"drift_every,omitempty"` // at most once in this time; 0 means DefaultDriftEvery
}

// DefaultModuleTimeout bounds one apply of a module that sets no time-out of its own. A
// replicated database takes most of an hour to come up; nothing that is common takes two.
const DefaultModuleTimeout = 2 * time.Hour

// EnvironmentModule says which module made the infrastructure of an environment.
type EnvironmentModule struct {
	// Package is the digest of the package that serves, or is being applied for the first time.
	Package string `json:"package"`
	// Instead says that the module is the environment: it has no instances of Penstock's.
	Instead bool                       `json:"instead,omitempty"`
	Outputs map[string]json.RawMessage `json:"outputs,omitempty"` // for people; none that are sensitive, and none with a meaning
}

// ModulePackage is the module of a build, as it was stored with it.
type ModulePackage struct {
	Artifact
	Instead bool `json:"instead,omitempty"` // it has an output "endpoint"
}

// ModuleFacts are what a module may know of the environment that it makes: the fields of its
// variable "penstock". A module declares those that it uses.
type ModuleFacts struct {
	Pipeline     string          `json:"pipeline"`
	Stage        string          `json:"stage"`       // empty for a person's environment
	Environment  string          `json:"environment"` // ID: unique, the same for the environment's life
	Name         string          `json:"name"`        // the stage's name, or the person's choice
	Build        string          `json:"build"`
	Commit       string          `json:"commit"`
	ImageID      string          `json:"image_id"`
	Artifact     *ModuleArtifact `json:"artifact"`
	Instances    int             `json:"instances"`
	InstanceType string          `json:"instance_type"`
	Port         int             `json:"port"`       // of the service; 0 if the platform chooses it
	Lasting      bool            `json:"lasting"`    // it serves until another build replaces this one
	ExpiresAt    string          `json:"expires_at"` // RFC 3339; empty: never
	From         json.RawMessage `json:"from"`       // the output "data" of the environment whose data this one gets; null for none
}

// ModuleArtifact says where a module finds the artifact of the build.
type ModuleArtifact struct {
	URL    string `json:"url"`    // file:// or s3://
	Digest string `json:"digest"` // "sha256:" + hex
	Name   string `json:"name"`   // base name of the file
}

// PackRequest asks for the package of a module.
type PackRequest struct {
	Module   Module
	Checkout string // directory of the work tree in which the module's Directory is; empty for a Source
	Within   string // the source's own directory in the checkout, slash-separated; empty for its root
	Out      string // the file to write
	Log      io.Writer
}

// ModuleRequest asks for the infrastructure of one environment.
type ModuleRequest struct {
	Environment string // ID: it has one state
	Target      Target // where the environment is: the module's providers have the credentials and the region of that place
	Fleet       string // ID that names what is applied, to tell it from what serves
	Package     string // file on this machine that Pack wrote
	Program     string // as in Module
	Variables   map[string]json.RawMessage
	Secrets     map[string]Secret // write-only variables: values in JSON
	Facts       ModuleFacts
	Stateful    []string // as in Module
	// AllowDestroy accepts that resources that keep data are destroyed or replaced.
	AllowDestroy bool
	Timeout      time.Duration // 0 means DefaultModuleTimeout
	Log          io.Writer
}

// ModuleOutputs are the outputs of an applied module.
type ModuleOutputs struct {
	Env       map[string]string          // variables of the service and of steps
	SecretEnv Secrets                    // those of them that are sensitive
	Endpoint  string                     // URL; not empty: the module is the environment, without instances of Penstock's
	Instance  ModuleInstance             // what the instances of the environment join
	Data      json.RawMessage            // for the environments that get this one's data; nil for none
	Others    map[string]json.RawMessage // the rest, except for the sensitive ones
	Changes   []ModuleChange             // what the apply did; nothing for outputs that are read later
}

// ModuleInstance is what the instances of an environment join, on platforms that have such
// things.
type ModuleInstance struct {
	SecurityGroups []string `json:"security_group_ids,omitempty"`
	Profile        string   `json:"instance_profile,omitempty"`
	Subnets        []string `json:"subnet_ids,omitempty"`
	TargetGroups   []string `json:"target_group_arns,omitempty"`
}

// ModuleSite is what is known of an environment's module.
type ModuleSite struct {
	Applied string        // the fleet that the last apply was for, whether or not it succeeded
	Serving string        // the fleet that was kept last; empty for none
	Outputs ModuleOutputs // of the last apply that succeeded
}

// ModulePlan is what an apply of a module would do.
type ModulePlan struct {
	Changes []ModuleChange `json:"changes,omitempty"` // by address
	Drift   []ModuleChange `json:"drift,omitempty"`   // what somebody else changed since the last apply
}

// ModuleChange is the change of one resource of a module.
type ModuleChange struct {
	Address  string       `json:"address"`            // of the resource in the module
	Type     string       `json:"type"`               // of the resource
	Action   ModuleAction `json:"action"`             // create, update, replace, destroy or read
	Stateful bool         `json:"stateful,omitempty"` // it keeps data, which is lost
	Reason   string       `json:"reason,omitempty"`   // of a replacement: the arguments that force it
}

// ModuleAction is what happens to a resource.
type ModuleAction string

// The actions.
const (
	ModuleCreate  ModuleAction = "create"
	ModuleUpdate  ModuleAction = "update"
	ModuleReplace ModuleAction = "replace"
	ModuleDestroy ModuleAction = "destroy"
	ModuleRead    ModuleAction = "read"
)

// Where says where the module is, for people.
func (m Module) Where() string {
	switch {
	case m.Directory != "":
		return "directory " + m.Directory
	case m.Version != "":
		return m.Source + " " + m.Version
	}
	return m.Source
}

// VariablesOf returns the variables of the module for an environment: those of its own add to
// those for all, and override them.
func (m Module) VariablesOf(e EnvironmentSpec) map[string]json.RawMessage {
	all := maps.Clone(m.Variables)
	if all == nil {
		all = map[string]json.RawMessage{}
	}
	maps.Copy(all, e.Variables)
	return all
}

// Modules makes the infrastructure of environments with Terraform. It keeps the state of each
// environment's module, with the package and the inputs of what was applied last and of what
// serves, so that each can be applied again and destroyed without anything else: they may
// have secrets, and are kept as states are. All methods may be called again after a crash or
// a lost answer, and then complete what was begun. Errors carry a Code, and name the module's
// resource if one failed.
type Modules interface {
	// Under returns the modules for changes under leases. Once a higher token of one of the
	// keys has been shown for an environment, a change is refused with CodeLeaseLost, and the
	// lock of its state belongs to whoever showed that token.
	Under(by ...Fence) Modules
	// Check refuses a module that can't be applied here: CodeInvalid, with the argument and
	// its value.
	Check(m Module) error
	// Pack checks a module, as far as that needs no values, and writes its package: its files,
	// those of the modules that it refers to, and the versions of its providers. The same
	// files give the same package. It returns whether the module has an output "endpoint".
	Pack(ctx context.Context, r PackRequest) (instead bool, err error)
	// Plan returns what Apply would do, and changes nothing. Write-only variables that the
	// request lacks have the values that were applied last.
	Plan(ctx context.Context, r ModuleRequest) (ModulePlan, error)
	// Apply makes the environment's infrastructure what the package and the inputs say. If it
	// fails or is cancelled, what was made stays known to Revert and Destroy.
	Apply(ctx context.Context, r ModuleRequest) (ModuleOutputs, error)
	// Keep records that what was applied last serves.
	Keep(ctx context.Context, environment string) error
	// Revert applies again what serves, with its own package and inputs. If nothing serves, it
	// destroys what there is.
	Revert(ctx context.Context, environment string, log io.Writer) error
	// Resize applies again what serves, for another number of instances.
	Resize(ctx context.Context, environment string, instances int, log io.Writer) error
	// Site returns what is known of the environment's module; CodeNotFound if it has none.
	Site(ctx context.Context, environment string) (ModuleSite, error)
	// Drift compares what was applied last with what exists, and changes nothing.
	Drift(ctx context.Context, environment string, log io.Writer) (ModulePlan, error)
	// Destroy destroys the environment's infrastructure, and then forgets it.
	Destroy(ctx context.Context, environment string, log io.Writer) error
	// Environments lists the environments that have a state, sorted.
	Environments(ctx context.Context) ([]string, error)
}
