// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// progress tells on standard error what long work is at: on a terminal in one line
// that is kept up to date, else in a line for each of the log's.
type progress struct {
	on    screen
	what  string
	since time.Time
	now   func() time.Time
	stop  chan struct{}
	ended sync.WaitGroup

	mu   sync.Mutex
	rest []byte
	last string
}

// working begins to report what a launch does, until the function that it returns is called.
// The launch writes what it does to log. With --json nobody looks on, and log is nil.
func (f *factory) working(what string) (log io.Writer, done func()) {
	ended := f.atWork()
	if f.json {
		return nil, ended
	}
	p := f.begin(what)
	return p, func() { p.end(); ended() }
}

// begin begins to report the progress of long work, which is written to what it gives.
func (f *factory) begin(what string) *progress {
	p := &progress{on: screenOf(f.Err), what: what, since: f.now(), now: f.now, stop: make(chan struct{})}
	if p.on.terminal {
		p.ended.Go(p.refresh)
	} else {
		fmt.Fprintln(f.Err, what+" …")
	}
	return p
}

func (p *progress) end() {
	close(p.stop)
	p.ended.Wait()
}

// refresh keeps the line on the terminal up to date, and takes it away at the end.
func (p *progress) refresh() {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		p.draw()
		select {
		case <-p.stop:
			fmt.Fprint(p.on.out, "\r"+restOfLine)
			return
		case <-tick.C:
		}
	}
}

func (p *progress) draw() {
	p.mu.Lock()
	line := fmt.Sprintf("%s … %s", p.what, present.Age(p.now().Sub(p.since)))
	if p.last != "" {
		line += "  " + p.last
	}
	p.mu.Unlock()
	if width, _ := p.on.size(); width > 0 {
		line = present.Fit(line, width-1)
	}
	fmt.Fprint(p.on.out, "\r"+line+restOfLine)
}

// Write implements io.Writer: it takes lines of a log.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.rest = append(p.rest, b...); ; {
		line, rest, whole := bytes.Cut(p.rest, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		p.rest = append([]byte(nil), rest...)
		text := present.Line(string(line))
		if stamp, said, ok := strings.Cut(text, " "); ok {
			if _, err := time.Parse(time.RFC3339, stamp); err == nil {
				text = said
			}
		}
		if p.last = strings.TrimSpace(text); p.last != "" && !p.on.terminal {
			fmt.Fprintln(p.on.out, "  "+p.last)
		}
	}
}
