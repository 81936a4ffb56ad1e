// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// heartbeat keeps a stream open through proxies, and finds browsers that are gone.
	heartbeat = 20 * time.Second
	// writeLimit drops a browser that does not read an event.
	writeLimit = 10 * time.Second
	// logLimit drops one that does not read on in a log.
	logLimit = 2 * time.Minute
	// maxStreams are open at most: each is a browser's page.
	maxStreams = 2000
)

// hub looks at each pipeline that somebody watches, once for all of them, and tells them
// when something changed.
type hub struct {
	ctx        context.Context
	look       func(ctx context.Context, pipeline string) (string, error)
	interval   time.Duration
	heartbeat  time.Duration
	writeLimit time.Duration
	logger     hclog.Logger

	mu      sync.Mutex
	streams int
	topics  map[string]*topic
}

// topic is one pipeline that is watched.
type topic struct {
	readers map[chan struct{}]bool
	stop    context.CancelFunc
}

// newHub makes a hub. look gives something that is another text when a pipeline changed.
func newHub(ctx context.Context, look func(context.Context, string) (string, error), interval time.Duration, logger hclog.Logger) *hub {
	return &hub{ctx: ctx, look: look, interval: interval, heartbeat: heartbeat, writeLimit: writeLimit, logger: logger, topics: map[string]*topic{}}
}

// join gives a channel that gets something when the pipeline changed, however often it did
// since the last receive; and what ends that. It gives nil where too many are there.
func (h *hub) join(name string) (<-chan struct{}, func()) {
	if !h.enter() {
		return nil, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[name]
	if t == nil {
		ctx, stop := context.WithCancel(h.ctx)
		t = &topic{readers: map[chan struct{}]bool{}, stop: stop}
		h.topics[name] = t
		go h.watch(ctx, name, t)
	}
	reader := make(chan struct{}, 1)
	t.readers[reader] = true
	return reader, func() {
		h.exit()
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(t.readers, reader)
		if len(t.readers) == 0 {
			t.stop()
			delete(h.topics, name)
		}
	}
}

// enter counts a stream; false where too many are open.
func (h *hub) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.streams >= maxStreams {
		return false
	}
	h.streams++
	return true
}

func (h *hub) exit() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.streams--
}

// watch looks at a pipeline until nobody does any more.
func (h *hub) watch(ctx context.Context, name string, t *topic) {
	tick := time.NewTicker(h.interval)
	defer tick.Stop()
	before, err := h.look(ctx, name)
	for known := err == nil; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, err := h.look(ctx, name)
		if err != nil {
			h.logger.Debug("look at pipeline", "pipeline", name, "error", err)
			continue
		}
		if !known || now != before {
			h.tell(t)
		}
		before, known = now, true
	}
}

// tell tells all readers, and waits for none.
func (h *hub) tell(t *topic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for reader := range t.readers {
		select {
		case reader <- struct{}{}:
		default: // it has not read the one before
		}
	}
}

// stream is a response that takes as long as it takes.
type stream struct {
	w     http.ResponseWriter
	c     *http.ResponseController
	limit time.Duration // of each write
}

func newStream(w http.ResponseWriter, limit time.Duration) stream {
	return stream{w, http.NewResponseController(w), limit}
}

// newEvents makes a stream of server-sent events, and begins it.
func (h *hub) newEvents(w http.ResponseWriter) (stream, error) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	s := newStream(w, h.writeLimit)
	return s, s.send("retry: 3000\n\n")
}

// Write writes to the browser; an error where that is gone or does not read. Between two
// writes there is no deadline: one that passes ends a stream of HTTP/2 though nothing is to
// be written.
func (s stream) Write(data []byte) (int, error) {
	if err := s.c.SetWriteDeadline(time.Now().Add(s.limit)); err != nil {
		return 0, err
	}
	n, err := s.w.Write(data)
	if err == nil {
		err = s.c.Flush()
	}
	if err == nil {
		err = s.c.SetWriteDeadline(time.Time{})
	}
	return n, err
}

// send writes an event.
func (s stream) send(format string, args ...any) error {
	_, err := fmt.Fprintf(s, format, args...)
	return err
}

// events says "changed" whenever the pipeline has.
func (b *Board) events(w http.ResponseWriter, r *http.Request, who *session) error {
	if _, err := b.existing(r); err != nil {
		return err
	}
	changed, leave := b.hub.join(r.PathValue("pipeline"))
	if changed == nil {
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return nil
	}
	defer leave()
	ctx, stop := who.until(r.Context(), b.hub.ctx)
	defer stop()
	beat := time.NewTicker(b.hub.heartbeat)
	defer beat.Stop()
	s, err := b.hub.newEvents(w)
	if now, look := b.fingerprint(ctx, r.PathValue("pipeline")); err == nil && look == nil && now != r.URL.Query().Get("seen") {
		err = s.send("event: changed\ndata: \n\n") // since the page was made, or since the stream broke
	}
	for err == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			err = s.send("event: changed\ndata: \n\n")
		case <-beat.C:
			err = s.send(": still here\n\n")
		}
	}
	return nil
}
