// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package protocol

import (
	"context"
	"errors"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// The paths of requests. Supervisors outlive upgrades, so a message may get further
// fields, and the protocol further paths; what there is, stays.
const (
	PathStatus    = "/v1/status"
	PathFleets    = "/v1/fleets/"
	PathInstances = "/v1/instances"
	PathExpiry    = "/v1/expiry"
	PathProxies   = "/v1/trusted-proxies"
	PathEnd       = "/v1/end"
)

// Variables are those that all commands of a fleet get, secrets among them, and
// the values to hide in output.
type Variables struct {
	Env     []string `json:"env"`
	Secrets []string `json:"secrets,omitempty"`
}

// Redactor returns what hides the secrets in output.
func (v Variables) Redactor() *pipeline.Redactor {
	all := make([]pipeline.Secret, len(v.Secrets))
	for i, s := range v.Secrets {
		all[i] = pipeline.Secret(s)
	}
	return pipeline.NewRedactor(all...)
}

// Status is what a supervisor says of its environment.
type Status struct {
	Report pipeline.EnvironmentReport `json:"report"`
	Fleets map[string]FleetStatus     `json:"fleets"`
	Ending bool                       `json:"ending,omitempty"`
}

// FleetStatus is what a supervisor says of one of its fleets.
type FleetStatus struct {
	Endpoint string `json:"endpoint"` // the fleet's own
	Ready    bool   `json:"ready"`
}

// Change is what every request that changes something says: under which leases.
type Change struct {
	By []pipeline.Fence `json:"by,omitempty"`
}

// FleetMessage asks for a fleet that is recorded to be started.
type FleetMessage struct {
	Change
	Variables
}

// ResizeMessage asks for another number of instances that serve.
type ResizeMessage struct {
	Change
	Instances int `json:"instances"`
}

// TrustMessage says whose forwarding headers the endpoint keeps from then on.
type TrustMessage struct {
	Change
	Proxies []string `json:"proxies"` // null for the default
}

// ExpiryMessage says when the environment ends by itself; zero is never.
type ExpiryMessage struct {
	Change
	At time.Time `json:"at,omitzero"`
}

// Place is where and with what a command runs in an instance.
type Place struct {
	Root      string    `json:"root"`
	Variables Variables `json:"variables"`
}

// Refusal is the answer to a request that failed.
type Refusal struct {
	Code    pipeline.Code `json:"code"`
	Op      string        `json:"op"`
	Message string        `json:"message"`
	Hint    string        `json:"hint,omitempty"`

	Advice []pipeline.Advice `json:"advice,omitempty"`
}

// RefusalOf returns the answer that says of an error what Err makes of it again.
func RefusalOf(ctx context.Context, err error) Refusal {
	err = Coded(ctx, "", err)
	r := Refusal{Code: pipeline.CodeOf(err), Message: err.Error()}
	r.Hint, r.Advice = pipeline.RemedyOf(err)
	var own *pipeline.Error
	if errors.As(err, &own) && own.Err != nil {
		r.Op, r.Message = own.Op, own.Err.Error()
	}
	return r
}

// Err returns the error that the answer stands for.
func (r Refusal) Err() error {
	return &pipeline.Error{Code: r.Code, Op: r.Op, Err: errors.New(r.Message), Hint: r.Hint, Advice: r.Advice}
}

// ServingFleet stands for the fleet that serves; for the one that is prepared
// where none does. No ID looks like it.
const ServingFleet = "-"

// LogVariable is where a command in an instance finds the log of the service.
const LogVariable = "PENSTOCK_LOG"

// What is done to an environment, in the words of errors.
const (
	OpPrepare = "prepare fleet"
	OpShift   = "shift traffic"
	OpDiscard = "discard fleet"
	OpResize  = "resize environment"
	OpExtend  = "extend environment"
	OpTrust   = "trust proxies"
	OpDestroy = "destroy environment"
)

// SuperviseArgument as the first argument makes this binary a supervisor.
const SuperviseArgument = "__supervise"
