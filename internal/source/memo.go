// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"context"
	"sync"
)

// memos run each named piece of work once, however many ask for it, at the same
// time or later; all get its outcome. The work ends early only when everybody who
// waited for it has gone, and is then done again for whoever comes next.
type memos struct {
	mu    sync.Mutex
	known map[string]*memo
}

type memo struct {
	waiting int
	cancel  context.CancelFunc
	done    chan struct{}
	value   string // with err, set once done is closed
	err     error
}

func (f *memos) do(ctx context.Context, name string, work func(context.Context) (string, error)) (string, error) {
	m := f.join(ctx, name, work)
	select {
	case <-m.done:
		return m.value, m.err
	case <-ctx.Done():
	}
	f.mu.Lock()
	m.waiting--
	last := m.waiting == 0
	if last && f.known[name] == m && !m.finished() {
		delete(f.known, name)
	}
	f.mu.Unlock()
	if last {
		m.cancel()
		<-m.done // so that nothing of it is left when the caller goes on
	}
	return "", context.Cause(ctx)
}

func (f *memos) join(ctx context.Context, name string, work func(context.Context) (string, error)) *memo {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.known[name]; m != nil {
		m.waiting++
		return m
	}
	// One caller's cancel must not fail the others.
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	m := &memo{waiting: 1, cancel: cancel, done: make(chan struct{})}
	if f.known == nil {
		f.known = map[string]*memo{}
	}
	f.known[name] = m
	go func() {
		defer cancel()
		defer close(m.done)
		m.value, m.err = work(own)
	}()
	return m
}

func (m *memo) finished() bool {
	select {
	case <-m.done:
		return true
	default:
		return false
	}
}
