// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// What a Platform and a supervisor say to each other: HTTP over the environment's
// socket, JSON in both directions. Supervisors outlive upgrades, so a message may
// get further fields and paths, and keeps those that it has.

const (
	pathStatus    = "/v1/status"
	pathFleets    = "/v1/fleets/"
	pathInstances = "/v1/instances"
	pathExpiry    = "/v1/expiry"
	pathProxies   = "/v1/trusted-proxies"
	pathEnd       = "/v1/end"
)

// variables are those that all commands of a fleet get, secrets among them, and
// the values to hide in output.
type variables struct {
	Env     []string `json:"env"`
	Secrets []string `json:"secrets,omitempty"`
}

// status is what a supervisor says of its environment.
type status struct {
	Report pipeline.EnvironmentReport `json:"report"`
	Fleets map[string]fleetStatus     `json:"fleets"`
	Ending bool                       `json:"ending,omitempty"`
}

type fleetStatus struct {
	Endpoint string `json:"endpoint"` // the fleet's own
	Ready    bool   `json:"ready"`
}

type resizeMessage struct {
	Instances int `json:"instances"`
}

type trustMessage struct {
	Proxies []string `json:"proxies"` // null for the default
}

type expiryMessage struct {
	At time.Time `json:"at,omitzero"`
}

// place is where and with what a command runs in an instance.
type place struct {
	Root      string    `json:"root"`
	Variables variables `json:"variables"`
}

// refusal is the answer to a request that failed.
type refusal struct {
	Code    pipeline.Code `json:"code"`
	Op      string        `json:"op"`
	Message string        `json:"message"`
	Hint    string        `json:"hint,omitempty"`
}

func (s *supervisor) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathStatus, answering(func(*http.Request, struct{}) (any, error) { return s.status(), nil }))
	mux.HandleFunc("PUT "+pathFleets+"{fleet}", answering(func(r *http.Request, v variables) (any, error) {
		return s.startFleet(r.Context(), r.PathValue("fleet"), v)
	}))
	mux.HandleFunc("DELETE "+pathFleets+"{fleet}", answering(func(r *http.Request, _ struct{}) (any, error) {
		return s.discard(r.Context(), r.PathValue("fleet"))
	}))
	mux.HandleFunc("POST "+pathFleets+"{fleet}/shift", answering(func(r *http.Request, _ struct{}) (any, error) {
		return s.shift(r.Context(), r.PathValue("fleet"))
	}))
	mux.HandleFunc("GET "+pathFleets+"{fleet}/places", answering(func(r *http.Request, _ struct{}) (any, error) {
		return s.places(r.PathValue("fleet"))
	}))
	mux.HandleFunc("PUT "+pathInstances, answering(func(r *http.Request, m resizeMessage) (any, error) {
		return s.resize(r.Context(), m.Instances)
	}))
	mux.HandleFunc("PUT "+pathProxies, answering(func(_ *http.Request, m trustMessage) (any, error) {
		return s.trust(m.Proxies)
	}))
	mux.HandleFunc("PUT "+pathExpiry, answering(func(_ *http.Request, m expiryMessage) (any, error) {
		return s.extend(m.At)
	}))
	mux.HandleFunc("POST "+pathEnd, answering(func(*http.Request, struct{}) (any, error) {
		s.finish(errors.New("it was told to end"))
		return nil, nil
	}))
	return mux
}

// answering decodes a request, and encodes what the function answers. A request
// without a body is the zero value.
func answering[T any](f func(*http.Request, T) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var message T
		if r.ContentLength != 0 {
			if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		reply, err := f(r, message)
		code := http.StatusOK
		if err != nil {
			code, reply = http.StatusConflict, refusalOf(r.Context(), err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(reply) // nobody is there to hear of a failure
	}
}

func refusalOf(ctx context.Context, err error) refusal {
	err = coded(ctx, "", err)
	r := refusal{Code: pipeline.CodeOf(err), Message: err.Error(), Hint: pipeline.HintOf(err)}
	var own *pipeline.Error
	if errors.As(err, &own) && own.Err != nil {
		r.Op, r.Message = own.Op, own.Err.Error()
	}
	return r
}

// error gives the error that the answer stands for.
func (r refusal) error() error {
	return &pipeline.Error{Code: r.Code, Op: r.Op, Err: errors.New(r.Message), Hint: r.Hint}
}
