// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
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
}

// readLog reads the part of a run's log that an address asks for: the lines from a number,
// those with a text, or else the last.
func (b *Board) readLog(r *http.Request, run pipeline.Run) (logPage, error) {
	q := r.URL.Query()
	page := logPage{Search: strings.TrimSpace(q.Get("q"))}
	log, err := b.Engine.Log(r.Context(), run.Pipeline, run.ID)
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
	err = eachLine(log, func(line logLine) {
		page.Total = line.Number
		switch {
		case page.Search != "":
			if !strings.Contains(strings.ToLower(line.Text), strings.ToLower(page.Search)) {
				return
			}
			if page.Found++; len(page.Lines) >= linesPerPage {
				page.Cut = true
				return
			}
		case from > 0:
			if line.Number < from || line.Number >= from+linesPerPage {
				return
			}
		case len(page.Lines) >= linesPerPage: // the last ones
			page.Lines = append(page.Lines[:0], page.Lines[1:]...)
		}
		page.Lines = append(page.Lines, line)
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

// eachLine calls f for each line of a log.
func eachLine(log io.Reader, f func(logLine)) error {
	r := bufio.NewReaderSize(log, 64<<10)
	for number := 1; ; number++ {
		text, err := readLine(r)
		if text == "" && err == io.EOF {
			return nil
		}
		if err != nil && err != io.EOF {
			return err
		}
		f(lineOf(number, text))
		if err == io.EOF {
			return nil
		}
	}
}

// readLine reads a line, of which it keeps the beginning where it is very long.
func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if room := longestLine - len(line); room > 0 {
			line = append(line, part[:min(len(part), room)]...)
		}
		if err != bufio.ErrBufferFull {
			return string(line), err
		}
	}
}

func lineOf(number int, text string) logLine {
	text = plain(strings.TrimRight(text, "\r\n"))
	_, rest, _ := strings.Cut(text, " ")
	return logLine{Number: number, Text: text, Step: strings.HasPrefix(rest, "step \"")}
}

// log gives a log as text.
func (b *Board) log(w http.ResponseWriter, r *http.Request, _ *session) error {
	st, err := b.existing(r)
	if err != nil {
		return err
	}
	log, err := b.Engine.Log(r.Context(), st.Pipeline.Name, r.PathValue("run"))
	if err != nil {
		return err
	}
	defer log.Close()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.Copy(w, log) // the answer has begun: nobody can be told of an error
	return nil
}

// follow sends the lines of a log behind the one that ?after names as they come, each as the JSON
// of a logLine, and says "end" when the run has ended.
func (b *Board) follow(w http.ResponseWriter, r *http.Request, _ *session) error {
	st, err := b.existing(r)
	if err != nil {
		return err
	}
	after, _ := strconv.Atoi(r.URL.Query().Get("after"))
	if n, err := strconv.Atoi(r.Header.Get("Last-Event-Id")); err == nil {
		after = n
	}
	run := r.PathValue("run")
	if _, err := b.Engine.Ledger.Run(r.Context(), st.Pipeline.Name, run); err != nil {
		return err
	}
	if !b.hub.enter() {
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return nil
	}
	defer b.hub.exit()
	ctx, stop := b.hub.both(r.Context())
	defer stop()
	s := newStream(w)
	if err := s.send("retry: 3000\n\n"); err != nil {
		return nil
	}
	out, in := io.Pipe()
	go func() { in.CloseWithError(b.Engine.Follow(ctx, st.Pipeline.Name, run, in)) }()
	defer out.Close()
	err = eachLine(out, func(line logLine) {
		if line.Number <= after {
			return
		}
		data, err := json.Marshal(line)
		if err == nil {
			err = s.send("id: %d\nevent: line\ndata: %s\n\n", line.Number, data)
		}
		if err != nil {
			stop()
		}
	})
	if err == nil && ctx.Err() == nil {
		_ = s.send("event: end\ndata: \n\n")
	}
	return nil
}
