// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	// maxLine is where a line of output is cut. Longer ones are data, not text.
	maxLine = 16 << 10

	// maxOutput bounds what one step's output adds to the log. It is more than
	// anybody reads, and less than fills a disk when a command runs wild.
	maxOutput = 64 << 20

	// The last lines are kept for the error, and each is cut.
	tailLines = 20
	tailWidth = 500
)

// log writes what a step prints to the log of its run: whole lines, each with its
// time, printable, cut, and without secrets. It takes bytes in chunks of any size.
// What is beyond the bound of a step's output is counted and dropped. It takes
// everything, even when the run's log can't be written: finish says so.
type log struct {
	mu     sync.Mutex
	to     io.Writer
	hide   redactor
	now    func() time.Time
	width  int   // of a line, in bytes
	room   int64 // that is left for output
	err    error // of the first write that failed
	out    []byte
	line   []byte // that is not complete yet; at most width and the rest of a secret
	cut    int64  // bytes of the line that were left out
	begun  bool   // a line is under way, if only an empty one
	cr     bool   // the last byte was a carriage return
	full   bool
	lost   int64 // lines that were dropped
	time   []byte
	recent [tailLines][]byte // a ring
	ended  int               // lines since forget
}

func newLog(to io.Writer, hide redactor, now func() time.Time) *log {
	return &log{to: writerOrNone(to), hide: hide, now: now, width: maxLine, room: maxOutput}
}

// Write takes output. A line ends with LF, CR or both, so that a progress display
// gives a line for each of its states. It never fails.
func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tick()
	for rest := p; len(rest) > 0; {
		if l.cr && rest[0] == '\n' {
			rest, l.cr = rest[1:], false
			continue
		}
		l.cr = false
		i := lineEnd(rest)
		if i < 0 {
			l.extend(rest)
			break
		}
		l.extend(rest[:i])
		l.cr = rest[i] == '\r'
		l.endLine()
		rest = rest[i+1:]
	}
	l.flush()
	return len(p), nil
}

// extend adds to the line under way as much as may be needed of it.
func (l *log) extend(b []byte) {
	l.begun = true
	take := min(len(b), l.width+max(l.hide.Longest(), 1)-len(l.line))
	l.line = append(l.line, b[:take]...)
	l.cut += int64(len(b) - take)
}

func (l *log) endLine() {
	l.remember()
	cut := l.cut + int64(max(len(l.line)-l.width, 0))
	if !l.full {
		line := l.hide.line(l.line, l.width)
		size := int64(len(l.time) + len(line) + 1)
		if l.full = size > l.room; !l.full {
			l.room -= size
			l.out = append(append(l.out, l.time...), line...)
			if cut > 0 {
				l.out = fmt.Appendf(l.out, " … (%d bytes cut)", cut)
			}
			l.out = append(l.out, '\n')
		}
	}
	if l.full {
		l.lost++
	}
	l.line, l.cut, l.begun = l.line[:0], 0, false
}

// tick sets the time that lines are given.
func (l *log) tick() {
	l.time = append(l.now().UTC().AppendFormat(l.time[:0], timeForm), ' ')
}

// lineEnd gives the index of the first LF or CR; -1 for none.
func lineEnd(b []byte) int {
	lf := bytes.IndexByte(b, '\n')
	if lf < 0 {
		return bytes.IndexByte(b, '\r')
	}
	if cr := bytes.IndexByte(b[:lf], '\r'); cr >= 0 {
		return cr
	}
	return lf
}

// remember keeps the line as one of the last, in the memory of the one it displaces.
func (l *log) remember() {
	keep := min(len(l.line), tailWidth+max(l.hide.Longest(), 1))
	slot := &l.recent[l.ended%tailLines]
	*slot = append((*slot)[:0], l.line[:keep]...)
	l.ended++
}

// tail gives the last lines of output since forget, each set in by two spaces.
func (l *log) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endPartial()
	var lines []string
	for i := max(0, l.ended-tailLines); i < l.ended; i++ {
		line := l.recent[i%tailLines]
		text := string(l.hide.line(line, tailWidth))
		if len(line) > tailWidth {
			text += "…"
		}
		lines = append(lines, "  "+text)
	}
	return strings.TrimRight(strings.Join(lines, "\n"), " \n")
}

// forget clears the last lines.
func (l *log) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endPartial()
	l.ended = 0
}

// note writes a line of the runner's own, with its time. It does not count as output.
func (l *log) note(format string, args ...any) {
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		l.own("", strings.TrimRight(line, "\n"))
	}
}

// own writes a line of the runner's own: after the given beginning, which is one
// that format.go makes, or with its time where there is none.
func (l *log) own(beginning, line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tick()
	l.endPartial()
	if beginning == "" {
		l.out = append(l.out, l.time...)
	}
	l.out = append(l.out, beginning...)
	l.out = append(l.out, l.hide.line([]byte(line), len(line))...)
	l.out = append(l.out, '\n')
	l.flush()
}

// finish completes the last line, says what was dropped, and gives the first
// error of writing.
func (l *log) finish() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tick()
	l.endPartial()
	if l.lost > 0 {
		l.out = fmt.Appendf(append(l.out, l.time...), "… %d more lines were dropped: the log of a step holds %d MiB of output\n", l.lost, maxOutput>>20)
		l.lost = 0
	}
	l.flush()
	return l.err
}

func (l *log) endPartial() {
	if l.begun {
		l.endLine()
	}
}

// flush hands on whole lines.
func (l *log) flush() {
	if len(l.out) > 0 && l.err == nil {
		_, l.err = l.to.Write(l.out)
	}
	l.out = l.out[:0]
}
