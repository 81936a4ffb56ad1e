// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const (
	// mask stands for a secret, however long.
	mask = "***"

	// minPiece is the shortest line of a secret of several lines that is masked
	// by itself. Shorter ones, such as the braces of a key in JSON, give nothing
	// away, and masking them would mask half of the log.
	minPiece = 4
)

// redactor masks secrets. The output of a command is looked at line by line, so a
// secret of several lines is masked by its lines. A secret that is nothing but
// white space is none.
type redactor struct {
	pieces  [][]byte
	longest int
}

func newRedactor(secrets pipeline.Secrets) *redactor {
	r := &redactor{}
	for _, secret := range secrets {
		for _, piece := range pieces(secret.Reveal()) {
			r.pieces = append(r.pieces, []byte(piece))
			r.longest = max(r.longest, len(piece))
		}
	}
	return r
}

// masked gives what is masked.
func masked(secrets pipeline.Secrets) []string {
	var all []string
	for _, piece := range newRedactor(secrets).pieces {
		all = append(all, string(piece))
	}
	return all
}

func pieces(secret string) []string {
	var lines []string
	for line := range strings.FieldsFuncSeq(secret, func(c rune) bool { return c == '\n' || c == '\r' }) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	if slices.ContainsFunc(lines, func(l string) bool { return len(l) >= minPiece }) {
		lines = slices.DeleteFunc(lines, func(l string) bool { return len(l) < minPiece })
	}
	return lines
}

// span is a part of a line that has to be masked.
type span struct{ from, to int }

// mask masks the first limit bytes of b. A secret that begins among them is
// masked whole, where b holds the rest of it; so for a cut line b must hold
// longest-1 bytes more. The result may share memory with b.
func (r *redactor) mask(b []byte, limit int) []byte {
	limit = min(limit, len(b))
	spans := r.spans(b, limit)
	if len(spans) == 0 {
		return b[:limit]
	}
	var out []byte
	at := 0
	for _, s := range spans {
		out = append(out, b[at:s.from]...)
		out = append(out, mask...)
		at = s.to
	}
	if at < limit {
		out = append(out, b[at:limit]...)
	}
	return out
}

// spans gives the parts of b to mask that begin before limit, in order and merged
// where they overlap, so that two secrets that share a part hide each other's rest.
func (r *redactor) spans(b []byte, limit int) []span {
	var found []span
	for _, piece := range r.pieces {
		for from := 0; from < limit; from++ {
			i := bytes.Index(b[from:], piece)
			if i < 0 || from+i >= limit {
				break
			}
			from += i
			found = append(found, span{from, from + len(piece)})
		}
	}
	slices.SortFunc(found, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	merged := found[:0]
	for _, s := range found {
		if n := len(merged); n > 0 && s.from <= merged[n-1].to {
			merged[n-1].to = max(merged[n-1].to, s.to)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// text masks secrets in a text.
func (r *redactor) text(s string) string { return string(r.mask([]byte(s), len(s))) }

// line masks the first limit bytes of a line of output and makes them printable.
// It masks again afterwards, as a secret may come out only then: one with a colour
// code in its middle, say.
func (r *redactor) line(b []byte, limit int) []byte {
	plain := printable(r.mask(b, limit))
	return r.mask(plain, len(plain))
}

func (r *redactor) tests(t *pipeline.TestCounts) *pipeline.TestCounts {
	if t != nil {
		for i, f := range t.Failures {
			t.Failures[i] = pipeline.TestFailure{Name: r.text(f.Name), Message: r.text(f.Message)}
		}
	}
	return t
}

func (r *redactor) load(l *pipeline.LoadReport) *pipeline.LoadReport {
	if l != nil {
		for i, f := range l.Faults {
			l.Faults[i] = r.text(f)
		}
	}
	return l
}
