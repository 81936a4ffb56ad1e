// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

// What a Platform may ask for. Changes to what serves are made one at a time, each is admitted by
// the fences of its leases first, and recorded before it has an effect, so that a supervisor that
// is killed in between leaves a record that is true or early, never late.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

// admit refuses a change under a lease that another has taken over. The caller holds
// changes until the change is made, so that none of a higher token comes between.
func (s *supervisor) admit(ctx context.Context, op string, m protocol.Change) error {
	return s.fences.Admit(ctx, op, m.By)
}

// endFor ends the supervisor if the change's lease allows it.
func (s *supervisor) endFor(ctx context.Context, m protocol.Change) error {
	s.changes.Lock()
	defer s.changes.Unlock()
	if err := s.admit(ctx, protocol.OpDestroy, m); err != nil {
		return err
	}
	s.finish(errors.New("it was told to end"))
	return nil
}

// startFleet brings up a fleet that was recorded, and waits until it is healthy.
// When it fails, or whoever asked is gone, nothing is left of the fleet.
func (s *supervisor) startFleet(ctx context.Context, id string, m protocol.FleetMessage) (protocol.FleetStatus, error) {
	s.changes.Lock()
	err := s.admit(ctx, protocol.OpPrepare, m.Change)
	s.changes.Unlock()
	if err != nil {
		return protocol.FleetStatus{}, err
	}
	f, err := s.enter(ctx, id, m.Variables)
	if err != nil || f.isReady() {
		return protocol.FleetStatus{Endpoint: f.at(), Ready: true}, err
	}
	s.log.Printf("fleet %s: %s", id, pipeline.Count(f.rec.Instances, "instance starts", "instances start"))
	if err := f.start(ctx); err != nil {
		s.log.Printf("fleet %s: %v", id, err)
		s.retire(f, 0)
		return protocol.FleetStatus{}, err
	}
	return protocol.FleetStatus{Endpoint: f.endpoint, Ready: true}, nil
}

// enter returns the fleet with an ID: the one that is ready, or a new one.
func (s *supervisor) enter(ctx context.Context, id string, v protocol.Variables) (*fleet, error) {
	rec, err := protocol.ReadFleet(s.files, id)
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
func (s *supervisor) shift(ctx context.Context, id string, m protocol.Change) (protocol.Status, error) {
	s.changes.Lock()
	err := s.admit(ctx, protocol.OpShift, m)
	if err == nil {
		err = s.swap(id)
	}
	s.changes.Unlock()
	if err != nil {
		return protocol.Status{}, err
	}
	for _, old := range s.retiring() {
		select {
		case <-old.gone:
		case <-ctx.Done():
			return protocol.Status{}, ctx.Err()
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
		return pipeline.Errorf(pipeline.CodeNotFound, protocol.OpShift, "environment %s has no fleet %s", s.id, id)
	case next == s.serving.Load():
		return nil
	case !next.isReady():
		return pipeline.Errorf(pipeline.CodeConflict, protocol.OpShift, "fleet %s is not healthy yet", id)
	}
	if _, healthy := next.count(); healthy == 0 {
		return pipeline.Errorf(pipeline.CodeFailed, protocol.OpShift, "%s",
			runlog.Saying(fmt.Sprintf("no instance of fleet %s is healthy any more", id), protocol.LastLines(protocol.SuperviseLog, protocol.DescribeLines)))
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
	if err := protocol.WriteRecord(s.dir, rec); err != nil {
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
func (s *supervisor) discard(ctx context.Context, id string, m protocol.Change) (protocol.Status, error) {
	s.changes.Lock()
	defer s.changes.Unlock()
	if err := s.admit(ctx, protocol.OpDiscard, m); err != nil {
		return protocol.Status{}, err
	}
	f := s.lookUp(id)
	if f == nil || f == s.serving.Load() {
		return s.status(), nil
	}
	go s.retire(f, 0)
	select {
	case <-f.gone:
		return s.status(), nil
	case <-ctx.Done():
		return protocol.Status{}, ctx.Err()
	}
}

// resize changes the number of instances that serve.
func (s *supervisor) resize(ctx context.Context, m protocol.ResizeMessage) (protocol.Status, error) {
	s.changes.Lock()
	defer s.changes.Unlock()
	if err := s.admit(ctx, protocol.OpResize, m.Change); err != nil {
		return protocol.Status{}, err
	}
	n := m.Instances
	f := s.serving.Load()
	if f == nil {
		return protocol.Status{}, pipeline.Errorf(pipeline.CodeNotFound, protocol.OpResize, "environment %s serves nothing yet", s.id)
	}
	have, _ := f.count()
	s.log.Printf("fleet %s: from %d to %s", f.rec.ID, have, pipeline.Count(n, "instance"))
	var err error
	if n > have {
		err = f.grow(ctx, n-have)
	} else {
		err = f.shrink(have - n)
	}
	if err != nil {
		return protocol.Status{}, err
	}
	f.rec.Instances = n
	return s.status(), protocol.WriteFleet(s.files, f.rec)
}

// trust changes whose forwarding headers the fleet that serves keeps.
func (s *supervisor) trust(ctx context.Context, m protocol.TrustMessage) (protocol.Status, error) {
	s.changes.Lock()
	defer s.changes.Unlock()
	if err := s.admit(ctx, protocol.OpTrust, m.Change); err != nil {
		return protocol.Status{}, err
	}
	proxies := m.Proxies
	f := s.serving.Load()
	if f == nil {
		return protocol.Status{}, pipeline.Errorf(pipeline.CodeNotFound, protocol.OpTrust, "environment %s serves nothing yet", s.id)
	}
	rec := f.rec
	rec.TrustedProxies = proxies
	if err := protocol.WriteFleet(s.files, rec); err != nil {
		return protocol.Status{}, fmt.Errorf("record trusted proxies: %w", err)
	}
	f.rec.TrustedProxies = proxies
	f.trust(proxies)
	s.log.Printf("fleet %s: trusts the proxies %v", f.rec.ID, f.trusted())
	return s.status(), nil
}

// extend sets when the environment ends.
func (s *supervisor) extend(ctx context.Context, m protocol.ExpiryMessage) (protocol.Status, error) {
	s.changes.Lock()
	defer s.changes.Unlock()
	if err := s.admit(ctx, protocol.OpExtend, m.Change); err != nil {
		return protocol.Status{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rec.Expired {
		return protocol.Status{}, pipeline.Errorf(pipeline.CodeNotFound, protocol.OpExtend, "environment %s has expired", s.id)
	}
	rec := s.rec
	rec.ExpiresAt = m.At
	if err := protocol.WriteRecord(s.dir, rec); err != nil {
		return protocol.Status{}, fmt.Errorf("record expiry: %w", err)
	}
	s.rec = rec
	return protocol.Status{}, nil
}

// places returns the instances of a fleet to run commands in: one at least.
func (s *supervisor) places(id string) ([]protocol.Place, error) {
	if id == protocol.ServingFleet {
		report := s.status().Report
		id = cmp.Or(report.Serving, report.Pending)
	}
	f := s.lookUp(id)
	if f == nil {
		return nil, pipeline.Errorf(pipeline.CodeNotFound, "run command", "environment %s has no such fleet", s.id)
	}
	var list []protocol.Place
	for _, i := range f.places() {
		env := append(i.environ(), protocol.LogVariable+"="+filepath.Join(i.dir, protocol.InstanceLog))
		list = append(list, protocol.Place{Root: filepath.Join(i.dir, protocol.InstanceRoot), Variables: protocol.Variables{Env: env, Secrets: f.secrets}})
	}
	if len(list) == 0 {
		return nil, pipeline.Errorf(pipeline.CodeFailed, "run command", "fleet %s has no instance", f.rec.ID)
	}
	return list, nil
}

// status reports on the environment.
func (s *supervisor) status() protocol.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := protocol.Status{Fleets: map[string]protocol.FleetStatus{}, Ending: s.rec.Expired || s.life.Err() != nil}
	out.Report = pipeline.EnvironmentReport{ID: s.id, Status: pipeline.EnvRunning, ExpiresAt: s.rec.ExpiresAt}
	r := &out.Report
	if s.front != nil {
		r.Endpoint = endpointURL(s.front.address, s.front.port)
	}
	serving := s.serving.Load()
	for id, f := range s.fleets {
		instances, healthy := f.count()
		out.Fleets[id] = protocol.FleetStatus{Endpoint: f.at(), Ready: f.isReady()}
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
		r.Reason = protocol.ReasonExpired
	case r.Status == pipeline.EnvDegraded:
		r.Reason = runlog.Saying(r.Reason, protocol.LastLines(protocol.SuperviseLog, protocol.DescribeLines))
	}
	return out
}
