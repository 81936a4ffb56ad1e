// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

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
	Lines    []logLine
	From, To int // numbers of the first and the last line, from 1
	Total    int
	Search   string
	Found    int
	Live     bool // lines are added as they come
	Gone     bool // it was collected
	Earlier  int  // the first line of the page before; 0 for none
	Later    int
	Cut      bool // there are more hits than are shown
}

type logLine struct {
	Number int
	Text   string
	Step   bool // a line of Penstock's own: what a step's output is between

	from, to int64 // where it is in the log
}

// ownLines are the places in a log of the lines that a step's output is between.
type ownLines struct{ begin, end map[int64]bool }

// stepLines returns them as the record of the run says, whatever is printed in the log.
func stepLines(run pipeline.Run) ownLines {
	own := ownLines{map[int64]bool{}, map[int64]bool{}}
	for _, s := range run.Steps {
		if s.Log != nil {
			own.begin[s.Log.From], own.end[s.Log.To] = true, true
		}
	}
	if run.UnderWay != nil {
		own.begin[run.UnderWay.From] = true
	}
	return own
}

func (o ownLines) has(line logLine) bool { return o.begin[line.from] || o.end[line.to] }

// readLog reads the part of a run's log that an address asks for: the lines from a number,
// those with a text, or else the last.
func (b *Board) readLog(r *http.Request, run pipeline.Run) (logPage, error) {
	q := r.URL.Query()
	page := logPage{Search: strings.TrimSpace(q.Get("q"))}
	log, err := b.Engine.Reports.Log(r.Context(), run.Pipeline, run.ID)
	if pipeline.IsNotFound(err) {
		page.Gone = run.Status.Final()
		page.Live = !page.Gone
		return page, nil
	}
	if err != nil {
		return page, err
	}
	defer log.Close()
	from, _ := strconv.Atoi(q.Get("from"))
	if n, err := strconv.Atoi(q.Get("line")); err == nil {
		from = (n-1)/linesPerPage*linesPerPage + 1
	}
	own := stepLines(run)
	err = eachLine(log, func(line logLine) error {
		line.Step = own.has(line)
		page.Total = line.Number
		switch {
		case page.Search != "":
			if !strings.Contains(strings.ToLower(line.Text), strings.ToLower(page.Search)) {
				return nil
			}
			if page.Found++; len(page.Lines) >= linesPerPage {
				page.Cut = true
				return nil
			}
		case from > 0:
			if line.Number < from || line.Number >= from+linesPerPage {
				return nil
			}
		case len(page.Lines) >= linesPerPage: // the last ones
			page.Lines = append(page.Lines[:0], page.Lines[1:]...)
		}
		page.Lines = append(page.Lines, line)
		return nil
	})
	if n := len(page.Lines); n > 0 {
		page.From, page.To = page.Lines[0].Number, page.Lines[n-1].Number
	}
	if page.Search == "" {
		if page.From > 1 {
			page.Earlier = max(page.From-linesPerPage, 1)
		}
		if page.To < page.Total {
			page.Later = page.To + 1
		}
		page.Live = !run.Status.Final() && page.Later == 0
	}
	return page, err
}

// eachLine calls f for each line of a log, until f returns an error.
func eachLine(log io.Reader, f func(logLine) error) error {
	r := bufio.NewReaderSize(log, 64<<10)
	at := int64(0)
	for number := 1; ; number++ {
		text, size, err := readLine(r)
		if text == "" && err == io.EOF {
			return nil
		}
		if err != nil && err != io.EOF {
			return err
		}
		line := logLine{Number: number, Text: present.Text(strings.TrimRight(text, "\r\n")), from: at, to: at + size}
		at = line.to
		if failed := f(line); failed != nil || err == io.EOF {
			return failed
		}
	}
}

// readLine reads a line, of which it keeps the beginning where it is very long, and returns
// its size, too.
func readLine(r *bufio.Reader) (text string, size int64, err error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		size += int64(len(part))
		if room := longestLine - len(line); room > 0 {
			line = append(line, part[:min(len(part), room)]...)
		}
		if err != bufio.ErrBufferFull {
			return string(line), size, err
		}
	}
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
	run := r.PathValue("run")
	if _, err := b.Engine.Reports.Run(r.Context(), st.Pipeline.Name, run); err != nil {
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
	lines, ended := b.newLines(ctx, st.Pipeline.Name, run, after)
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
func (b *Board) newLines(ctx context.Context, pipelineName, run string, after int) (<-chan logLine, <-chan error) {
	lines, ended := make(chan logLine), make(chan error, 1)
	out, in := io.Pipe()
	known := &latestRun{b: b, ctx: ctx, pipeline: pipelineName, id: run, to: in}
	go func() { in.CloseWithError(b.Engine.Reports.Follow(ctx, pipelineName, run, 0, known)) }()
	go func() {
		err := eachLine(out, func(line logLine) error {
			line.Step = known.own.Load().has(line)
			if line.Number <= after {
				return nil
			}
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

// latestRun passes on what is followed of a log, after it has read the record of the run,
// which knows the steps in it.
type latestRun struct {
	b            *Board
	ctx          context.Context
	pipeline, id string
	to           io.Writer
	own          atomic.Pointer[ownLines]
	asked        time.Time
}

// recordAge is how old the record of a run may be that is followed.
const recordAge = 200 * time.Millisecond

// Write implements io.Writer.
func (l *latestRun) Write(p []byte) (int, error) {
	if l.own.Load() == nil || time.Since(l.asked) > recordAge {
		run, err := l.b.Engine.Reports.Run(l.ctx, l.pipeline, l.id)
		if err != nil {
			return 0, err
		}
		own := stepLines(run)
		l.own.Store(&own)
		l.asked = time.Now()
	}
	return l.to.Write(p)
}
