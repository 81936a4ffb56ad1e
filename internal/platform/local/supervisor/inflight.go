// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

// A request in flight. It belongs to one instance of one fleet, which does not end before the
// request has, as long as it is drained; and it may change to another instance while nothing of
// it was answered.

import (
	"errors"
	"net/http"
	"slices"
	"time"
)

var (
	errNoneHealthy = errors.New("no instance is healthy")
	errClosed      = errors.New("the fleet takes no more requests")
	errHangs       = errors.New("the instance hangs")
)

// inFlight is a request that is under way to an instance.
type inFlight struct {
	in    *http.Request // as it came
	body  *body         // of it; nil without one, and before it is sent
	fleet *fleet
	on    *instance
	tried []*instance
}

type inFlightKey struct{}

// inFlightOf returns what is known of a request under way; nil for one that has none.
func inFlightOf(r *http.Request) *inFlight {
	flying, _ := r.Context().Value(inFlightKey{}).(*inFlight)
	return flying
}

// drain waits until the instances answer no request, but not longer than limit.
func (f *fleet) drain(which []*instance, limit time.Duration) {
	over := time.NewTimer(limit)
	defer over.Stop()
	for _, i := range which {
		select {
		case <-f.idle(i):
		case <-over.C:
			f.log.Printf("fleet %s: requests are still under way after %v; they are cut", f.rec.ID, limit)
			return
		case <-f.life.Done():
			return
		}
	}
}

// idle returns a channel that is closed when the instance answers no request.
func (f *fleet) idle(i *instance) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i.idle != nil {
		return i.idle
	}
	idle := make(chan struct{})
	if i.inFlight == 0 {
		close(idle)
	} else {
		i.idle = idle
	}
	return idle
}

// acquire finds an instance for a new request. One that it returns is not ended before
// the request is, as long as it is drained.
func (f *fleet) acquire(r *http.Request) (*inFlight, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, errClosed
	}
	i, err := f.take(nil)
	if err != nil {
		return nil, err
	}
	return &inFlight{in: r, fleet: f, on: i}, nil
}

// move takes a request to an instance that it was not on, also when the fleet
// takes no new ones.
func (f *fleet) move(r *inFlight) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.tried = append(r.tried, r.on)
	next, err := f.take(r.tried)
	if err != nil {
		return err
	}
	f.releaseLocked(r.on)
	r.on = next
	return nil
}

// take finds a healthy instance in turn and counts a request as its. The caller
// holds the mutex.
func (f *fleet) take(but []*instance) (*instance, error) {
	for range f.instances {
		f.next = (f.next + 1) % len(f.instances)
		if i := f.instances[f.next]; i.healthy.Load() && !slices.Contains(but, i) {
			i.inFlight++
			return i, nil
		}
	}
	return nil, errNoneHealthy
}

// release ends a request.
func (f *fleet) release(r *inFlight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.releaseLocked(r.on)
}

func (f *fleet) releaseLocked(i *instance) {
	i.inFlight--
	if i.inFlight == 0 && i.idle != nil {
		close(i.idle)
		i.idle = nil
	}
}
