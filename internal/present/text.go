// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package present

import (
	"bytes"
	"fmt"
	"html"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Line returns text as one printable line: each tab and line break is a space.
func Line(s string) string {
	if plain(s, false) {
		return s
	}
	return string(appendPrintable(nil, []byte(s), false))
}

// Text returns text of any number of lines as printable ones. Tabs stay, and lines end
// with LF, whether they ended with LF, CR or both.
func Text(s string) string {
	if plain(s, true) {
		return s
	}
	return string(appendPrintable(nil, []byte(s), true))
}

// Bytes is Text for bytes, such as those of a log's line. The result may be b itself.
func Bytes(b []byte) []byte {
	if plain(b, true) {
		return b
	}
	return appendPrintable(make([]byte, 0, len(b)+16), b, true)
}

// Styled is Bytes, but it keeps the sequences that set colours and styles (SGR of ECMA-48, in
// the form of seven bits), which have no other effect. The result may be b itself.
func Styled(b []byte) []byte {
	if plain(b, true) {
		return b
	}
	out := make([]byte, 0, len(b)+16)
	for len(b) > 0 {
		n := bytes.IndexByte(b, escape)
		if n < 0 {
			n = len(b)
		}
		if style := StyleSequence(b[n:]); style > 0 {
			out = append(appendPrintable(out, b[:n], true), b[n:n+style]...)
			b = b[n+style:]
			continue
		}
		end := min(n+1, len(b)) // an escape of another kind takes what belongs to it
		if next := nextStyle(b[end:]); next >= 0 {
			end += next
		} else {
			end = len(b)
		}
		out = appendPrintable(out, b[:end], true)
		b = b[end:]
	}
	return out
}

// nextStyle returns where the next sequence of a style begins; -1 for none.
func nextStyle(b []byte) int {
	for at := 0; ; at++ {
		n := bytes.IndexByte(b[at:], escape)
		if n < 0 {
			return -1
		}
		if at += n; StyleSequence(b[at:]) > 0 {
			return at
		}
	}
}

// StyleSequence returns the length of the sequence at the beginning of b that sets colours or
// styles: ESC [, digits with semicolons or colons between them, and m. It is 0 for none.
func StyleSequence[T string | []byte](b T) int {
	if len(b) < 3 || b[0] != escape || b[1] != '[' {
		return 0
	}
	for i := 2; i < len(b); i++ {
		switch c := b[i]; {
		case c == 'm':
			return i + 1
		case c != ';' && c != ':' && (c < '0' || c > '9'):
			return 0
		}
	}
	return 0
}

// XML returns text as one printable line that may stand in an element or an attribute of
// XML or HTML.
func XML(s string) string { return html.EscapeString(Line(s)) }

// JSON returns a JSON document that means the same, with everything that does not print
// written as JSON writes it in strings: \u202e. It may contain line breaks and tabs
// between its values.
func JSON(doc []byte) []byte {
	if plain(doc, true) {
		return doc
	}
	var out []byte
	last := rune(0)
	for len(doc) > 0 {
		c, n := utf8.DecodeRune(doc)
		next, _ := utf8.DecodeRune(doc[n:])
		switch high, low := utf16.EncodeRune(c); {
		case c == '\n', c == '\t', prints(last, c, next):
			out = append(out, doc[:n]...)
		case high != utf8.RuneError:
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, c)
		}
		doc, last = doc[n:], c
	}
	return out
}

// Cut returns text in at most so many bytes. Longer text is cut at the end of a character and
// marked by an ellipsis, which is not counted.
func Cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	end := most
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// plain reports whether text has nothing but printable ASCII, as most text does. With several
// lines, tabs and line breaks are allowed.
func plain[T string | []byte](s T, several bool) bool {
	for i := range len(s) {
		if c := s[i]; (c < ' ' || c > '~') && !(several && (c == '\t' || c == '\n')) {
			return false
		}
	}
	return true
}

// appendPrintable appends text by the rule of the package's doc.
func appendPrintable(dst, s []byte, several bool) []byte {
	last := rune(0) // that was written as it is
	for len(s) > 0 {
		if n := lineBreak(s); n > 0 || s[0] == '\t' {
			c := byte(' ')
			if several && n > 0 {
				c = '\n'
			} else if several {
				c = '\t'
			}
			dst, s, last = append(dst, c), s[max(n, 1):], rune(c)
			continue
		}
		if n := controlSequence(s); n > 0 {
			s = s[n:]
			continue
		}
		c, n := utf8.DecodeRune(s)
		next, size := utf8.DecodeRune(s[n:])
		if size <= 1 && next == utf8.RuneError {
			next = 0 // there is none, or no character
		}
		switch {
		case prints(last, c, next) && (c != utf8.RuneError || n > 1):
			dst, last = append(dst, s[:n]...), c
		case n == 1:
			dst, last = fmt.Appendf(dst, `\x%02x`, s[0]), 0
		case c > 0xffff:
			dst, last = fmt.Appendf(dst, `\U%08x`, c), 0
		default:
			dst, last = fmt.Appendf(dst, `\u%04x`, c), 0
		}
		s = s[n:]
	}
	return dst
}

// lineBreak returns the length of the line break at the beginning of s; 0 for none.
func lineBreak(s []byte) int {
	switch {
	case bytes.HasPrefix(s, []byte("\r\n")):
		return 2
	case s[0] == '\n', s[0] == '\r':
		return 1
	}
	return 0
}

const (
	joiner      = '\u200d' // of emoji, and of letters in some scripts
	textStyle   = '\ufe0e' // the variation selectors of emoji: as text,
	emojiStyle  = '\ufe0f' // and in colour
	keycap      = '\u20e3' // around the character before it
	lastOfASCII = '\x7f'

	// What begins control sequences and ends control strings. Each C1 control is also
	// written as ESC and the character 0x40 below it.
	escape     = '\x1b'
	controlDCS = '\u0090'
	controlSOS = '\u0098'
	controlCSI = '\u009b'
	controlST  = '\u009c'
	controlOSC = '\u009d'
	controlPM  = '\u009e'
	controlAPC = '\u009f'
)

// prints reports whether a character is visible and has no effect, between its neighbours.
func prints(last, c, next rune) bool {
	symbol := func(c rune) bool { return c > lastOfASCII && unicode.IsSymbol(c) }
	switch {
	case c == joiner:
		return (symbol(last) || last == emojiStyle) && symbol(next)
	case c == textStyle, c == emojiStyle:
		return symbol(last) || last > lastOfASCII && unicode.IsPunct(last) ||
			next == keycap && (last >= '0' && last <= '9' || last == '#' || last == '*')
	case unicode.In(c, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
		return false // such as the Hangul fillers, which are letters without a shape
	}
	return unicode.IsGraphic(c)
}

// controlSequence returns the length of the control sequence (ECMA-48, sections 5.3 to
// 5.6) at the beginning of s; 0 for none. A sequence ends on its line.
func controlSequence(s []byte) int {
	c, n := utf8.DecodeRune(s)
	sevenBit := c == escape && len(s) > 1
	if sevenBit {
		if s[1] < '@' || s[1] > '_' {
			return after(1, final(s[1:], '0'))
		}
		c, n = rune(s[1])+0x40, 2
	}
	switch c {
	case controlCSI:
		return after(n, final(s[n:], '@'))
	case controlOSC:
		return after(n, stringEnd(s[n:], '\a'))
	case controlDCS, controlSOS, controlPM, controlAPC:
		return after(n, stringEnd(s[n:], 0))
	}
	if sevenBit {
		return 2 // such as ESC M, which moves a line up
	}
	return 0
}

// after adds the length of what follows to that of an introducer; 0 if nothing ends it.
func after(introducer, rest int) int {
	if rest == 0 {
		return 0
	}
	return introducer + rest
}

// final returns the length up to the first final byte, which is lowest or a higher one; 0 if
// a byte comes first that no control sequence has.
func final(s []byte, lowest byte) int {
	for i, c := range s {
		switch {
		case c < ' ' || c > '~':
			return 0
		case c >= lowest:
			return i + 1
		}
	}
	return 0
}

// stringEnd returns the length of a control string with its end, which is ST or, for some,
// the given byte; 0 if another control character comes first.
func stringEnd(s []byte, or byte) int {
	for i, c := range s {
		switch {
		case c == or && or != 0:
			return i + 1
		case bytes.HasPrefix(s[i:], []byte("\x1b\\")), bytes.HasPrefix(s[i:], []byte(string(controlST))):
			return i + 2
		case c < ' ', c == 0xc2 && i+1 < len(s) && s[i+1] < 0xa0: // C0 or C1
			return 0
		}
	}
	return 0
}
