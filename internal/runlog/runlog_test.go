// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package runlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const stamp = "2026-03-01T12:00:00.000Z "

// options are those of a log with times that hides some values.
func options(hide ...string) Options {
	var secrets []pipeline.Secret
	for _, v := range hide {
		secrets = append(secrets, pipeline.Secret(v))
	}
	return Options{Hide: pipeline.NewRedactor(secrets...), Now: func() time.Time { return noon }}
}

// hostile is what a command may print to fool its readers.
const hostile = "\x1b[31mred\x1b[0m \u202e txt\u200f"

// A secret across the place where a line is cut is masked whole.
func TestRedactAtTheCut(t *testing.T) {
	t.Parallel()
	for before := range 12 {
		var out bytes.Buffer
		l := New(&out, options("0secret0"))
		l.width = 10
		_, _ = l.Write([]byte(strings.Repeat("-", before) + "0secret0" + strings.Repeat("=", 30) + "\n"))
		want := strings.Repeat("-", min(before, 10))
		if before < 10 {
			want += "***" + strings.Repeat("=", max(0, 2-before))
		}
		if got := strings.TrimPrefix(out.String(), stamp); !strings.HasPrefix(got, want+" … (") {
			t.Errorf("after %d bytes: %q, want %q", before, got, want)
		}
	}
}

// Whatever the output, its chunks and the width of a line: no line of the log contains the
// secret, and everything else is there.
func FuzzLog(f *testing.F) {
	f.Add([]byte("a hunter2 b\nhunter2hunter2\r\n\x1b[31mhun\x1b[0mter2"), "hunter2", 3, 64)
	f.Add([]byte("aaaaaaaaaaaaaaaaaa"), "aaa", 1, 5)
	f.Add([]byte("\\x00\x00\x1b]0;x"), "\\x00", 2, 9)
	f.Add([]byte("key: one-line\nother-line\n"), "one-line\nother-line", 7, 64)
	f.Add([]byte("\xffp\xc3\xa4ss\x85"), "päss", 1, 64)
	cutNote := regexp.MustCompile(` … \(\d+ bytes cut\)$`)
	f.Fuzz(func(t *testing.T, data []byte, secret string, chunk, width int) {
		// A mask of asterisks can't hide asterisks.
		if strings.Contains(secret, "*") || chunk < 1 || width < 1 || width > 1<<16 {
			return
		}
		var out bytes.Buffer
		l := New(&out, options(secret))
		l.width = width
		for rest := data; len(rest) > 0; {
			n := min(chunk, len(rest))
			if wrote, err := l.Write(rest[:n]); wrote != n || err != nil {
				t.Fatalf("wrote %d of %d: %v", wrote, n, err)
			}
			rest = rest[n:]
		}
		tail := l.Tail()
		if err := l.Finish(); err != nil {
			t.Fatal(err)
		}
		texts := tail
		for line := range strings.Lines(out.String()) {
			text, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), stamp)
			if !ok {
				t.Fatalf("line %q has no time", line)
			}
			texts = append(texts, cutNote.ReplaceAllString(text, ""))
		}
		for _, text := range texts {
			for _, piece := range options(secret).Hide.Pieces() {
				if strings.Contains(strings.TrimSuffix(text, "…"), piece) {
					t.Errorf("%q holds %q", text, piece)
				}
			}
			if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
				t.Errorf("%q does not print", text)
			}
		}
		if want := countLines(data); strings.Count(out.String(), "\n") != want {
			t.Errorf("%d lines instead of %d in %q", strings.Count(out.String(), "\n"), want, out.String())
		}
	})
}

func countLines(b []byte) int {
	text := strings.ReplaceAll(strings.ReplaceAll(string(b), "\r\n", "\n"), "\r", "\n")
	n := strings.Count(text, "\n")
	if text != "" && !strings.HasSuffix(text, "\n") {
		n++
	}
	return n
}

func TestOutputBeyondTheBoundIsCounted(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	o := options()
	o.Room = 3 * int64(len(stamp)+2)
	l := New(&out, o)
	for i := range 5 {
		fmt.Fprintln(l, i)
	}
	l.Note("a note")
	if err := l.Finish(); err != nil {
		t.Fatal(err)
	}
	want := stamp + "0\n" + stamp + "1\n" + stamp + "2\n" + stamp + "a note\n" +
		stamp + "… 2 more lines were dropped: the log takes 0 MiB of output\n"
	if out.String() != want {
		t.Errorf("log is\n%s", &out)
	}
}

// Whatever writes to a log, and with times or without, nothing in it acts on a terminal or
// changes the direction of text.
func TestHostileOutput(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{"with times": options(), "without": {}} {
		var out bytes.Buffer
		l := New(&out, o)
		fmt.Fprintln(l, hostile)
		l.Note("%s", hostile)
		l.Mark("== ", hostile)
		all := out.String() + strings.Join(l.Tail(), "\n") + Text(pipeline.NewRedactor(), hostile+"\n"+hostile)
		if strings.ContainsAny(all, "\x1b\u202e\u200f") || strings.Count(all, "red ") != 6 {
			t.Errorf("%s: %q", name, all)
		}
	}
}

// No output can imitate a line of the program's own in a log with times.
func TestOutputIsNoMark(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := New(&out, options())
	for _, text := range []string{"== step \"a\": x\n", "\r== step \"a\": x\r\n", "begun", "\n== step \"a\": x"} {
		_, _ = l.Write([]byte(text))
	}
	l.Mark("== step \"b\": ", "y")
	for line := range strings.Lines(out.String()) {
		if !strings.HasPrefix(line, stamp) && line != "== step \"b\": y\n" {
			t.Errorf("the line %q has no time", line)
		}
	}
}

// A log that can't be written to blocks nobody, and reports it at the end.
func TestWriterFails(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	full := errors.New("the disk is full")
	_ = r.CloseWithError(full)
	l := New(w, options())
	if _, err := fmt.Fprintln(l, "lost"); err != nil {
		t.Error(err)
	}
	if err := l.Finish(); !errors.Is(err, full) || len(l.Tail()) != 1 {
		t.Errorf("it ends with %v and the lines %q", err, l.Tail())
	}
}

// A log with styles keeps colours, but shows no secret that they stand inside of.
func TestStyles(t *testing.T) {
	var out bytes.Buffer
	log := New(&out, Options{Hide: pipeline.NewRedactor("geheim"), Styles: true})
	fmt.Fprint(log, "\x1b[31mred\x1b[0m\n\x1b[2Jge\x1b[31mheim\x1b[0m!\n\x1b[32mgeheim\x1b[0m\n")
	if err := log.Finish(); err != nil {
		t.Fatal(err)
	}
	if want := "\x1b[31mred\x1b[0m\n***!\n\x1b[32m***\x1b[0m\n"; out.String() != want {
		t.Errorf("the log is %q, want %q", out.String(), want)
	}
	if tail := strings.Join(log.Tail(), "|"); tail != "red|***!|***" {
		t.Errorf("its last lines are %q", tail)
	}
}
