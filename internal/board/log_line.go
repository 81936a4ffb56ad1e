// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// logLine is a line of a log, in parts that look different. All of its texts are printable.
type logLine struct {
	Number int
	Time   string    `json:",omitempty"` // when it was printed, as RFC 3339; empty for a line of Penstock's that opens or closes a step
	Parts  []logPart // what it says
	Own    bool      `json:",omitempty"` // it opens or closes a step
	Fold   int       `json:",omitempty"` // the number of the step that it belongs to, from 1; 0 for none
	Step   string    `json:",omitempty"` // the name of that step

	raw      string
	from, to int64 // where it is in the log
}

// logPart is a part of a line.
type logPart struct {
	Text  string
	Class string `json:",omitempty"` // what sets its colours, by the style sheet
	Link  string `json:",omitempty"` // where it leads: an address that pages.web accepts
}

// stepSpan is the part of a log that belongs to a step.
type stepSpan struct {
	name     string
	from, to int64 // to is 0 for a step that has not ended
}

// stepSpans returns the parts of the log of a run, as its record says, whatever is printed in
// the log.
func stepSpans(run pipeline.Run) (spans []stepSpan) {
	for _, s := range run.Steps {
		span := stepSpan{name: s.Name, from: -1, to: -1} // an old record does not say where
		if s.Log != nil {
			span.from, span.to = s.Log.From, s.Log.To
		}
		spans = append(spans, span)
	}
	if u := run.UnderWay; u != nil {
		spans = append(spans, stepSpan{name: u.Name, from: u.From})
	}
	return spans
}

// stepOf returns the part of a log of the step that an address names: by its number from 1, or
// by its name. The last of a name counts, which is the one that failed.
func stepOf(spans []stepSpan, named string) (found stepSpan, ok bool) {
	for i, s := range spans {
		if s.from >= 0 && named != "" && (named == s.name || named == strconv.Itoa(i+1)) {
			found, ok = s, true
		}
	}
	return found, ok
}

// show fills in what is shown of a line, which spans have a part of. may reports whether an
// address is shown as a link.
func (l *logLine) show(spans []stepSpan, may func(address string) bool) {
	for i, s := range spans {
		if s.from < 0 || l.from < s.from || s.to > 0 && l.to > s.to {
			continue
		}
		l.Fold, l.Step = i+1, present.Line(s.name)
		l.Own = l.from == s.from || l.to == s.to
	}
	text := l.raw
	if stamp, rest, ok := strings.Cut(text, " "); ok && !l.Own && len(stamp) < 40 {
		if _, err := time.Parse(time.RFC3339, stamp); err == nil {
			l.Time, text = stamp, rest
		}
	}
	l.Parts = styled(text, may)
}

// Plain returns what the line says, without its time.
func (l logLine) Plain() string {
	var text strings.Builder
	for _, p := range l.Parts {
		text.WriteString(p.Text)
	}
	return text.String()
}

// Clock returns the time of day in UTC at which the line was printed.
func (l logLine) Clock() string {
	at, err := time.Parse(time.RFC3339, l.Time)
	if err != nil {
		return ""
	}
	return at.UTC().Format("15:04:05")
}

// styled cuts a line where its look changes, and at its addresses. Whatever else than a colour
// or a style it would set is shown as text.
func styled(text string, may func(address string) bool) (parts []logPart) {
	var look look
	for len(text) > 0 {
		if n := present.StyleSequence(text); n > 0 {
			look.set(text[2 : n-1])
			text = text[n:]
			continue
		}
		end := len(text)
		for at := 1; at < len(text); at++ {
			if text[at] == '\x1b' && present.StyleSequence(text[at:]) > 0 {
				end = at
				break
			}
		}
		parts = append(parts, linked(present.Text(text[:end]), look.class(), may)...)
		text = text[end:]
	}
	return parts
}

var addresses = regexp.MustCompile(`https?://[^\s<>"'` + "`" + `\\^{|}]+`)

// linked cuts a text at the addresses in it, which are links where they may be.
func linked(text, class string, may func(address string) bool) (parts []logPart) {
	for {
		at := addresses.FindStringIndex(text)
		if at == nil {
			break
		}
		address := strings.TrimRight(text[at[0]:at[1]], ".,;:!?*_~")
		for _, pair := range []string{"()", "[]"} { // (see https://example.com/a)
			for strings.HasSuffix(address, pair[1:]) && strings.Count(address, pair[1:]) > strings.Count(address, pair[:1]) {
				address = strings.TrimRight(strings.TrimSuffix(address, pair[1:]), ".,;:!?*_~")
			}
		}
		if at[0] > 0 {
			parts = append(parts, logPart{Text: text[:at[0]], Class: class})
		}
		part := logPart{Text: address, Class: class}
		if may(address) {
			part.Link = address
		}
		parts, text = append(parts, part), text[at[0]+len(address):]
	}
	if text != "" {
		parts = append(parts, logPart{Text: text, Class: class})
	}
	return parts
}

// look is what sequences have set.
type look struct {
	bold, dim, italic, underlined, inverse, struck bool
	front, back                                    int // of the 16 colours, from 1; 0 for none
}

// class returns the classes of the look in the style sheet; empty for none.
func (l look) class() string {
	var names []string
	for _, c := range []struct {
		on   bool
		name string
	}{{l.bold, "b"}, {l.dim, "dim"}, {l.italic, "i"}, {l.underlined, "u"}, {l.inverse, "inv"}, {l.struck, "s"}} {
		if c.on {
			names = append(names, c.name)
		}
	}
	if l.front > 0 {
		names = append(names, "f"+strconv.Itoa(l.front-1))
	}
	if l.back > 0 {
		names = append(names, "g"+strconv.Itoa(l.back-1))
	}
	return strings.Join(names, " ")
}

// set changes the look as the parameters of a sequence say (ECMA-48, section 8.3.117). It
// ignores those that it does not know.
func (l *look) set(parameters string) {
	codes := strings.FieldsFunc(parameters, func(c rune) bool { return c == ';' || c == ':' })
	if len(codes) == 0 {
		*l = look{}
	}
	for len(codes) > 0 {
		n, err := strconv.Atoi(codes[0])
		codes = codes[1:]
		switch {
		case err != nil:
		case n == 38 || n == 48:
			var color int
			color, codes = extended(codes)
			if n == 38 {
				l.front = color
			} else {
				l.back = color
			}
		default:
			l.code(n)
		}
	}
}

// code changes the look by a parameter that stands alone.
func (l *look) code(n int) {
	switch {
	case n == 0:
		*l = look{}
	case n == 1:
		l.bold = true
	case n == 2:
		l.dim = true
	case n == 3:
		l.italic = true
	case n == 4 || n == 21:
		l.underlined = true
	case n == 7:
		l.inverse = true
	case n == 9:
		l.struck = true
	case n == 22:
		l.bold, l.dim = false, false
	case n == 23:
		l.italic = false
	case n == 24:
		l.underlined = false
	case n == 27:
		l.inverse = false
	case n == 29:
		l.struck = false
	case n >= 30 && n <= 37:
		l.front = n - 30 + 1
	case n >= 90 && n <= 97:
		l.front = n - 90 + 9
	case n == 39:
		l.front = 0
	case n >= 40 && n <= 47:
		l.back = n - 40 + 1
	case n >= 100 && n <= 107:
		l.back = n - 100 + 9
	case n == 49:
		l.back = 0
	}
}

// extended returns which of the 16 colours is nearest to the one that the codes behind 38 or
// 48 name, from 1, and the codes behind it.
func extended(codes []string) (color int, rest []string) {
	number := func(i int) int {
		if i >= len(codes) {
			return 0
		}
		n, _ := strconv.Atoi(codes[i])
		return min(max(n, 0), 255)
	}
	switch {
	case len(codes) > 0 && codes[0] == "5":
		n := number(1)
		rest = codes[min(2, len(codes)):]
		switch {
		case n < 16:
			return n + 1, rest
		case n >= 232:
			level := 8 + 10*(n-232)
			return nearest(level, level, level), rest
		}
		level := func(n int) int { return []int{0, 95, 135, 175, 215, 255}[n%6] }
		return nearest(level((n-16)/36), level((n-16)/6), level(n-16)), rest
	case len(codes) > 0 && codes[0] == "2":
		return nearest(number(1), number(2), number(3)), codes[min(4, len(codes)):]
	}
	return 0, nil
}

// nearest returns which of the 16 colours is nearest to one, from 1.
func nearest(red, green, blue int) int {
	bright := max(red, green, blue)
	if bright < 64 {
		return 1 // black
	}
	n := 0
	for i, c := range []int{red, green, blue} {
		if 2*c > bright {
			n |= 1 << i
		}
	}
	switch {
	case n == 7 && bright < 160:
		return 9 // grey
	case bright > 220:
		return n + 9
	}
	return n + 1
}
