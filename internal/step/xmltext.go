// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"bufio"
	"bytes"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"
)

// xmlText returns the text of a report as UTF-8 that a strict XML parser takes, without
// its XML declaration. Test runners copy into reports whatever a program printed, and
// declare encodings that they don't use:
//
//   - A byte order mark counts first, then a text that can only be UTF-16, then the
//     declaration, then UTF-8. A declaration of a 16-bit encoding on a text of single
//     bytes is wrong, as is a name that nobody knows: such a text is read as UTF-8.
//   - What is no text in the encoding, and a character that XML forbids, also as a
//     reference, becomes U+FFFD.
//   - A reference to an entity that is not one of XML's own five stays as it is
//     written: nothing is ever expanded.
func xmlText(in io.Reader) io.Reader {
	raw := bufio.NewReaderSize(in, sniffed)
	text := &legalReader{in: bufio.NewReaderSize(encodingOf(raw).NewDecoder().Reader(raw), 64<<10)}
	text.skipDeclaration()
	return text
}

// sniffed is how far a declaration is looked for, in bytes.
const sniffed = 4 << 10

var (
	declaration = regexp.MustCompile(`^\s*<\?xml\s[^>]*?\?>`)
	declared    = regexp.MustCompile(`\sencoding\s*=\s*["']\s*([^"'\s]+)\s*["']`)
)

// encodingOf tells the encoding of a text by how it begins.
func encodingOf(in *bufio.Reader) encoding.Encoding {
	head, _ := in.Peek(sniffed)
	first := bytes.IndexByte(head, '<')
	blank := first >= 0 && len(bytes.Trim(head[:first], " \t\r\n\x00")) == 0
	switch {
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		return unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		return unicode.UTF8BOM
	case blank && first%2 == 0 && bytes.HasPrefix(head[first:], []byte("<\x00")):
		return unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)
	case blank && first%2 == 1 && head[first-1] == 0:
		return unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
	}
	name := declared.FindSubmatch(declaration.Find(head))
	if name == nil {
		return unicode.UTF8
	}
	// Names are looked up as browsers do, to which ISO-8859-1 and ASCII are windows-1252.
	known, err := htmlindex.Get(string(name[1]))
	if err != nil || isWide(known) {
		return unicode.UTF8
	}
	return known
}

// isWide reports whether an encoding has two bytes for each character of a declaration.
func isWide(e encoding.Encoding) bool {
	one, err := e.NewEncoder().String("<")
	return err != nil || len(one) != 1
}

// legalReader hands on UTF-8 without what XML forbids.
type legalReader struct {
	in   *bufio.Reader
	end  string // of the section in which an ampersand is just one: "]]>", "-->" or "?>"; empty outside of one
	rest []byte // of a piece that did not fit
	one  [utf8.UTFMax]byte
}

// skipDeclaration skips a declaration that XML allows only as the very first thing, and
// whose version and encoding have been seen to.
func (l *legalReader) skipDeclaration() {
	head, _ := l.in.Peek(sniffed)
	_, _ = l.in.Discard(len(declaration.Find(head)))
}

func (l *legalReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(l.rest) == 0 {
			n += l.plain(p[n:])
			if n == len(p) || n > 0 && l.in.Buffered() == 0 {
				return n, nil
			}
			if l.rest, err = l.next(); err != nil {
				if n > 0 {
					return n, nil
				}
				return 0, err
			}
		}
		m := copy(p[n:], l.rest)
		n, l.rest = n+m, l.rest[m:]
	}
	return n, nil
}

// plain copies what is ahead, as far as it is of no interest: nearly all of a large report.
func (l *legalReader) plain(p []byte) int {
	ahead, _ := l.in.Peek(min(l.in.Buffered(), len(p)))
	n := 0
	for n < len(ahead) && isPlain(ahead[n]) && (l.end == "" || ahead[n] != l.end[0]) {
		n++
	}
	copy(p, ahead[:n])
	_, _ = l.in.Discard(n)
	return n
}

// isPlain reports whether a byte is a character that XML allows and that begins nothing.
func isPlain(b byte) bool {
	return b >= ' ' && b < utf8.RuneSelf && b != '<' && b != '&' || b == '\n' || b == '\t'
}

// sections are those in which a reference is none, by how they begin.
var sections = []struct{ begin, end string }{{"<![CDATA[", "]]>"}, {"<!--", "-->"}, {"<?", "?>"}}

// next reads one character, or one reference.
func (l *legalReader) next() ([]byte, error) {
	r, size, err := l.in.ReadRune()
	switch {
	case err != nil:
		return nil, err
	case r == utf8.RuneError && size == 1, !legal(r):
		return []byte("\ufffd"), nil
	case l.end != "":
		if byte(r) == l.end[0] && l.ahead(l.end[1:]) {
			l.end = ""
		}
	case r == '<':
		for _, s := range sections {
			if l.ahead(s.begin[1:]) {
				_, _ = l.in.Discard(len(s.begin) - 1)
				l.end = s.end
				return []byte(s.begin), nil
			}
		}
	case r == '&':
		return l.reference(), nil
	}
	return utf8.AppendRune(l.one[:0], r), nil
}

func (l *legalReader) ahead(text string) bool {
	next, _ := l.in.Peek(len(text))
	return string(next) == text
}

// reference returns what stands for the reference whose ampersand has been read.
func (l *legalReader) reference() []byte {
	ahead, _ := l.in.Peek(16) // longer than any that counts
	name, _, found := strings.Cut(string(ahead), ";")
	if !found {
		return []byte("&amp;")
	}
	switch name {
	case "lt", "gt", "amp", "quot", "apos":
		return []byte("&")
	}
	number, ok := strings.CutPrefix(name, "#")
	if !ok {
		return []byte("&amp;")
	}
	base := 10
	if hex, ok := strings.CutPrefix(number, "x"); ok {
		number, base = hex, 16
	}
	code, err := strconv.ParseUint(number, base, 32)
	switch {
	case err != nil:
		return []byte("&amp;")
	case code <= utf8.MaxRune && legal(rune(code)):
		return []byte("&")
	}
	_, _ = l.in.Discard(len(name) + 1)
	return []byte("\ufffd")
}

// legal reports whether XML 1.0 allows a character.
func legal(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' ||
		r >= 0x20 && r <= 0xd7ff || r >= 0xe000 && r <= 0xfffd || r >= 0x10000 && r <= utf8.MaxRune
}
