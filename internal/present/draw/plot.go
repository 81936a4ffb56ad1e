// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package draw

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// Measures of a picture, in its own units: it is scaled to the width that it gets.
const (
	width, height = 460, 220
	left, right   = 58, 14
	top, bottom   = 34, 40
	axisHeight    = 18 // of what the names below are
	inner         = width - left - right
	innerHeight   = height - top - bottom
)

// plotStyle are the colours. Lines differ by their dashes, too, and each is named.
const plotStyle = `
.plot{width:100%;height:auto;max-width:640px;font:11px system-ui,-apple-system,"Segoe UI",sans-serif}
.plot text{fill:#1c2128}.plot .small{fill:#57606a}.plot .title{font-weight:600;font-size:12px}
.plot .grid{stroke:#d5dbe1;stroke-width:1}.plot .axis{stroke:#8c959f;stroke-width:1}
.plot .s0{stroke:#0860c4}.plot .s1{stroke:#a63a00;stroke-dasharray:6 3}.plot .s2{stroke:#7a3fc0;stroke-dasharray:2 3}
.plot .line{fill:none;stroke-width:1.8;stroke-linejoin:round}.plot .dot{fill:currentColor;stroke:none}.plot .bar{fill:#0860c4}.plot .bar.bad{fill:#c01c28}
.plot .limit{stroke:#c01c28;stroke-width:1;stroke-dasharray:8 4}.plot .limitname{fill:#c01c28}.plot .limit.s0{stroke:#0860c4}.plot .limit.s1{stroke:#a63a00}.plot .limit.s2{stroke:#7a3fc0}.plot .limitname.n0{fill:#0860c4}.plot .limitname.n1{fill:#a63a00}.plot .limitname.n2{fill:#7a3fc0}
@media (prefers-color-scheme:dark){.plot text{fill:#e4e9ef}.plot .small{fill:#9eabb9}.plot .grid{stroke:#323a44}.plot .axis{stroke:#656c76}
.plot .s0{stroke:#6bb0ff}.plot .s1{stroke:#ffa066}.plot .s2{stroke:#c69bff}.plot .bar{fill:#6bb0ff}.plot .bar.bad{fill:#ff7b72}.plot .limit{stroke:#ff7b72}.plot .limitname{fill:#ff7b72}.plot .limit.s0{stroke:#6bb0ff}.plot .limit.s1{stroke:#ffa066}.plot .limit.s2{stroke:#c69bff}.plot .limitname.n0{fill:#6bb0ff}.plot .limitname.n1{fill:#ffa066}.plot .limitname.n2{fill:#c69bff}}
`

// PlotStyle is the style sheet of the pictures of numbers.
func PlotStyle() string { return plotStyle }

// Unit says how a number is written.
type Unit func(float64) string

// Number writes a number as it is, in four digits or as a whole.
func Number(v float64) string {
	if math.Abs(v) >= 1000 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// PerSecond writes a rate.
func PerSecond(v float64) string { return Number(v) + "/s" }

// Percent writes a share of 1.
func Percent(v float64) string { return Number(100*v) + " %" }

// Seconds writes a duration that is given in seconds, in the unit that fits.
func Seconds(v float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}, {1e-3, "ms"}, {1e-6, "µs"}} {
		if math.Abs(v) >= u.size {
			return Number(v/u.size) + u.name
		}
	}
	return "0"
}

// Series is a line: a value for each position, NaN for none.
type Series struct {
	Name   string
	Values []float64
}

// Limit is a value that a series must keep.
type Limit struct {
	Name  string
	Value float64
}

// Lines are values over positions that are Every apart, from 0.
type Lines struct {
	Title  string
	Unit   Unit
	Every  time.Duration
	Series []Series // at most three
	Limits []Limit
	Reach  float64 // that the axis has at least: the same for pictures that are compared
	Most   float64 // that it has at most, so that the limits can be told from 0; 0 for any
}

// peak returns the highest value.
func (l Lines) peak() (highest float64) {
	for _, s := range l.Series {
		for _, v := range s.Values {
			if !math.IsNaN(v) {
				highest = max(highest, v)
			}
		}
	}
	return highest
}

// SVG draws the lines.
func (l Lines) SVG() string {
	n, highest, words := 0, l.Reach, []string{}
	for _, s := range l.Series {
		n = max(n, len(s.Values))
		peak := 0.0
		for _, v := range s.Values {
			if !math.IsNaN(v) {
				peak = max(peak, v)
			}
		}
		highest = max(highest, peak)
		words = append(words, fmt.Sprintf("%s up to %s", s.Name, l.Unit(peak)))
	}
	for _, limit := range l.Limits {
		words = append(words, fmt.Sprintf("%s limit %s", limit.Name, l.Unit(limit.Value)))
		if limit.Value <= 4*highest { // one far away would press the lines down
			highest = max(highest, limit.Value)
		}
	}
	var above []string // what is beyond the axis
	if l.Most > 0 && highest > l.Most {
		above = append(above, "up to "+l.Unit(l.peak()))
		highest = l.Most
	}
	p := begin(l.Title, strings.Join(words, "; "), height)
	scale := p.vertical(l.Unit.ticks(highest, 0), l.Unit)
	span := float64(max(n-1, 1)) * l.Every.Seconds()
	for _, at := range Unit(Seconds).ticks(span, 0) {
		if at <= span {
			x, anchor := left+at/span*inner, "middle"
			if x > width-2*right { // else it is cut off
				x, anchor = width, "end"
			}
			p.text(x, height-bottom+15, "small", anchor, Seconds(at))
		}
	}
	for i, s := range l.Series {
		p.line(i, s.Values, n, scale)
		x := left + float64(i)*inner/3
		fmt.Fprintf(&p.b, `<line class="line s%d" x1="%s" x2="%s" y1="%d" y2="%d"/>`, i, number(x), number(x+18), height-9, height-9)
		p.text(x+23, height-5, "small", "start", s.Name)
	}
	for _, limit := range l.Limits {
		if limit.Value > scale.most {
			above = append(above, fmt.Sprintf("limit of %s %s", limit.Name, l.Unit(limit.Value)))
			continue
		}
		line, name := "limit", "limitname" // in the colour of what it limits, if several have one
		if i := slices.IndexFunc(l.Series, func(s Series) bool { return s.Name == limit.Name }); i >= 0 {
			line, name = fmt.Sprintf("limit s%d", i), fmt.Sprintf("limitname n%d", i)
		}
		y := scale.y(limit.Value)
		fmt.Fprintf(&p.b, `<line class="%s" x1="%d" x2="%d" y1="%s" y2="%s"/>`, line, left, width-right, number(y), number(y))
		p.text(width-right, y-3, name, "end", "limit of "+limit.Name)
	}
	if len(above) > 0 {
		p.text(width-right, top-7, "limitname", "end", "↑ "+strings.Join(above, ", ")+", above")
	}
	return p.end()
}

// line draws one series, and leaves out missing values.
func (p *picture) line(i int, values []float64, n int, scale vertical) {
	var path strings.Builder
	pen := "M"
	for at, v := range values {
		if math.IsNaN(v) {
			pen = "M"
			continue
		}
		x := left + float64(at)/float64(max(n-1, 1))*inner
		fmt.Fprintf(&path, "%s%s %s", pen, number(x), number(scale.y(v)))
		if single := (at == 0 || math.IsNaN(values[at-1])) && (at == len(values)-1 || math.IsNaN(values[at+1])); single {
			path.WriteString("h2")
		}
		pen = "L"
	}
	if path.Len() > 0 {
		fmt.Fprintf(&p.b, `<path class="line s%d" d="%s"/>`, i, path.String())
	}
}

// Bar is one of several beside each other.
type Bar struct {
	Name  string // below it; empty for none
	Value float64
	Bad   bool
}

// Bars are values side by side.
type Bars struct {
	Title string
	Unit  Unit
	Bars  []Bar
	Axis  string // what the names below are
	Whole bool   // there is nothing between whole numbers
}

// SVG draws the bars.
func (b Bars) SVG() string {
	highest, words := 0.0, []string{}
	for _, bar := range b.Bars {
		highest = max(highest, bar.Value)
		if bar.Value > 0 && len(words) < 40 {
			words = append(words, fmt.Sprintf("%s: %s", bar.Name, b.Unit(bar.Value)))
		}
	}
	tall, least := height, 0.0
	if b.Axis == "" {
		tall -= axisHeight
	}
	if b.Whole {
		least = 1
	}
	p := begin(b.Title, cmp.Or(strings.Join(words, "; "), "none"), tall)
	scale := p.vertical(b.Unit.ticks(highest, least), b.Unit)
	if highest == 0 {
		p.text(left+inner/2, top+innerHeight/2, "small", "middle", "none")
	}
	step := float64(inner) / float64(max(len(b.Bars), 1))
	named := max(1, int(math.Ceil(float64(longestName(b.Bars))*6.2/step))) // every so many bars, so that names do not meet
	for i, bar := range b.Bars {
		x, y := left+float64(i)*step, scale.y(bar.Value)
		class := "bar"
		if bar.Bad {
			class = "bar bad"
		}
		if bar.Value > 0 {
			fmt.Fprintf(&p.b, `<rect class="%s" x="%s" y="%s" width="%s" height="%s"><title>%s: %s</title></rect>`, class,
				number(x+step*0.12), number(y), number(step*0.76), number(max(scale.y(0)-y, 0.8)), present.XML(bar.Name), present.XML(b.Unit(bar.Value)))
		}
		if i%named == 0 && bar.Name != "" {
			p.text(x+step/2, height-bottom+15, "small", "middle", bar.Name)
		}
	}
	if b.Axis != "" {
		p.text(left+inner/2, height-5, "small", "middle", b.Axis)
	}
	return p.end()
}

func longestName(bars []Bar) (n int) {
	for _, b := range bars {
		n = max(n, len([]rune(b.Name))+1)
	}
	return n
}

// picture is an SVG that is being written.
type picture struct{ b strings.Builder }

// begin writes the head of a picture, which says what it is.
func begin(title, words string, tall int) *picture {
	p := &picture{}
	label := title
	if words != "" {
		label += ": " + words
	}
	fmt.Fprintf(&p.b, `<svg class="plot" xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 %d %d" aria-label="%s">`, width, tall, present.XML(label))
	p.text(0, 14, "title", "start", title)
	return p
}

func (p *picture) end() string {
	p.b.WriteString("</svg>")
	return p.b.String()
}

func (p *picture) text(x, y float64, class, anchor, text string) {
	fmt.Fprintf(&p.b, `<text class="%s" x="%s" y="%s" text-anchor="%s">%s</text>`, class, number(x), number(y), anchor, present.XML(text))
}

// vertical is the axis of values, from 0.
type vertical struct{ most float64 }

func (v vertical) y(value float64) float64 {
	return top + innerHeight*(1-min(value, v.most)/v.most)
}

// vertical draws the axis of values, with a line for each of some.
func (p *picture) vertical(at []float64, unit Unit) vertical {
	v := vertical{at[len(at)-1]}
	for i, value := range at {
		class := "grid"
		if i == 0 {
			class = "axis"
		}
		y := number(v.y(value))
		fmt.Fprintf(&p.b, `<line class="%s" x1="%d" x2="%d" y1="%s" y2="%s"/>`, class, left, width-right, y, y)
		p.text(left-6, v.y(value)+4, "small", "end", unit(value))
	}
	return v
}

// ticks returns up to seven values from 0 to at least the highest, not nearer to each other than
// the least, that are round in the unit: times have steps of clocks and calendars.
func (u Unit) ticks(highest, least float64) []float64 {
	const minute, hour, day = 60, 3600, 86400
	if u(90) != Seconds(90) || !(highest > 1) || highest > 60*day {
		return ticks(highest, least)
	}
	for _, step := range []float64{
		1, 2, 5, 10, 15, 30, minute, 2 * minute, 5 * minute, 10 * minute, 15 * minute, 30 * minute,
		hour, 2 * hour, 3 * hour, 6 * hour, 12 * hour, day, 2 * day, 5 * day, 10 * day, 15 * day,
	} {
		if step >= least && highest/step <= 5 {
			return every(step, highest)
		}
	}
	return ticks(highest, least)
}

// every returns the multiples of a step from 0 to at least the highest value.
func every(step, highest float64) []float64 {
	all := []float64{0}
	for i := 1; all[len(all)-1] < highest*(1-1e-9); i++ {
		all = append(all, float64(i)*step)
	}
	return all
}

// ticks returns up to seven round values from 0 to at least the highest, not nearer to each
// other than the least.
func ticks(highest, least float64) []float64 {
	if !(highest > 0) || math.IsInf(highest, 0) {
		highest = 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(highest/5)))
	step := unit
	for _, m := range []float64{1, 2, 5, 10} {
		if step = m * unit; highest/step <= 5 {
			break
		}
	}
	return every(max(step, least), highest)
}

// number writes a coordinate.
func number(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }
