// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"cmp"
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
	// lineEvery is how often readers are notified of just another line of a log.
	lineEvery = 5 * time.Second
)

// hub polls the contents of each page that has readers, once for all of them, and notifies
// them when it changed.
type hub struct {
	ctx        context.Context
	look       func(ctx context.Context, about subject) (fingerprint, error)
	interval   time.Duration
	heartbeat  time.Duration
	writeLimit time.Duration
	lineEvery  time.Duration
	logger     hclog.Logger

	mu      sync.Mutex
	streams int
	topics  map[subject]*topic
}

// topic is a subject that is watched.
type topic struct {
	readers map[*reader]bool
	joined  chan struct{} // gets something when there is another reader
	stop    context.CancelFunc
}

// reader is a page that somebody has before them.
type reader struct {
	changed chan fingerprint // gets the newest, when that is not what the page shows
	shows   fingerprint      // the page, as far as is known
	since   time.Time
}

// newHub makes a hub. look returns the fingerprint of a subject.
func newHub(ctx context.Context, look func(context.Context, subject) (fingerprint, error), interval time.Duration, logger hclog.Logger) *hub {
	return &hub{
		ctx: ctx, look: look, interval: interval, heartbeat: heartbeat, writeLimit: writeLimit, lineEvery: lineEvery, logger: logger,
		topics: map[subject]*topic{},
	}
}

// join returns a channel that gets the fingerprint of a subject when that is another one than
// the reader's page shows, at first and then the one before, however often it has changed
// since the last receive; and what ends that. It returns nil where too many are there.
//
// Each reader is compared for itself: what the subject was when the hub looked first, or
// last, says nothing of a page that was made before or after that.
func (h *hub) join(about subject, shows fingerprint) (<-chan fingerprint, func()) {
	if !h.enter() {
		return nil, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[about]
	if t == nil {
		ctx, stop := context.WithCancel(h.ctx)
		t = &topic{readers: map[*reader]bool{}, joined: make(chan struct{}, 1), stop: stop}
		h.topics[about] = t
		go h.watch(ctx, about, t)
	}
	r := &reader{changed: make(chan fingerprint, 1), shows: shows, since: time.Now()}
	t.readers[r] = true
	select {
	case t.joined <- struct{}{}:
	default: // the next look is for this one as well
	}
	return r.changed, func() {
		h.exit()
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(t.readers, r)
		if len(t.readers) == 0 {
			t.stop()
			delete(h.topics, about)
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

// watch looks at a subject until nobody does any more: at once when somebody joins.
func (h *hub) watch(ctx context.Context, about subject, t *topic) {
	tick := time.NewTicker(h.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-t.joined:
		}
		now, err := h.look(ctx, about)
		if err != nil {
			h.logger.Debug("look at pipeline", "pipeline", about.pipeline, "error", err)
			continue
		}
		h.notify(t, now)
	}
}

// notify notifies the readers whose pages show something else, and waits for none. It
// notifies them seldom of just another line of a log.
func (h *hub) notify(t *topic, now fingerprint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range t.readers {
		if now == r.shows || now.facts == r.shows.facts && time.Since(r.since) < h.lineEvery {
			continue
		}
		select {
		case <-r.changed: // it has not read the one before
		default:
		}
		r.changed <- now
		r.shows, r.since = now, time.Now()
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

// events says "changed" whenever the pages of a kind show something else than the one that
// listens. The listener names what it shows, or the last change that it was notified of.
func (b *Board) events(k kind) page {
	return func(w http.ResponseWriter, r *http.Request, who *session) error {
		if _, err := b.existing(r); err != nil {
			return err
		}
		shows := cmp.Or(r.Header.Get("Last-Event-Id"), r.URL.Query().Get("seen"))
		changed, leave := b.hub.join(subjectOf(k, r), fingerprintOf(shows))
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
		for err == nil {
			select {
			case <-ctx.Done():
				return nil
			case now := <-changed:
				err = s.send("id: %s\nevent: changed\ndata: \n\n", now)
			case <-beat.C:
				err = s.send(": still here\n\n")
			}
		}
		return nil
	}
}
