// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

// The control server: the socket in the environment's directory, where each request of a Platform
// is decoded, answered by one function, and refused with the error that the caller will return.

import (
	"encoding/json"
	"net/http"

	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
)

func (s *supervisor) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+protocol.PathStatus, answering(func(*http.Request, struct{}) (any, error) { return s.status(), nil }))
	mux.HandleFunc("PUT "+protocol.PathFleets+"{fleet}", answering(func(r *http.Request, m protocol.FleetMessage) (any, error) {
		return s.startFleet(r.Context(), r.PathValue("fleet"), m)
	}))
	mux.HandleFunc("DELETE "+protocol.PathFleets+"{fleet}", answering(func(r *http.Request, m protocol.Change) (any, error) {
		return s.discard(r.Context(), r.PathValue("fleet"), m)
	}))
	mux.HandleFunc("POST "+protocol.PathFleets+"{fleet}/shift", answering(func(r *http.Request, m protocol.Change) (any, error) {
		return s.shift(r.Context(), r.PathValue("fleet"), m)
	}))
	mux.HandleFunc("GET "+protocol.PathFleets+"{fleet}/places", answering(func(r *http.Request, _ struct{}) (any, error) {
		return s.places(r.PathValue("fleet"))
	}))
	mux.HandleFunc("PUT "+protocol.PathInstances, answering(func(r *http.Request, m protocol.ResizeMessage) (any, error) {
		return s.resize(r.Context(), m)
	}))
	mux.HandleFunc("PUT "+protocol.PathProxies, answering(func(r *http.Request, m protocol.TrustMessage) (any, error) {
		return s.trust(r.Context(), m)
	}))
	mux.HandleFunc("PUT "+protocol.PathExpiry, answering(func(r *http.Request, m protocol.ExpiryMessage) (any, error) {
		return s.extend(r.Context(), m)
	}))
	mux.HandleFunc("POST "+protocol.PathEnd, answering(func(r *http.Request, m protocol.Change) (any, error) {
		return nil, s.endFor(r.Context(), m)
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
			code, reply = http.StatusConflict, protocol.RefusalOf(r.Context(), err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(reply) // nobody is there to hear of a failure
	}
}
