// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// servingFleet stands for the fleet that serves; for the one that is prepared
// where none does. No ID looks like it.
const servingFleet = "-"

// startFleet brings up a fleet that was recorded, and waits until it is healthy.
// When it fails, or whoever asked is gone, nothing is left of the fleet.
func (s *supervisor) startFleet(ctx context.Context, id string, v variables) (fleetStatus, error) {
	f, err := s.enter(ctx, id, v)
	if err != nil || f.isReady() {
		return fleetStatus{Endpoint: f.at(), Ready: true}, err
	}
	s.log.Printf("fleet %s: %d instances start", id, f.rec.Instances)
	if err := f.start(ctx); err != nil {
		s.log.Printf("fleet %s: %v", id, err)
		s.retire(f, 0)
		return fleetStatus{}, err
	}
	return fleetStatus{Endpoint: f.endpoint, Ready: true}, nil
}

// enter gives the fleet with an ID: the one that is ready, or a new one.
func (s *supervisor) enter(ctx context.Context, id string, v variables) (*fleet, error) {
	rec, err := readFleet(s.files, id)
	if err != nil {
		return nil, fmt.Errorf("read fleet %s: %w", id, err)
	}
	for {
		s.mu.Lock()
		f := s.fleets[id]
		if f == nil && s.life.Err() == nil {
			f = newFleet(s.life, filepath.Join(s.files, id), rec, v, s.images, s.log)
			s.fleets[id] = f
			s.mu.Unlock()
			return f, nil
		}
		s.mu.Unlock()
		switch {
		case f == nil:
			return nil, pipeline.Errorf(pipeline.CodeFailed, "start fleet", "the environment ends: %w", context.Cause(s.life))
		case f.isReady():
			return f, nil
		}
		select { // somebody asked for it before
		case <-f.gone:
		case <-f.began:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// shift makes a fleet the one that serves, and waits for the end of the one before.
func (s *supervisor) shift(ctx context.Context, id string) (status, error) {
	s.changes.Lock()
	err := s.swap(id)
	s.changes.Unlock()
	if err != nil {
		return status{}, err
	}
	for _, old := range s.retiring() {
		select {
		case <-old.gone:
		case <-ctx.Done():
			return status{}, ctx.Err()
		}
	}
	return s.status(), nil
}

// swap records what will serve, then lets it. Requests that come in between go to
// the one or the other, and both answer.
func (s *supervisor) swap(id string) error {
	next := s.lookUp(id)
	switch {
	case next == nil:
		return pipeline.Errorf(pipeline.CodeNotFound, "shift traffic", "environment %s has no fleet %s", s.id, id)
	case next == s.serving.Load():
		return nil
	case !next.isReady():
		return pipeline.Errorf(pipeline.CodeConflict, "shift traffic", "fleet %s is not healthy yet", id)
	}
	if _, healthy := next.count(); healthy == 0 {
		return pipeline.Errorf(pipeline.CodeFailed, "shift traffic", "%s",
			saying(fmt.Sprintf("no instance of fleet %s is healthy any more", id), lastLines(superviseLog, describeLines)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	opened, err := s.open(next.rec)
	if err != nil {
		return err
	}
	rec := s.rec
	rec.Serving = id
	if opened != nil {
		rec.Address, rec.Port = opened.address, opened.port
	}
	if err := writeRecord(s.dir, rec); err != nil {
		if opened != nil {
			_ = opened.listener.Close()
		}
		return fmt.Errorf("record shift: %w", err)
	}
	s.rec = rec
	old := s.serving.Swap(next)
	s.log.Printf("fleet %s: serves", id)
	if opened != nil {
		s.replaceFront(opened, next.rec.DrainTimeout)
	}
	if old != nil {
		old.close()
		go s.retire(old, next.rec.DrainTimeout)
	}
	return nil
}

// retiring lists the fleets that end.
func (s *supervisor) retiring() []*fleet {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*fleet
	for _, f := range s.fleets {
		if f.isClosed() {
			found = append(found, f)
		}
	}
	return found
}

// discard ends a fleet that does not serve. One that serves got the traffic, and
// stays: whoever asks did not hear of it.
func (s *supervisor) discard(ctx context.Context, id string) (status, error) {
	s.changes.Lock()
	defer s.changes.Unlock()
	f := s.lookUp(id)
	if f == nil || f == s.serving.Load() {
		return s.status(), nil
	}
	go s.retire(f, 0)
	select {
	case <-f.gone:
		return s.status(), nil
	case <-ctx.Done():
		return status{}, ctx.Err()
	}
}

// resize changes the number of instances that serve.
func (s *supervisor) resize(ctx context.Context, n int) (status, error) {
	s.changes.Lock()
	defer s.changes.Unlock()
	f := s.serving.Load()
	if f == nil {
		return status{}, pipeline.Errorf(pipeline.CodeNotFound, "resize environment", "environment %s serves nothing yet", s.id)
	}
	have, _ := f.count()
	s.log.Printf("fleet %s: from %d to %d instances", f.rec.ID, have, n)
	var err error
	if n > have {
		err = f.grow(ctx, n-have)
	} else {
		err = f.shrink(have - n)
	}
	if err != nil {
		return status{}, err
	}
	f.rec.Instances = n
	return s.status(), writeFleet(s.dir, f.rec)
}

// trust changes whose forwarding headers the fleet that serves keeps.
func (s *supervisor) trust(proxies []string) (status, error) {
	s.changes.Lock()
	defer s.changes.Unlock()
	f := s.serving.Load()
	if f == nil {
		return status{}, pipeline.Errorf(pipeline.CodeNotFound, "trust proxies", "environment %s serves nothing yet", s.id)
	}
	rec := f.rec
	rec.TrustedProxies = proxies
	if err := writeFleet(s.dir, rec); err != nil {
		return status{}, fmt.Errorf("record trusted proxies: %w", err)
	}
	f.rec.TrustedProxies = proxies
	f.trust(proxies)
	s.log.Printf("fleet %s: trusts the proxies %v", f.rec.ID, f.trusted())
	return s.status(), nil
}

// extend sets when the environment ends.
func (s *supervisor) extend(at time.Time) (status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rec.Expired {
		return status{}, pipeline.Errorf(pipeline.CodeNotFound, "extend environment", "environment %s has expired", s.id)
	}
	rec := s.rec
	rec.ExpiresAt = at
	if err := writeRecord(s.dir, rec); err != nil {
		return status{}, fmt.Errorf("record expiry: %w", err)
	}
	s.rec = rec
	return status{}, nil
}

// places gives the instances of a fleet to run commands in: one at least.
func (s *supervisor) places(id string) ([]place, error) {
	if id == servingFleet {
		report := s.status().Report
		id = cmp.Or(report.Serving, report.Pending)
	}
	f := s.lookUp(id)
	if f == nil {
		return nil, pipeline.Errorf(pipeline.CodeNotFound, "run command", "environment %s has no such fleet", s.id)
	}
	var list []place
	for _, i := range f.places() {
		env := append(i.environ(), logVariable+"="+filepath.Join(i.dir, instanceLog))
		list = append(list, place{Root: filepath.Join(i.dir, instanceRoot), Variables: variables{Env: env, Secrets: f.secrets}})
	}
	if len(list) == 0 {
		return nil, pipeline.Errorf(pipeline.CodeFailed, "run command", "fleet %s has no instance", f.rec.ID)
	}
	return list, nil
}

// status reports on the environment.
func (s *supervisor) status() status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := status{Fleets: map[string]fleetStatus{}, Ending: s.rec.Expired || s.life.Err() != nil}
	out.Report = pipeline.EnvironmentReport{ID: s.id, Status: pipeline.EnvRunning, ExpiresAt: s.rec.ExpiresAt}
	r := &out.Report
	if s.front != nil {
		r.Endpoint = endpointURL(s.front.address, s.front.port)
	}
	serving := s.serving.Load()
	for id, f := range s.fleets {
		instances, healthy := f.count()
		out.Fleets[id] = fleetStatus{Endpoint: f.at(), Ready: f.isReady()}
		switch {
		case f == serving:
			r.Serving, r.Instances, r.Healthy = id, instances, healthy
		case f.isReady() && !f.isClosed():
			r.Pending = id
		default:
			continue
		}
		if healthy < instances && (f == serving || serving == nil) {
			r.Status = pipeline.EnvDegraded
			r.Reason = fmt.Sprintf("%d of %d instances of fleet %s are healthy", healthy, instances, id)
		}
	}
	switch {
	case s.rec.Expired:
		r.Status, r.Endpoint, r.Serving, r.Instances, r.Healthy = pipeline.EnvExpired, "", "", 0, 0
		r.Reason = reasonExpired
	case r.Status == pipeline.EnvDegraded:
		r.Reason = saying(r.Reason, lastLines(superviseLog, describeLines))
	}
	return out
}
