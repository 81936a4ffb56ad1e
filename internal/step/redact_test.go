// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func redactorOf(values ...string) redactor {
	var secrets []pipeline.Secret
	for _, v := range values {
		secrets = append(secrets, pipeline.Secret(v))
	}
	return newRedactor(pipeline.StepRequest{Mask: secrets})
}

// A secret across the place where a line is cut is masked whole.
func TestRedactAtTheCut(t *testing.T) {
	t.Parallel()
	for before := range 12 {
		var out bytes.Buffer
		l := newLog(&out, redactorOf("0secret0"), func() time.Time { return noon })
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

// Whatever the output, its chunks and the width of a line: no line of the log
// holds the secret, and all is there that is no secret.
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
		l := newLog(&out, redactorOf(secret), func() time.Time { return noon })
		l.width = width
		for rest := data; len(rest) > 0; {
			n := min(chunk, len(rest))
			if wrote, err := l.Write(rest[:n]); wrote != n || err != nil {
				t.Fatalf("wrote %d of %d: %v", wrote, n, err)
			}
			rest = rest[n:]
		}
		tail := l.tail()
		if err := l.finish(); err != nil {
			t.Fatal(err)
		}
		texts := strings.Split(tail, "\n")
		for line := range strings.Lines(out.String()) {
			text, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), stamp)
			if !ok {
				t.Fatalf("line %q has no time", line)
			}
			texts = append(texts, cutNote.ReplaceAllString(text, ""))
		}
		for _, text := range texts {
			for _, piece := range redactorOf(secret).Pieces() {
				if strings.Contains(strings.TrimSuffix(strings.TrimPrefix(text, "  "), "…"), piece) {
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
