// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

// The body of a request, kept as far as it is small, so that a request whose instance died or hangs
// can be sent to another one, from its beginning.

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
)

// keptBody is how much of a request's body is kept to be sent once more: forms and small
// documents, which are most of what is put.
const keptBody = 64 << 10

var (
	errBodySpent = errors.New("the body was sent and is not kept")
	errBodyOver  = errors.New("the request was sent elsewhere")
)

// body is that of a client's request. Each try to send the request reads it from its
// beginning, also while a try before waits for more of it.
type body struct {
	source  io.Reader
	trailer http.Header // announced by the client, complete when the source has ended

	turn sync.Mutex // held while the source is read

	mu   sync.Mutex
	keep bool   // what is read is kept for another try
	kept []byte // what was read so far, where it is kept
	lost bool   // something was read that is not kept
	end  error  // of the source
}

// newBody returns the body that is read from a source; nil where there is none.
func newBody(source io.Reader, trailer http.Header, keep bool) *body {
	if source == nil || source == http.NoBody {
		return nil
	}
	return &body{source: source, trailer: trailer, keep: keep}
}

// whole reports whether another try can read the body from its beginning.
func (b *body) whole() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.lost
}

// ended reports whether the body was read to its end.
func (b *body) ended() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.end == io.EOF
}

// failure says why the client's body has no end; nil where nothing is wrong with it.
func (b *body) failure() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.end == io.EOF || errors.Is(b.end, http.ErrBodyReadAfterClose) {
		return nil
	}
	return b.end
}

// at returns what a try that has read n bytes gets without the source: what is kept, or
// the end. More says that it must read on.
func (b *body) at(n int, p []byte) (read int, err error, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case n < len(b.kept):
		return copy(p, b.kept[n:]), nil, false
	case b.lost && n == 0:
		return 0, errBodySpent, false
	}
	return 0, b.end, b.end == nil
}

// advance reads the source.
func (b *body) advance(p []byte) (int, error) {
	n, err := b.source.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.keep = b.keep && len(b.kept)+n <= keptBody; b.keep {
		b.kept = append(b.kept, p[:n]...)
	} else if n > 0 {
		b.kept, b.lost = nil, true
	}
	b.end = err
	return n, err
}

// bodyTry is the body of one try.
type bodyTry struct {
	body    *body
	trailer http.Header // of the try's request; its values are set at the end
	read    int
	over    atomic.Bool
}

// Read implements io.Reader.
func (t *bodyTry) Read(p []byte) (int, error) {
	n, err, more := t.body.at(t.read, p)
	if more {
		t.body.turn.Lock()
		defer t.body.turn.Unlock()
		if t.over.Load() {
			return 0, errBodyOver
		}
		if n, err, more = t.body.at(t.read, p); more { // an earlier try has read meanwhile
			n, err = t.body.advance(p)
		}
	}
	t.read += n
	if err == io.EOF {
		for name := range t.trailer {
			t.trailer[name] = slices.Clone(t.body.trailer[name])
		}
	}
	return n, err
}

// Close implements io.Closer: the transport closes what it sent, or will not send.
func (t *bodyTry) Close() error {
	t.over.Store(true)
	return nil
}
