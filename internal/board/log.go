// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

const (
	// linesPerPage is how many lines of a log one page shows.
	linesPerPage = 2000
	// longestLine is how much of a line is shown, in bytes.
	longestLine = 16 << 10
)

// logPage is part of a log.
type logPage struct {
	Folds    []logFold
	From, To int // numbers of the first and the last line, from 1
	Total    int
	Search   string
	Found    int
	Shown    int  // lines on the page
	Live     bool // lines are added as they come
	Gone     bool // it was collected
	Earlier  int  // the first line of the page before; 0 for none
	Later    int
	Cut      bool // there are more hits than are shown
	Goto     int  // the line that the page opens at; 0 for the first, or the last of a log that goes on
}

// logFold are lines in a row that belong to one step, or to none.
type logFold struct {
	Number int    // of the step, from 1; 0 for none
	Step   string // its name
	Result *stepRow
	Open   bool
	Lines  []logLine
}

// add adds a line to the page.
func (p *logPage) add(line logLine) {
	p.Shown++
	if n := len(p.Folds); n == 0 || p.Folds[n-1].Number != line.Fold {
		p.Folds = append(p.Folds, logFold{Number: line.Fold, Step: line.Step, Open: true})
	}
	last := &p.Folds[len(p.Folds)-1]
	last.Lines = append(last.Lines, line)
}

// runLog is the log of a run, opened.
type runLog struct {
	io.ReadSeekCloser
	index *logIndex
	spans []stepSpan
	size  logSize
	final bool                      // nothing is added any more
	web   func(address string) bool // may be a link
}

// openLog opens the log of a run; CodeNotFound where it was collected or has not begun.
func (b *Board) openLog(ctx context.Context, run pipeline.Run) (*runLog, error) {
	file, err := b.Engine.Reports.Log(ctx, run.Pipeline, run.ID)
	if err != nil {
		return nil, err
	}
	log := &runLog{ReadSeekCloser: file, index: b.logs.of(run.ID), spans: stepSpans(run), final: run.Status.Final(), web: b.pages.web}
	if log.size, err = log.index.update(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return log, nil
}

// lines returns how many lines there are. What is written of a line that has not ended counts
// once nobody writes any more.
func (l *runLog) lines() int {
	if l.final && l.size.size > l.size.end {
		return l.size.lines + 1
	}
	return l.size.lines
}

// read calls f for each line from one on, until f returns errEnough.
func (l *runLog) read(from int, f func(logLine) error) error {
	offset, number := l.index.before(from)
	if _, err := l.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	end := l.size.end
	if l.final {
		end = l.size.size
	}
	err := eachLine(io.LimitReader(l, end-offset), offset, number, func(line logLine) error {
		if line.Number < from {
			return nil
		}
		return f(line)
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// at returns the number of the line that has an offset.
func (l *runLog) at(offset int64) (number int, err error) {
	from, number := l.index.beforeOffset(offset)
	if _, err := l.Seek(from, io.SeekStart); err != nil {
		return 0, err
	}
	buffer := make([]byte, 32<<10)
	for left := io.LimitReader(l, offset-from); ; {
		n, err := left.Read(buffer)
		number += bytes.Count(buffer[:n], []byte("\n"))
		if err == io.EOF {
			return number, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// errEnough ends the reading of a log.
var errEnough = errors.New("that is enough")

// readLog reads the part of a run's log that an address asks for: the lines from a number or a
// step, those with a text, or else those around the first failure, or the last.
func (b *Board) readLog(r *http.Request, run pipeline.Run, failures []failedAt) (logPage, error) {
	q := r.URL.Query()
	page := logPage{Search: strings.TrimSpace(q.Get("q"))}
	log, err := b.openLog(r.Context(), run)
	if pipeline.IsNotFound(err) {
		page.Gone = run.Status.Final()
		page.Live = !page.Gone
		return page, nil
	}
	if err != nil {
		return page, err
	}
	defer log.Close()
	page.Total = log.lines()
	if page.Search != "" {
		return page, page.search(log)
	}
	from, _ := strconv.Atoi(q.Get("from"))
	if n, err := strconv.Atoi(q.Get("line")); err == nil {
		from = pageOf(n)
	}
	if span, ok := stepOf(log.spans, q.Get("step")); ok {
		if from, err = log.at(span.from); err != nil {
			return page, err
		}
		page.Goto = from
	}
	if part, ok := hookPart(run, q.Get("hook")); ok {
		if from, err = log.at(part.From); err != nil {
			return page, err
		}
		page.Goto = from
	}
	last := max(page.Total-linesPerPage+1, 1)
	if from <= 0 {
		if from = last; len(failures) > 0 {
			page.Goto = failures[0].Line
			from = min(max(page.Goto-linesPerPage/2, 1), last)
		}
	}
	err = log.read(from, func(line logLine) error {
		if line.Number >= from+linesPerPage {
			return errEnough
		}
		line.show(log.spans, log.web)
		page.add(line)
		if page.From == 0 {
			page.From = line.Number
		}
		page.To = line.Number
		return nil
	})
	if page.From > 1 {
		page.Earlier = max(page.From-linesPerPage, 1)
	}
	if page.To < page.Total {
		page.Later = page.To + 1
	}
	page.Live = !run.Status.Final() && page.Later == 0
	return page, err
}

// pageOf returns the first line of the page that a line is on, however long the log gets.
func pageOf(line int) int { return (max(line, 1)-1)/linesPerPage*linesPerPage + 1 }

// search fills the page with the lines that have its text.
func (p *logPage) search(log *runLog) error {
	want := []byte(strings.ToLower(p.Search))
	var lower []byte
	return log.read(1, func(line logLine) error {
		plain := line.raw
		if strings.IndexByte(plain, '\x1b') >= 0 {
			plain = present.Text(plain)
		}
		if lower = appendLower(lower[:0], plain); !bytes.Contains(lower, want) {
			return nil
		}
		if p.Found++; p.Shown >= linesPerPage {
			p.Cut = true
			return nil
		}
		line.show(log.spans, log.web)
		line.Fold, line.Step = 0, "" // hits have no steps around them
		p.add(line)
		return nil
	})
}

// appendLower appends a text in lower case.
func appendLower(to []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if c >= utf8.RuneSelf {
			return append(to, strings.ToLower(s[i:])...)
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		to = append(to, c)
	}
	return to
}

// eachLine calls f for each line of a part of a log, which begins at an offset with the line
// of a number, until f returns an error.
func eachLine(log io.Reader, at int64, number int, f func(logLine) error) error {
	r := bufio.NewReaderSize(log, 64<<10)
	for ; ; number++ {
		text, size, err := readLine(r)
		if text == "" && err == io.EOF {
			return nil
		}
		if err != nil && err != io.EOF {
			return err
		}
		line := logLine{Number: number, raw: strings.TrimRight(text, "\r\n"), from: at, to: at + size}
		at = line.to
		if failed := f(line); failed != nil || err == io.EOF {
			return failed
		}
	}
}

// readLine reads a line, of which it keeps the beginning where it is very long, and returns
// its size, too.
func readLine(r *bufio.Reader) (text string, size int64, err error) {
	part, err := r.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		return string(part[:min(len(part), longestLine)]), int64(len(part)), err
	}
	line := slices.Clone(part[:min(len(part), longestLine)])
	size = int64(len(part))
	for err == bufio.ErrBufferFull {
		part, err = r.ReadSlice('\n')
		size += int64(len(part))
	}
	return string(line), size, err
}

// log sends a log as printable text.
func (b *Board) log(w http.ResponseWriter, r *http.Request, _ *session) error {
	st, err := b.existing(r)
	if err != nil {
		return err
	}
	log, err := b.Engine.Reports.Log(r.Context(), st.Pipeline.Name, r.PathValue("run"))
	if err != nil {
		return err
	}
	defer log.Close()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	text := present.NewWriter(newStream(w, logLimit))
	_, _ = io.Copy(text, log) // the answer has begun: too late to report an error
	_ = text.Close()
	return nil
}

// follow sends the lines of a log behind the one that ?after names as they come, each as the JSON
// of a logLine, and says "end" when the run has ended.
func (b *Board) follow(w http.ResponseWriter, r *http.Request, who *session) error {
	st, err := b.existing(r)
	if err != nil {
		return err
	}
	after, _ := strconv.Atoi(r.URL.Query().Get("after"))
	if n, err := strconv.Atoi(r.Header.Get("Last-Event-Id")); err == nil {
		after = n
	}
	run, err := b.Engine.Reports.Run(r.Context(), st.Pipeline.Name, r.PathValue("run"))
	if err != nil {
		return err
	}
	if !b.hub.enter() {
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return nil
	}
	defer b.hub.exit()
	ctx, stop := who.until(r.Context(), b.hub.ctx)
	defer stop()
	s, err := b.hub.newEvents(w)
	lines, ended := b.newLines(ctx, run, after)
	beat := time.NewTicker(b.hub.heartbeat)
	defer beat.Stop()
	for err == nil {
		select {
		case line := <-lines:
			var data []byte
			if data, err = json.Marshal(line); err == nil {
				err = s.send("id: %d\nevent: line\ndata: %s\n\n", line.Number, data)
			}
		case <-beat.C:
			err = s.send(": still here\n\n")
		case failed := <-ended:
			if failed == nil {
				_ = s.send("event: end\ndata: \n\n")
			}
			return nil
		}
	}
	return nil
}

// newLines returns the lines of a log behind a number as they come, and what becomes of it:
// nil when the run has ended and all its lines were taken. It ends with ctx at the latest.
func (b *Board) newLines(ctx context.Context, run pipeline.Run, after int) (<-chan logLine, <-chan error) {
	lines, ended := make(chan logLine), make(chan error, 1)
	offset, number := b.lineBefore(ctx, run, after+1)
	out, in := io.Pipe()
	known := &latestRun{b: b, ctx: ctx, pipeline: run.Pipeline, id: run.ID, to: in}
	go func() {
		in.CloseWithError(b.Engine.Reports.Follow(ctx, run.Pipeline, run.ID, offset, known))
	}()
	go func() {
		err := eachLine(out, offset, number, func(line logLine) error {
			if line.Number <= after {
				return nil
			}
			line.show(*known.spans.Load(), b.pages.web)
			select {
			case lines <- line:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		out.CloseWithError(err) // nobody reads on
		ended <- err
	}()
	return lines, ended
}

// lineBefore returns a place in the log of a run at or before a line, and the number of the
// line there. It is the beginning of a log that can't be read now.
func (b *Board) lineBefore(ctx context.Context, run pipeline.Run, line int) (offset int64, number int) {
	log, err := b.openLog(ctx, run)
	if err != nil {
		return 0, 1
	}
	defer log.Close()
	return log.index.before(line)
}

// latestRun passes on what is followed of a log, after it has read the record of the run,
// which knows the steps in it.
type latestRun struct {
	b            *Board
	ctx          context.Context
	pipeline, id string
	to           io.Writer
	spans        atomic.Pointer[[]stepSpan]
	asked        time.Time
}

// recordAge is how old the record of a run may be that is followed.
const recordAge = 200 * time.Millisecond

// Write implements io.Writer.
func (l *latestRun) Write(p []byte) (int, error) {
	if l.spans.Load() == nil || time.Since(l.asked) > recordAge {
		run, err := l.b.Engine.Reports.Run(l.ctx, l.pipeline, l.id)
		if err != nil {
			return 0, err
		}
		spans := stepSpans(run)
		l.spans.Store(&spans)
		l.asked = time.Now()
	}
	return l.to.Write(p)
}
