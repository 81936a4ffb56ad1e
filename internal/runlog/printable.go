// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package runlog

import (
	"bytes"
	"fmt"
	"unicode"
	"unicode/utf8"
)

const escape = 0x1b

// Printable returns a line of output without what a terminal would act on: control
// sequences (colours, cursor movements, titles) are left out, other bytes and
// characters that don't print are written as \x00 or \u0000. The result may be b.
func Printable(b []byte) []byte {
	plain := func(c byte) bool { return c == '\t' || (c >= ' ' && c < 0x7f) }
	if bytes.IndexFunc(b, func(c rune) bool { return c > 0x7f || !plain(byte(c)) }) < 0 {
		return b
	}
	out := make([]byte, 0, len(b)+16)
	for len(b) > 0 {
		if plain(b[0]) {
			out, b = append(out, b[0]), b[1:]
			continue
		}
		if n := controlSequence(b); n > 0 {
			b = b[n:]
			continue
		}
		c, n := utf8.DecodeRune(b)
		switch {
		case c == utf8.RuneError && n == 1, c < 0x80:
			out = fmt.Appendf(out, "\\x%02x", b[0])
		case unicode.IsGraphic(c):
			out = append(out, b[:n]...)
		default:
			out = fmt.Appendf(out, "\\u%04x", c)
		}
		b = b[n:]
	}
	return out
}

// controlSequence returns the length of the control sequence (ECMA-48) at the
// beginning of b; 0 for none.
func controlSequence(b []byte) int {
	if len(b) < 2 || b[0] != escape {
		return 0
	}
	switch b[1] {
	case '[': // parameters, then one final byte
		for i, c := range b[2:] {
			switch {
			case c >= 0x40 && c <= 0x7e:
				return i + 3
			case c < 0x20 || c > 0x3f:
				return 0
			}
		}
	case ']': // a text, up to BEL or ESC \
		for i, c := range b[2:] {
			switch {
			case c == 0x07:
				return i + 3
			case c == '\\' && b[i+1] == escape:
				return i + 3
			}
		}
	}
	return 0
}
