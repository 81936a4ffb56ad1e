// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package present

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// texts are texts from outside, and how they are shown.
var texts = map[string]struct{ text, want string }{
	"plain":                         {"grüße, 日本 – it's 100%", "grüße, 日本 – it's 100%"},
	"nothing":                       {"", ""},
	"colour and direction":          {"\x1b[31mred\x1b[0m \u202etxt\u200f", `red \u202etxt\u200f`},
	"direction":                     {"a\u202ab\u202cc\u2066d\u2069e\u200ef\u061cg", `a\u202ab\u202cc\u2066d\u2069e\u200ef\u061cg`},
	"without width":                 {"ad\u200bmin \u200c\u200d\u2060\ufeff \u00ad\u3164", `ad\u200bmin \u200c\u200d\u2060\ufeff \u00ad\u3164`},
	"separators":                    {"a\u2028b\u2029c\u0085d\x0be\x0cf", `a\u2028b\u2029c\u0085d\x0be\x0cf`},
	"controls":                      {"\x00\x07\x08\x7f\u009c", `\x00\x07\x08\x7f\u009c`},
	"no UTF-8":                      {"a\xff\xc3b\xe2\x80", `a\xff\xc3b\xe2\x80`},
	"what stands for it":            {"\ufffd", "\ufffd"},
	"tags":                          {"\U000e0041b", `\U000e0041b`},
	"private and no characters":     {"\ue000\ufffe\uffff", `\ue000\ufffe\uffff`},
	"a backslash":                   {`\x1b \\`, `\x1b \\`},
	"parameters and intermediates":  {"\x1b[?25l\x1b[1;31;48:5:7m-\x1b[ q\x1b[!p", "-"},
	"a title":                       {"\x1b]0;rm -rf\x07a\x1b]2;b\x1b\\c\x1b]0;x\u009cd", "acd"},
	"a link":                        {"\x1b]8;;https://example.com\x1b\\text\x1b]8;;\x1b\\", "text"},
	"device control":                {"a\x1bPq#0;1~~@@\x1b\\b\x1b_G\x1b\\c\x1bXs\x1b\\d\x1b^p\x1b\\e", "abcde"},
	"controls of eight bits":        {"a\u009b31mb\u009d0;t\u009cc\u0090q\u009cd\u0084", `abcd\u0084`},
	"short escapes":                 {"\x1bcA\x1b7B\x1b(BC\x1bMD\x1b=E\x1b#8F", "ABCDEF"},
	"a title without an end":        {"\x1b]0;all of this", `\x1b]0;all of this`},
	"a title with another inside":   {"\x1b]0;a\x1b[1mb\x07c", `\x1b]0;ab\x07c`},
	"a title with another of it":    {"\u009d0;a\u009d0;b\x07c", `\u009d0;ac`},
	"BEL ends a title only":         {"\x1bPa\x07b", `\x1bPa\x07b`},
	"a sequence without an end":     {"a\x1b[31", `a\x1b[31`},
	"a sequence that is none":       {"a\x1b[31\u00fcm", `a\x1b[31üm`},
	"an escape at the end":          {"a\x1b", `a\x1b`},
	"an escape before a sequence":   {"\x1b\x1b[31m[32m", `\x1b[32m`},
	"a sequence inside a character": {"a\xe2\x1b[m\x80\xae", `a\xe2\x80\xae`},
	"emoji":                         {"👩🏽\u200d💻 🏳\ufe0f\u200d🌈 ❤\ufe0f 1\ufe0f\u20e3 🇫🇷", "👩🏽\u200d💻 🏳\ufe0f\u200d🌈 ❤\ufe0f 1\ufe0f\u20e3 🇫🇷"},
	"joiners of nothing":            {"a\u200db 💻\u200d \u200d💻 a\ufe0fb 1\ufe0f ❤\ufe0f\ufe0f", `a\u200db 💻\u200d \u200d💻 a\ufe0fb 1\ufe0f ❤` + "\ufe0f" + `\ufe0f`},
	"selectors that carry data":     {"a\ufe00\U000e0101", `a\ufe00\U000e0101`},
}

func TestText(t *testing.T) {
	for name, test := range texts {
		t.Run(name, func(t *testing.T) {
			for way, got := range map[string]string{"Line": Line(test.text), "Text": Text(test.text), "Bytes": string(Bytes([]byte(test.text)))} {
				if got != test.want {
					t.Errorf("%s shows %+q as %+q, want %+q", way, test.text, got, test.want)
				}
			}
		})
	}
}

func TestLineBreaks(t *testing.T) {
	const text = "a\tb\nc\r\nd\re\n\r\nf\x1b]0;x\ny\x07"
	if got, want := Line(text), `a b c d e  f\x1b]0;x y\x07`; got != want {
		t.Errorf("Line: %q, want %q", got, want)
	}
	if got, want := Text(text), "a\tb\nc\nd\ne\n\nf"+`\x1b]0;x`+"\n"+`y\x07`; got != want {
		t.Errorf("Text: %q, want %q", got, want)
	}
}

func TestXML(t *testing.T) {
	if got, want := XML("<b>&\"\x00\u202e"), `&lt;b&gt;&amp;&#34;\x00\u202e`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzJSON(f *testing.F) {
	for _, test := range texts {
		f.Add(test.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		doc, err := json.MarshalIndent(map[string]string{text: text}, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		shown := JSON(doc)
		for _, c := range string(shown) {
			if forbidden(c) && c != '\t' && c != '\n' {
				t.Errorf("JSON(%+q) has %U", doc, c)
			}
		}
		var got, want map[string]string
		if err := errors.Join(json.Unmarshal(shown, &got), json.Unmarshal(doc, &want)); err != nil || !maps.Equal(got, want) {
			t.Errorf("JSON(%+q) is %+q, which means %+q: %v", doc, shown, got, err)
		}
	})
}

func TestCut(t *testing.T) {
	for _, test := range []struct {
		text string
		most int
		want string
	}{{"abc", 3, "abc"}, {"abcd", 3, "abc…"}, {"aü", 2, "a…"}, {"日本", 4, "日…"}, {"日本", 0, "…"}, {"", 0, ""}} {
		if got := Cut(test.text, test.most); got != test.want {
			t.Errorf("%q in %d bytes is %q, want %q", test.text, test.most, got, test.want)
		}
	}
}

// forbidden reports whether a printable text may not have a character. It shares no code with
// what makes text printable.
func forbidden(c rune) bool {
	return unicode.In(c, unicode.Bidi_Control, unicode.Zl, unicode.Zp, unicode.Cc, unicode.Co, unicode.Cs) ||
		unicode.Is(unicode.Cf, c) && c != joiner
}

func FuzzText(f *testing.F) {
	for _, test := range texts {
		f.Add(test.text)
	}
	f.Add("a\tb\r\nc\rd\n")
	f.Fuzz(func(t *testing.T, text string) {
		line, several := Line(text), Text(text)
		for _, c := range line {
			if forbidden(c) {
				t.Errorf("Line(%+q) has %U", text, c)
			}
		}
		for _, c := range several {
			if forbidden(c) && c != '\t' && c != '\n' {
				t.Errorf("Text(%+q) has %U", text, c)
			}
		}
		if !utf8.ValidString(line) || !utf8.ValidString(several) {
			t.Errorf("%+q is shown as %+q, which is not UTF-8", text, several)
		}
		if again := Line(line); again != line {
			t.Errorf("Line(%+q) is %+q, and again %+q", text, line, again)
		}
		if again := Text(several); again != several {
			t.Errorf("Text(%+q) is %+q, and again %+q", text, several, again)
		}
		if Line(several) != line {
			t.Errorf("Line(%+q) is %+q, and after Text %+q", text, line, Line(several))
		}
		d := xml.NewDecoder(strings.NewReader("<a b=\"" + XML(text) + "\">" + XML(text) + "</a>"))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("XML(%+q): %v", text, err)
			}
		}
	})
}

// The time that a text takes grows only with its length, whatever it contains.
func TestLongText(t *testing.T) {
	for _, piece := range []string{"\u009d", "\u009b", "\x1b]", "\x1b[", "\x1b[0", "\x1b", "\u200d", "\xff", "\x1bP\u009d", "\x1b("} {
		if got := Line(strings.Repeat(piece, 1<<18)); got == "" { // hours, if each looked for an end again
			t.Errorf("%+q is dropped", piece)
		}
	}
}

// A Writer shows the same, whatever pieces the text comes in.
func FuzzWriter(f *testing.F) {
	f.Add("a\x1b[31mb\r\nc\u202e\xffd", uint8(3))
	f.Add("\x1b]0;title\x07 日本\n", uint8(1))
	f.Fuzz(func(t *testing.T, text string, size uint8) {
		var out bytes.Buffer
		w := NewWriter(&out)
		for rest := text; rest != ""; {
			n := min(len(rest), int(size)+1)
			if got, err := w.Write([]byte(rest[:n])); got != n || err != nil {
				t.Fatal(got, err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if want := Text(text); out.String() != want {
			t.Errorf("%+q in pieces of %d is %+q, want %+q", text, int(size)+1, out.String(), want)
		}
	})
}

// A line that never ends is passed on, and is not cut inside a character.
func TestWriterLongLine(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	text := strings.Repeat("日", longestPart)
	for _, piece := range []string{"a", text, text, "\xe6\x97"} {
		if _, err := w.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
		if len(w.part) > longestPart {
			t.Fatalf("%d bytes are held back", len(w.part))
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if want := "a" + text + text + `\xe6\x97`; out.String() != want {
		t.Errorf("%d bytes are shown, want %d: …%+q", out.Len(), len(want), out.String()[max(0, out.Len()-40):])
	}
}

var errWrite = errors.New("no room")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errWrite }

func TestWriterFails(t *testing.T) {
	w := NewWriter(failing{})
	if _, err := w.Write([]byte("a\nb")); !errors.Is(err, errWrite) {
		t.Errorf("Write: %v", err)
	}
	if err := w.Close(); !errors.Is(err, errWrite) {
		t.Errorf("Close: %v", err)
	}
}

// Styled keeps what sets colours, and nothing else that a terminal would act on.
func TestStyled(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                             "plain",
		"\x1b[1;31mred\x1b[0m and \x1b[mso": "\x1b[1;31mred\x1b[0m and \x1b[mso",
		"\x1b[38;5;208mx\x1b[38:2::1:2:3my": "\x1b[38;5;208mx\x1b[38:2::1:2:3my",
		"\x1b[2J\x1b[31mred\x1b[H":          "\x1b[31mred",
		"\x1b]0;title\x07\x1b[32mok":        "\x1b[32mok",
		"\x1b[?25l\x1b[>4;1mx":              "x",
		"a\u202eb\x1b[3":                    `a\u202eb\x1b[3`,
		"\u009b31mC1":                       "C1",
		"\x1b]8;;http://a\x1b[31m\x07":      `\x1b]8;;http://a` + "\x1b[31m" + `\x07`,
		"日本\x1b[4m語":                        "日本\x1b[4m語",
	} {
		if got := string(Styled([]byte(in))); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}
