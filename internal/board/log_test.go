// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// counting is a log that counts the bytes that are read of it.
type counting struct {
	*bytes.Reader
	read int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read += int64(n)
	return n, err
}

func (c *counting) Close() error { return nil }

// long is a log of so many lines, of which a million are some 60 MB.
func long(lines int) []byte {
	var b bytes.Buffer
	for i := range lines {
		fmt.Fprintf(&b, "2026-11-29T08:18:58.123Z line %d says something\n", i+1)
	}
	return b.Bytes()
}

func open(t testing.TB, file *counting, ix *logIndex) *runLog {
	t.Helper()
	log := &runLog{ReadSeekCloser: file, index: ix, final: true}
	size, err := ix.update(file)
	if err != nil {
		t.Fatal(err)
	}
	log.size = size
	return log
}

// numbers returns the numbers and texts of n lines from one on.
func numbers(t testing.TB, log *runLog, from, n int) (all []logLine) {
	t.Helper()
	err := log.read(from, func(l logLine) error {
		if len(all) == n {
			return errEnough
		}
		l.show(nil, noLinks)
		all = append(all, l)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A log is read once. Later its end, any page, and what was added cost what they show, and not
// what the log has.
func TestLongLogIsReadByPages(t *testing.T) {
	const lines = 200_000
	text := long(lines)
	ix := newLogIndexes().of("r-1")
	file := &counting{Reader: bytes.NewReader(text)}
	if log := open(t, file, ix); log.lines() != lines || file.read > int64(len(text)) {
		t.Errorf("%d lines after %d bytes of %d", log.lines(), file.read, len(text))
	}
	const most = (linesPerPage+markEvery)*60 + 128<<10 // bytes, with what is read ahead
	for _, from := range []int{1, 2, markEvery, markEvery + 1, lines / 2, lines - linesPerPage + 1, lines} {
		file := &counting{Reader: bytes.NewReader(text)}
		got := numbers(t, open(t, file, ix), from, linesPerPage)
		if want := min(linesPerPage, lines-from+1); len(got) != want || got[0].Number != from || got[0].Plain() != fmt.Sprintf("line %d says something", from) {
			t.Errorf("from %d it has %d lines, first %+v", from, len(got), got[0])
		}
		if file.read > most {
			t.Errorf("from %d it reads %d bytes", from, file.read)
		}
		at, err := open(t, file, ix).at(got[0].from)
		if err != nil || at != from {
			t.Errorf("offset %d is of line %d, %v", got[0].from, at, err)
		}
	}
	more := append(bytes.Clone(text), "added\nunfinished"...)
	file = &counting{Reader: bytes.NewReader(more)}
	log := open(t, file, ix)
	if log.lines() != lines+2 || file.read > 100 {
		t.Errorf("with what was added it has %d lines, after %d bytes", log.lines(), file.read)
	}
	if log.final = false; log.lines() != lines+1 {
		t.Errorf("with a line under way it has %d lines", log.lines())
	}
	if log := open(t, &counting{Reader: bytes.NewReader([]byte("another\n"))}, ix); log.lines() != 1 {
		t.Errorf("a shorter log has %d lines", log.lines())
	}
}

// The index is right wherever the reader cuts the log.
func TestIndexOfChunks(t *testing.T) {
	text := long(3 * markEvery)
	for _, size := range []int{1, 7, 49, 50, 51, 4096, len(text)} {
		ix := newLogIndexes().of("r-1")
		for end := size; ; end += size {
			end = min(end, len(text))
			if _, err := ix.update(bytes.NewReader(text[:end])); err != nil {
				t.Fatal(err)
			}
			if end == len(text) || size < 49 && end > 60_000 {
				break
			}
		}
		if size, err := ix.update(bytes.NewReader(text)); err != nil || size.lines != 3*markEvery || size.end != int64(len(text)) {
			t.Fatalf("%+v, %v", size, err)
		}
		for line := 1; line <= 3*markEvery; line += markEvery {
			offset, number := ix.before(line + markEvery - 1)
			if want := fmt.Sprintf("line %d ", number); number != line || !strings.HasPrefix(string(text[offset+25:]), want) {
				t.Errorf("in chunks of %d, line %d is before %d, at %q", size, number, line, text[offset:offset+40])
			}
		}
	}
}

var (
	elsewhere = sync.OnceValue(func() func(string) bool { return newPages(time.Now, []string{"localhost:7436"}).web })
	noLinks   = func(string) bool { return false }
)

// Of all that a line may hold, colours and web addresses have an effect, and nothing else.
func TestStyledLines(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                                "plain",
		"\x1b[31mred\x1b[0m no":                "{f1 red} no",
		"\x1b[1;4;38;5;9mx\x1b[22;24;39my":     "{b u f9 x}y",
		"\x1b[48;2;250;10;10mx\x1b[mz":         "{g9 x}z",
		"\x1b[38:2::10:160:10mx":               "{f2 x}",
		"\x1b[38mx\x1b[38;5my\x1b[999mz":       "x{f0 y}{f0 z}",
		"\x1b[2J\x1b]0;title\x07<script>a":     "<script>a",
		"see https://a.example/x?y=1&z=(2).":   "see [https://a.example/x?y=1&z=(2)].",
		"(http://a.example/b), javascript:x":   "([http://a.example/b]), javascript:x",
		"https:// and http://\"x":              `https:// and http://"x`,
		"\x1b[32mhttp://a.example\x1b[0m/path": "{f2 [http://a.example]}/path",
		"a\u202eb":                             `a\u202eb`,
		"https://localhost:17999/ no":          "https://localhost:17999/ no",
		"http://LOCALHOST./x no":               "http://LOCALHOST./x no",
	} {
		var got strings.Builder
		for _, p := range styled(in, elsewhere()) {
			text := p.Text
			if p.Link != "" {
				text = "[" + text + "]"
			}
			if p.Class != "" {
				text = "{" + p.Class + " " + text + "}"
			}
			got.WriteString(text)
		}
		if got.String() != want {
			t.Errorf("%q is %q, want %q", in, got.String(), want)
		}
	}
}

// A line belongs to the step in whose part of the log it is, whatever it says.
func TestLineOfStep(t *testing.T) {
	spans := stepSpans(pipeline.Run{
		Steps:    []pipeline.StepResult{{Name: "old"}, {Name: "one", Log: &pipeline.LogPart{From: 10, To: 30}}},
		UnderWay: &pipeline.StepUnderWay{Name: "two", From: 30},
	})
	for _, c := range []struct {
		from, to int64
		fold     int
		own      bool
	}{{0, 10, 0, false}, {10, 20, 2, true}, {20, 25, 2, false}, {25, 30, 2, true}, {30, 35, 3, true}, {35, 40, 3, false}} {
		line := logLine{raw: `== step "two": x`, from: c.from, to: c.to}
		if line.show(spans, noLinks); line.Fold != c.fold || line.Own != c.own {
			t.Errorf("the line at %d is of step %d (%v), not %d (%v)", c.from, line.Fold, line.Own, c.fold, c.own)
		}
	}
}

func TestCause(t *testing.T) {
	for in, want := range map[string]string{
		"step \"a\" failed: exit status 7; its last lines:\n  one\n  two": `step "a" failed: exit status 7`,
		"it broke": "it broke",
		"":         "",
	} {
		if got := cause(in); got != want {
			t.Errorf("the cause of %q is %q", in, got)
		}
	}
}

// BenchmarkLongLog measures the end of a log of a million lines, the first time and later,
// beside that of a log of one page.
func BenchmarkLongLog(b *testing.B) {
	short, text := long(linesPerPage), long(1_000_000)
	last := func(text []byte, ix *logIndex, lines int) time.Duration {
		began := time.Now()
		log := open(b, &counting{Reader: bytes.NewReader(text)}, ix)
		if got := numbers(b, log, lines-linesPerPage+1, linesPerPage); len(got) != linesPerPage {
			b.Fatal(len(got))
		}
		return time.Since(began)
	}
	for b.Loop() {
		page := last(short, newLogIndexes().of("r"), linesPerPage)
		ix := newLogIndexes().of("r")
		first := last(text, ix, 1_000_000)
		again := last(text, ix, 1_000_000)
		log := open(b, &counting{Reader: bytes.NewReader(text)}, ix)
		began := time.Now()
		found := logPage{Search: "LINE 77777 "}
		if err := found.search(log); err != nil || found.Found != 1 {
			b.Fatal(found.Found, err)
		}
		b.ReportMetric(float64(first.Milliseconds()), "ms-first")
		b.ReportMetric(first.Seconds()/page.Seconds(), "x-first")
		b.ReportMetric(again.Seconds()/page.Seconds(), "x-again")
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms-search")
	}
}

var _ io.ReadSeekCloser = (*counting)(nil)
