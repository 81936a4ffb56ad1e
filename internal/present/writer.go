// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package present

import (
	"bytes"
	"io"
	"unicode/utf8"
)

// longestPart is how much of an unfinished line a Writer keeps back.
const longestPart = 64 << 10

// Writer makes what is written to it printable, as Text does, and passes it on line by line.
// It is not safe for concurrent use.
type Writer struct {
	to   io.Writer
	part []byte // of a line that has not ended
}

// NewWriter makes a Writer in front of another. Close it to write a last line without an end.
func NewWriter(to io.Writer) *Writer { return &Writer{to: to} }

// Write implements io.Writer. It keeps an unfinished line back, unless it is very long.
func (w *Writer) Write(p []byte) (int, error) {
	w.part = append(w.part, p...)
	whole := bytes.LastIndexByte(w.part, '\n') + 1
	if len(w.part)-whole > longestPart {
		for whole = len(w.part); whole > len(w.part)-utf8.UTFMax && !utf8.RuneStart(w.part[whole-1]); whole-- {
		}
		whole-- // the last character may not be complete
	}
	if whole == 0 {
		return len(p), nil
	}
	_, err := w.to.Write(Bytes(w.part[:whole]))
	w.part = append(w.part[:0], w.part[whole:]...)
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close writes the rest. The writer behind stays open.
func (w *Writer) Close() error {
	_, err := w.to.Write(Bytes(w.part))
	w.part = nil
	return err
}
