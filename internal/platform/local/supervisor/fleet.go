// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

// A fleet: the instances of one build, started one after another, of which those that are healthy
// take requests in turn. It grows, shrinks and retires as a whole, and only when all of its
// instances were healthy once may it serve.

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/store"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace"
)

// fleet is a group of instances in a supervisor.
type fleet struct {
	rec      protocol.FleetRecord
	dir      string // absolute
	env      []string
	secrets  []string // values
	hide     *pipeline.Redactor
	check    *checker
	images   *store.Store
	log      *stdlog.Logger
	kept     *http.Transport // keeps connections
	single   *http.Transport // one connection of HTTP/1.1 for each request
	http2    bool            // requests go to the instances over HTTP/2
	proxies  atomic.Pointer[[]netip.Prefix]
	test     *http.Server
	endpoint string // of the test server

	life  context.Context // ends when the fleet does
	kill  context.CancelFunc
	began chan struct{} // closed when all instances were healthy once
	over  sync.Once     // guards the end
	gone  chan struct{} // closed when nothing is left of it

	mu        sync.Mutex
	instances []*instance // that serve, or would if they were healthy
	all       []*instance // also those that start or end
	next      int         // round robin
	closed    bool        // accepts no further requests
}

func newFleet(life context.Context, dir string, rec protocol.FleetRecord, v protocol.Variables, images *store.Store, log *stdlog.Logger) *fleet {
	f := &fleet{
		rec: rec, dir: dir, env: v.Env, secrets: v.Secrets, hide: v.Redactor(),
		images: images, log: log, http2: rec.HTTP2(), kept: newTransport(true, rec.HTTP2()), single: newTransport(false, false),
		began: make(chan struct{}), gone: make(chan struct{}),
	}
	f.check = newChecker(rec.Service.HealthCheck, rec.HTTP2())
	f.trust(rec.TrustedProxies)
	f.life, f.kill = context.WithCancel(life)
	return f
}

// trust sets whose forwarding headers are kept. The list was checked.
func (f *fleet) trust(list []string) {
	proxies, _ := pipeline.ParseProxies(list)
	f.proxies.Store(&proxies)
}

func (f *fleet) trusted() []netip.Prefix { return *f.proxies.Load() }

// start brings up the instances and the test endpoint, and waits until all are healthy.
func (f *fleet) start(ctx context.Context) error {
	l, err := listenFree(protocol.Loopback)
	if err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, "start fleet", "%w", err)
	}
	server := newEndpoint(func() *fleet { return f }, f.log)
	f.mu.Lock()
	f.test, f.endpoint = server, endpointURL(protocol.Loopback, portOf(l))
	f.mu.Unlock()
	go func() { _ = server.Serve(strictListener{l}) }()
	if err := f.grow(ctx, f.rec.Instances); err != nil {
		return err
	}
	close(f.began)
	return nil
}

// headStart is how long an instance may take to get healthy before the next one starts
// beside it. One at a time leaves those that serve more of the machine.
const headStart = time.Second

// grow adds n instances. They get requests when all of them are healthy; if one
// fails to become so, all of them are ended.
func (f *fleet) grow(ctx context.Context, n int) error {
	var added []*instance
	var failed error
	for failed == nil && len(added) < n {
		added = append(added, f.add())
		failed = f.awaitHealthy(ctx, added, headStart)
	}
	if failed == nil {
		failed = f.awaitHealthy(ctx, added, 0)
	}
	if failed != nil {
		if err := f.end(added); err != nil {
			f.log.Printf("fleet %s: remove instances: %v", f.rec.ID, err)
		}
		return failed
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.instances = append(f.instances, added...)
	return nil
}

// awaitHealthy waits until all of the instances are healthy, or for a time; zero is as long
// as it takes. The error says that one never gets healthy.
func (f *fleet) awaitHealthy(ctx context.Context, which []*instance, limit time.Duration) error {
	var over <-chan time.Time
	if limit > 0 {
		over = time.After(limit)
	}
	for _, i := range which {
		select {
		case <-i.outcome:
			if i.failed != nil {
				return i.failed
			}
		case <-over:
			return nil
		case <-f.life.Done():
			return pipeline.Errorf(pipeline.CodeFailed, "start fleet", "the fleet was ended while it started")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// add starts an instance under the lowest number that is free.
func (f *fleet) add() *instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	for number := 0; ; number++ {
		id := fmt.Sprintf("i-%d", number)
		if !slices.ContainsFunc(f.all, func(i *instance) bool { return i.name == id }) {
			i := newInstance(f, id)
			f.all = append(f.all, i)
			go i.run()
			return i
		}
	}
}

// shrink ends the last n instances after the requests that they are answering.
func (f *fleet) shrink(n int) error {
	f.mu.Lock()
	n = min(n, len(f.instances))
	last := slices.Clone(f.instances[len(f.instances)-n:])
	f.instances = f.instances[:len(f.instances)-n]
	f.mu.Unlock()
	f.drain(last, f.rec.DrainTimeout)
	return f.end(last)
}

// end ends instances and removes their trees.
func (f *fleet) end(which []*instance) error {
	for _, i := range which {
		i.kill()
	}
	var err error
	for _, i := range which {
		<-i.gone
		err = errors.Join(err, workplace.RemoveTree(i.dir))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = slices.DeleteFunc(f.all, func(i *instance) bool { return slices.Contains(which, i) })
	return err
}

// close makes the fleet accept no further requests.
func (f *fleet) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
}

// retire ends the fleet after the requests that it is answering, and removes its
// files.
func (f *fleet) retire(drain time.Duration) error {
	f.mu.Lock()
	f.closed = true
	serving := slices.Clone(f.instances)
	f.mu.Unlock()
	if drain > 0 {
		f.drain(serving, drain)
	}
	f.kill()
	f.mu.Lock()
	all := slices.Clone(f.all)
	if f.test != nil {
		_ = f.test.Close()
	}
	f.mu.Unlock()
	for _, i := range all {
		<-i.gone
	}
	f.kept.CloseIdleConnections()
	return workplace.RemoveTree(f.dir)
}

func (f *fleet) isReady() bool {
	select {
	case <-f.began:
		return true
	default:
		return false
	}
}

func (f *fleet) isClosed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// at returns the fleet's own endpoint; empty before it is ready.
func (f *fleet) at() string {
	if f == nil || !f.isReady() {
		return ""
	}
	return f.endpoint
}

// count returns the number of instances and how many of them are healthy.
func (f *fleet) count() (instances, healthy int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, i := range f.instances {
		if i.healthy.Load() {
			healthy++
		}
	}
	return len(f.instances), healthy
}

// places returns the instances to run commands in, healthy ones first.
func (f *fleet) places() []*instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := slices.Clone(f.instances)
	rank := map[bool]int{false: 1}
	slices.SortStableFunc(list, func(a, b *instance) int { return rank[a.healthy.Load()] - rank[b.healthy.Load()] })
	return list
}

func instanceDir(fleetDir, name string) string { return filepath.Join(fleetDir, name) }
