// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

// net/http reads some requests that RFC 9112 lets a server refuse, and that a proxy
// before the endpoint may have read in another way: where it thinks that one request
// ends, the other may see the beginning of the next (request smuggling, section 11.2).
// A strictConn sees to it that net/http refuses those, too.

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// errAmbiguous says that a request could be read in two ways.
var errAmbiguous = errors.New("ambiguous request")

// poison ends what was read of an ambiguous request. Wherever that is cut, the NUL or the
// line without a colon makes it one that net/http refuses.
const poison = "\x00\r\n\x00\r\n\r\n"

// preface is the line that a client begins HTTP/2 with.
const preface = "PRI * HTTP/2.0"

// strictListener accepts strict connections.
type strictListener struct{ net.Listener }

// Accept implements net.Listener.
func (l strictListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &strictConn{Conn: conn}, nil
}

// strictConn is the connection of a client. What it reads is as it came, up to a request
// of HTTP/1 that is ambiguous: there it is poisoned, and ends.
type strictConn struct {
	net.Conn
	framing framing
	rest    string      // of the poison, once refused
	refused bool        // the rest of what the client sends is not read
	raw     atomic.Bool // the connection has changed to another protocol
	within  atomic.Bool // a request is not read to its end
}

// linger is how long a client may take to read the answer to a request that was not read
// to its end. Closed at once, the connection would be reset, and the answer be lost.
const linger = time.Second

// Read implements net.Conn.
func (c *strictConn) Read(p []byte) (int, error) {
	if c.refused {
		n := copy(p, c.rest)
		c.rest = c.rest[n:]
		if n == 0 && len(p) > 0 {
			return 0, io.EOF
		}
		return n, nil
	}
	n, err := c.Conn.Read(p)
	if c.raw.Load() {
		return n, err
	}
	if err != nil && c.within.Load() {
		c.refused = true // net/http may forget the error, and would take the rest for a request
	}
	if n == 0 {
		return n, err
	}
	good, failed := c.framing.pass(p[:n])
	c.within.Store(failed != nil || c.framing.state != readStart)
	if c.framing.state == readForeign {
		c.raw.Store(true)
	}
	if failed == nil {
		return n, err
	}
	c.refused, c.rest = true, poison
	if good > 0 {
		return good, nil
	}
	return c.Read(p)
}

// Close implements net.Conn.
func (c *strictConn) Close() error {
	if c.raw.Load() || !c.within.Load() || c.CloseWrite() != nil {
		return c.Conn.Close()
	}
	go func() {
		_ = c.Conn.SetReadDeadline(time.Now().Add(linger))
		_, _ = io.Copy(io.Discard, c.Conn)
		_ = c.Conn.Close()
	}()
	return nil
}

// CloseWrite lets net/http end its answer before it closes the connection.
func (c *strictConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// changed receives the state of each connection of a server.
func changed(conn net.Conn, state http.ConnState) {
	if c, ok := conn.(*strictConn); ok && state == http.StateHijacked {
		c.raw.Store(true)
	}
}

// readState says what the next byte of a connection belongs to.
type readState int

const (
	readStart     readState = iota // the first line of a request
	readField                      // a line of its header
	readBody                       // its body, of a known length
	readChunkSize                  // the line before a chunk
	readChunk                      // a chunk
	readChunkEnd                   // the line end after a chunk
	readTrailer                    // a line of the trailer
	readForeign                    // HTTP/2
)

// longestLine bounds what is kept of a line. It is beyond what net/http reads of a header.
const longestLine = 2 * http.DefaultMaxHeaderBytes

// framing follows the requests of a connection of HTTP/1: which bytes are lines of a
// header, and where a body ends.
type framing struct {
	state   readState
	later   bool   // than the first request
	line    []byte // the beginning of the present line, of earlier reads
	left    uint64 // bytes of the body or of the chunk
	length  string // of the body; empty without Content-Length
	chunked bool
	old     bool // HTTP/1.0
}

// pass follows the bytes, and returns how many of them come before what is ambiguous.
func (f *framing) pass(p []byte) (good int, err error) {
	for good < len(p) && f.state != readForeign {
		if f.state == readBody || f.state == readChunk {
			n := min(f.left, uint64(len(p)-good))
			f.left -= n
			good += int(n)
			if f.left == 0 {
				f.bodyEnds()
			}
			continue
		}
		end := bytes.IndexByte(p[good:], '\n')
		if end < 0 {
			if len(f.line)+len(p)-good > longestLine {
				return good, errAmbiguous
			}
			f.line = append(f.line, p[good:]...)
			return len(p), f.begun()
		}
		line := p[good : good+end]
		if len(f.line) > 0 {
			f.line = append(f.line, line...)
			line = f.line
		}
		if err := f.take(line); err != nil {
			return good + end, err
		}
		f.line = f.line[:0]
		good += end + 1
	}
	return len(p), nil
}

func (f *framing) bodyEnds() {
	if f.state == readChunk {
		f.state = readChunkEnd
		return
	}
	f.next()
}

// next makes ready for the next request.
func (f *framing) next() { *f = framing{line: f.line[:0], later: true} }

// begun checks the beginning of a line whose end did not come yet: a client may wait for
// an answer to it.
func (f *framing) begun() error {
	if f.folded(f.line) {
		return errAmbiguous
	}
	return nil
}

// folded reports whether a line goes on with the one before (obs-fold).
func (f *framing) folded(line []byte) bool {
	return (f.state == readField || f.state == readTrailer) && len(line) > 0 && (line[0] == ' ' || line[0] == '\t')
}

// take reads a line, without its LF.
func (f *framing) take(line []byte) error {
	if f.state == readStart && len(bytes.Trim(line, "\r")) == 0 {
		return nil // net/http passes over empty lines before a request, or refuses them
	}
	text, ended := bytes.CutSuffix(line, []byte("\r"))
	if !ended || f.folded(line) {
		return errAmbiguous
	}
	switch f.state {
	case readStart:
		f.state, f.old = readField, bytes.HasSuffix(text, []byte("HTTP/1.0"))
		if !f.later && string(text) == preface {
			f.state = readForeign
		}
	case readField:
		if len(text) == 0 {
			return f.headEnds()
		}
		return f.field(text)
	case readChunkSize:
		return f.chunk(text)
	case readChunkEnd:
		f.state = readChunkSize
		if len(text) > 0 {
			return errAmbiguous
		}
	case readTrailer:
		if len(text) == 0 {
			f.next()
		}
	}
	return nil
}

// field notes what the fields of a header say about the body. What is wrong with a value
// by itself, net/http finds.
func (f *framing) field(text []byte) error {
	name, value, _ := bytes.Cut(text, []byte(":"))
	switch {
	case bytes.EqualFold(name, []byte("Content-Length")):
		if f.length != "" || f.chunked {
			return errAmbiguous
		}
		f.length = strings.Trim(string(value), " \t")
		if f.length == "" {
			return errAmbiguous
		}
	case bytes.EqualFold(name, []byte("Transfer-Encoding")):
		if f.length != "" || f.chunked || f.old {
			return errAmbiguous
		}
		f.chunked = true // net/http takes nothing else
	}
	return nil
}

func (f *framing) headEnds() error {
	switch {
	case f.chunked:
		f.state = readChunkSize
		return nil
	case f.length == "":
		f.next()
		return nil
	}
	n, err := strconv.ParseUint(f.length, 10, 63)
	if err != nil {
		return errAmbiguous
	}
	if f.state, f.left = readBody, n; n == 0 {
		f.next()
	}
	return nil
}

// chunk reads the line before a chunk: its size, and extensions that nobody knows.
func (f *framing) chunk(text []byte) error {
	size, _, _ := bytes.Cut(text, []byte(";"))
	n, err := strconv.ParseUint(string(bytes.TrimRight(size, " \t")), 16, 63)
	if err != nil || bytes.ContainsAny(size, "+-_") {
		return errAmbiguous
	}
	if f.state, f.left = readChunk, n; n == 0 {
		f.state = readTrailer
	}
	return nil
}
