// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
)

const (
	// mask stands for a secret, however long.
	mask = "***"

	// minPiece is the shortest line of a secret of several lines that is masked by itself.
	// Shorter lines, such as the braces of a key in JSON, reveal nothing, and masking them
	// would mask half of the log.
	minPiece = 4
)

// Masked reports whether a redactor has masked something in a text.
func Masked(text string) bool { return strings.Contains(text, mask) }

// Redactor masks secrets. It looks at the output of a command line by line, so it masks a
// secret of several lines by its lines. It masks no secret that is only white space.
type Redactor struct {
	pieces  [][]byte
	longest int
}

// NewRedactor makes a redactor of the secrets.
func NewRedactor(secrets ...Secret) *Redactor {
	r := &Redactor{}
	for _, secret := range secrets {
		for _, piece := range pieces(secret.Reveal()) {
			r.pieces = append(r.pieces, []byte(piece))
			r.longest = max(r.longest, len(piece))
		}
	}
	return r
}

// Pieces returns what is masked.
func (r *Redactor) Pieces() []string {
	var all []string
	for _, piece := range r.pieces {
		all = append(all, string(piece))
	}
	return all
}

// Longest is the number of bytes of the longest piece.
func (r *Redactor) Longest() int { return r.longest }

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

// Mask masks the first limit bytes of b. It masks a secret that begins among them as a whole,
// if b contains the rest of it; so for a cut line b must contain Longest-1 bytes more. The
// result may share memory with b.
func (r *Redactor) Mask(b []byte, limit int) []byte {
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

// Text masks secrets in a text.
func (r *Redactor) Text(s string) string { return string(r.Mask([]byte(s), len(s))) }

// spans returns the parts of b to mask that begin before limit, in order and merged
// where they overlap, so that two secrets that share a part hide each other's rest.
func (r *Redactor) spans(b []byte, limit int) []span {
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
