// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package runlog writes what commands print to the log of a run, or of an instance: whole
// lines, cut, printable and without secrets, each with its time if the log has times. All
// output gets into logs through it, whoever makes it: steps, bakes, install, migrate and
// seed, and the services themselves.
//
// A log is text for people. What the program has to know of a run is in the ledger's records,
// so nothing that a command prints can be taken for it.
//
//	log := runlog.New(file, runlog.Options{Hide: pipeline.NewRedactor(secrets...), Now: time.Now, Room: 64 << 20})
//	log.Note("checkout of %s", commit)
//	cmd.Stdout = log
//	…
//	err := log.Finish()
package runlog

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

const (
	// maxLine is where a line of output is cut. Longer ones are data, not text.
	maxLine = 16 << 10

	// The last lines are kept for errors, and each is cut.
	tailLines = 20
	tailWidth = 500

	// TimeForm is how times of lines are written: RFC 3339 with milliseconds.
	TimeForm = "2006-01-02T15:04:05.000Z07:00"
)

// Options say how a Log writes. The zero value has neither secrets, times nor a bound.
type Options struct {
	Hide *pipeline.Redactor // what no line may show
	Now  func() time.Time   // returns the time of each line; nil for a log without times
	Room int64              // bytes of output that the log takes, its times included; 0 for any number
	// Styles keeps the sequences that set colours, as present.Styled does, but for a line in
	// which they stand inside of a secret.
	Styles bool
}

// Log takes output in chunks of any size. It counts and drops what is beyond its room. It
// accepts output even if it can't write it: a full disk must not block a service, and Finish
// reports it. It may be used concurrently.
type Log struct {
	mu     sync.Mutex
	to     io.Writer
	o      Options
	width  int   // of a line, in bytes
	room   int64 // that is left for output
	err    error // of the first write that failed
	out    []byte
	line   []byte // the unfinished line; at most width and the rest of a secret
	cut    int64  // bytes of the line that were left out
	begun  bool   // a line is under way, if only an empty one
	cr     bool   // the last byte was a carriage return
	full   bool
	lost   int64 // lines that were dropped
	time   []byte
	recent [tailLines][]byte // a ring
	ended  int               // lines since Forget that are not empty
}

var _ io.Writer = (*Log)(nil)

// New returns a log that is written to a writer; nil writes it nowhere.
func New(to io.Writer, o Options) *Log {
	if to == nil {
		to = io.Discard
	}
	if o.Hide == nil {
		o.Hide = pipeline.NewRedactor()
	}
	return &Log{to: to, o: o, width: maxLine, room: o.Room}
}

// Write takes output. A line ends with LF, CR or both, so a progress display makes a line for
// each of its states. Write never fails.
func (l *Log) Write(p []byte) (int, error) {
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

// extend adds to the unfinished line as much as may be needed of it.
func (l *Log) extend(b []byte) {
	l.begun = true
	take := min(len(b), l.width+max(l.o.Hide.Longest(), 1)-len(l.line))
	l.line = append(l.line, b[:take]...)
	l.cut += int64(len(b) - take)
}

func (l *Log) endLine() {
	l.remember()
	cut := l.cut + int64(max(len(l.line)-l.width, 0))
	if !l.full {
		line := l.printable()
		size := int64(len(l.time) + len(line) + 1)
		if l.full = l.o.Room > 0 && size > l.room; !l.full {
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

// printable returns the line as it is written.
func (l *Log) printable() []byte {
	plain := Line(l.o.Hide, l.line, l.width)
	if !l.o.Styles || bytes.IndexByte(l.line, '\x1b') < 0 {
		return plain
	}
	styled := present.Styled(l.o.Hide.Mask(l.line, l.width))
	styled = l.o.Hide.Mask(styled, len(styled))
	if !bytes.Equal(present.Bytes(styled), plain) {
		return plain
	}
	return styled
}

// tick sets the time of the next lines.
func (l *Log) tick() {
	if l.o.Now != nil {
		l.time = append(l.o.Now().UTC().AppendFormat(l.time[:0], TimeForm), ' ')
	}
}

// lineEnd returns the index of the first LF or CR; -1 for none.
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

// remember keeps the line as one of the last, in the memory of the one that it replaces. It
// skips an empty line.
func (l *Log) remember() {
	if len(bytes.TrimSpace(l.line)) == 0 {
		return
	}
	keep := min(len(l.line), tailWidth+max(l.o.Hide.Longest(), 1))
	slot := &l.recent[l.ended%tailLines]
	*slot = append((*slot)[:0], l.line[:keep]...)
	l.ended++
}

// Tail ends a line that is under way, and returns the last lines of output since Forget,
// without empty ones.
func (l *Log) Tail() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tick()
	l.endPartial()
	l.flush()
	var lines []string
	for i := max(0, l.ended-tailLines); i < l.ended; i++ {
		line := l.recent[i%tailLines]
		text := string(Line(l.o.Hide, line, tailWidth))
		if len(line) > tailWidth {
			text += "…"
		}
		lines = append(lines, text)
	}
	return lines
}

// Forget clears the last lines.
func (l *Log) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tick()
	l.endPartial()
	l.flush()
	l.ended = 0
}

// Note writes lines of the program's own, with their time. They do not count as output.
func (l *Log) Note(format string, args ...any) {
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		l.own("", strings.TrimRight(line, "\n"))
	}
}

// Mark writes a line of the program's own that stands out because it has no time. The given
// beginning is written unchanged before it.
func (l *Log) Mark(beginning, line string) { l.own(beginning, line) }

func (l *Log) own(beginning, line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tick()
	l.endPartial()
	if beginning == "" {
		l.out = append(l.out, l.time...)
	}
	l.out = append(l.out, beginning...)
	l.out = append(l.out, Line(l.o.Hide, []byte(line), len(line))...)
	l.out = append(l.out, '\n')
	l.flush()
}

// Finish ends an unfinished line, notes what was dropped, and returns the first error of
// writing.
func (l *Log) Finish() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tick()
	l.endPartial()
	if l.lost > 0 {
		l.out = fmt.Appendf(append(l.out, l.time...), "… %d more lines were dropped: the log takes %d MiB of output\n", l.lost, l.o.Room>>20)
		l.lost = 0
	}
	l.flush()
	return l.err
}

func (l *Log) endPartial() {
	if l.begun {
		l.endLine()
	}
}

// flush passes on whole lines.
func (l *Log) flush() {
	if len(l.out) > 0 && l.err == nil {
		_, l.err = l.to.Write(l.out)
	}
	l.out = l.out[:0]
}

// Line returns the first limit bytes of a line of output, printable and without secrets. It
// masks secrets again once the line is printable, as a secret with a colour code in its
// middle, say, only shows then. The result may share memory with b.
func Line(hide *pipeline.Redactor, b []byte, limit int) []byte {
	plain := present.Bytes(hide.Mask(b, limit))
	return hide.Mask(plain, len(plain))
}

// Text returns lines of output, each as Line does.
func Text(hide *pipeline.Redactor, text string) string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSuffix(line, "\r")
		lines = append(lines, string(Line(hide, []byte(line), len(line))))
	}
	return strings.Join(lines, "\n")
}

// Saying returns text followed by the last lines of a log.
func Saying(text string, tail []string) string {
	if len(tail) == 0 {
		return text + "; it printed nothing"
	}
	return text + "; its last lines:\n  " + strings.Join(tail, "\n  ")
}
