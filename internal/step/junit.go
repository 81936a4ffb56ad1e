// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// Bounds of a report. The largest that test runners write are some ten megabytes,
// nearly all of it output, and nest three deep.
const (
	maxReport    = 128 << 20 // bytes
	maxDepth     = 100
	maxFailures  = 20
	maxMessage   = 1000 // bytes
	maxTestName  = 300  // bytes
	maxTestTime  = 30 * 24 * time.Hour
	reportSyntax = "is not a JUnit report"
)

// readJUnit adds the tests of a JUnit report of at most size bytes to the counts. There
// is no standard; it reads what the runners write as CI servers do:
//
//   - A test is a <testcase>, wherever it is below <testsuites> or <testsuite>. One with a
//     <failure> or an <error> has failed, unless it is <skipped>, too: so runners mark
//     what is known not to work yet.
//   - A <failure> or an <error> directly below a suite is a failed test of the suite's
//     name: a set-up that failed, or a runner that crashed.
//   - A suite without any test whose attributes count failures or errors has failed, too.
//
// Text is read as xmlText says. An error says what is wrong with the report.
func readJUnit(in io.Reader, size int64, counts *pipeline.TestCounts) error {
	limited := &io.LimitedReader{R: in, N: size + 1}
	d := xml.NewDecoder(xmlText(limited))
	p := junitParser{counts: counts}
	for {
		token, err := d.Token()
		switch {
		case limited.N <= 0:
			return fmt.Errorf("is larger than %d bytes", size)
		case errors.Is(err, io.EOF) && p.rooted:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New(reportSyntax + ": it contains no XML element")
		case err != nil:
			return fmt.Errorf(reportSyntax+": %w", err)
		}
		switch t := token.(type) {
		case xml.Directive:
			err = checkDirective(string(t))
		case xml.StartElement:
			err = p.begin(t)
		case xml.EndElement:
			p.end()
		case xml.CharData:
			p.text(t)
		}
		if err != nil {
			return err
		}
	}
}

// checkDirective refuses a document type whose entities may hold elements. As nothing
// is expanded, a failed test could hide in one.
func checkDirective(text string) error {
	_, entities, _ := strings.Cut(text, "<!ENTITY")
	for declaration := range strings.SplitSeq(entities, "<!ENTITY") {
		value, _, _ := strings.Cut(declaration, ">")
		if strings.ContainsAny(value, "<&%") || strings.Contains(value, "SYSTEM") || strings.Contains(value, "PUBLIC") {
			return errors.New(reportSyntax + ": its document type declares entities that are more than text, which Penstock does not expand")
		}
	}
	return nil
}

// junitKind says what an element is to a report.
type junitKind int

const (
	junitWrapper junitKind = iota // of no meaning; there may be tests below it
	junitInert                    // of no meaning, as is all below it
	junitSuite                    // <testsuite> or <testsuites>
	junitCase                     // <testcase>
	junitFault                    // <failure> or <error> of a suite or a case
)

// junitElement is an element that is open.
type junitElement struct {
	kind    junitKind
	name    string // of a suite or a case
	tests   int    // in it, itself included
	counted string // what a suite's attributes say of failures; empty for none
	failed  bool
	skipped bool
	message string // of a fault, or of a case's first
	inText  bool   // the message is the fault's text
}

type junitParser struct {
	counts *pipeline.TestCounts
	rooted bool
	open   []junitElement
}

func (p *junitParser) begin(e xml.StartElement) error {
	name := e.Name.Local
	switch {
	case len(p.open) == maxDepth:
		return fmt.Errorf(reportSyntax+": elements nest deeper than %d", maxDepth)
	case len(p.open) == 0 && name != "testsuites" && name != "testsuite":
		return fmt.Errorf(reportSyntax+": its root is <%s>", present.Cut(name, 40))
	}
	p.rooted = true
	var in *junitElement
	if len(p.open) > 0 {
		in = &p.open[len(p.open)-1]
	}
	p.open = append(p.open, p.element(e, in))
	return nil
}

// element reads the start of an element in another, which is nil for a root.
func (p *junitParser) element(e xml.StartElement, in *junitElement) junitElement {
	if in != nil && (in.kind == junitInert || in.kind == junitFault) {
		return junitElement{kind: junitInert}
	}
	switch e.Name.Local {
	case "testsuites", "testsuite":
		return junitElement{kind: junitSuite, name: cmp.Or(testName(e), suiteOf(in)), counted: countedFaults(e)}
	case "testcase":
		p.counts.Duration = min(p.counts.Duration+testTime(attribute(e, "time")), math.MaxInt64-maxTestTime)
		status := attribute(e, "status") // of GoogleTest and CTest
		return junitElement{kind: junitCase, name: cmp.Or(testName(e), noName), tests: 1, skipped: status == "notrun" || status == "disabled"}
	case "failure", "error":
		if in.kind == junitWrapper {
			return junitElement{kind: junitInert}
		}
		message := strings.TrimSpace(attribute(e, "message"))
		return junitElement{kind: junitFault, message: message, inText: message == ""}
	case "skipped":
		in.skipped = in.kind == junitCase
	case "properties", "system-out", "system-err":
		return junitElement{kind: junitInert}
	}
	if in.kind == junitCase {
		return junitElement{kind: junitInert} // <flakyFailure>, <rerunFailure> and the like
	}
	return junitElement{kind: junitWrapper}
}

func (p *junitParser) text(t xml.CharData) {
	if len(p.open) == 0 {
		return
	}
	if top := &p.open[len(p.open)-1]; top.inText && len(top.message) <= maxMessage {
		top.message += string(t[:min(len(t), maxMessage+1)])
	}
}

func (p *junitParser) end() {
	last := len(p.open) - 1
	e, in := p.open[last], &junitElement{}
	if p.open = p.open[:last]; last > 0 {
		in = &p.open[last-1]
	}
	switch {
	case e.kind == junitFault && in.kind == junitSuite:
		e.tests = 1
		p.count(junitElement{name: cmp.Or(in.name, noName), failed: true, message: e.message})
	case e.kind == junitFault && !in.failed:
		in.failed, in.message = true, e.message
	case e.kind == junitCase:
		p.count(e)
	case e.kind == junitSuite && e.tests == 0 && e.counted != "":
		e.tests = 1
		p.count(junitElement{name: cmp.Or(e.name, noName), failed: true, message: e.counted})
	}
	in.tests += e.tests
}

// count adds a test.
func (p *junitParser) count(test junitElement) {
	p.counts.Total++
	switch {
	case test.skipped:
		p.counts.Skipped++
	case test.failed:
		p.counts.Failed++
		if len(p.counts.Failures) < maxFailures {
			message := present.Text(strings.TrimSpace(test.message))
			p.counts.Failures = append(p.counts.Failures, pipeline.TestFailure{Name: test.name, Message: present.Cut(message, maxMessage)})
		}
	}
}

const noName = "(no name)"

// testName returns the name of a case, with its class, or of a suite; empty where it has none.
func testName(e xml.StartElement) string {
	name, class := attribute(e, "name"), attribute(e, "classname")
	if name == "" && class != "" {
		name = noName
	}
	if class != "" && !strings.HasPrefix(name, class) {
		name = class + "." + name
	}
	return present.Cut(present.Text(name), maxTestName)
}

func suiteOf(in *junitElement) string {
	if in == nil {
		return ""
	}
	return in.name
}

// countedFaults returns what a suite's attributes say of failures and errors; empty where
// they say none.
func countedFaults(e xml.StartElement) string {
	failures, errs := number(attribute(e, "failures")), number(attribute(e, "errors"))
	if !(failures > 0 || errs > 0) {
		return ""
	}
	return fmt.Sprintf("the suite reports failures: %.0f, errors: %.0f, but contains no test", max(failures, 0), max(errs, 0))
}

// attribute returns the value of an attribute, one without a namespace first.
func attribute(e xml.StartElement, name string) string {
	value := ""
	for _, a := range e.Attr {
		if a.Name.Local == name && (a.Name.Space == "" || value == "") {
			value = a.Value
		}
	}
	return value
}

// testTime reads seconds. What makes no sense counts nothing.
func testTime(s string) time.Duration {
	seconds := number(s)
	if !(seconds >= 0 && seconds <= maxTestTime.Seconds()) {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

// grouping are what stands between groups of digits beside a comma or a point.
var grouping = strings.NewReplacer(" ", "", "\u00a0", "", "\u202f", "", "'", "", "\u2019", "")

// number reads a number as runners write it in their user's language: "1,234.5",
// "1.234,5", "1 234,5" and "0,5". Where both stand, the last of comma and point is the
// decimal one; one that stands alone is it, too, and one that is repeated is not. It
// returns 0 for what is no number.
func number(s string) float64 {
	s = grouping.Replace(strings.TrimSpace(s))
	comma, point := strings.LastIndex(s, ","), strings.LastIndex(s, ".")
	switch {
	case comma > point && (point >= 0 || strings.Count(s, ",") == 1): // the comma is the decimal one
		s = strings.ReplaceAll(s, ".", "")
		s = strings.Replace(s, ",", ".", 1)
	case comma < 0 && strings.Count(s, ".") > 1:
		s = strings.ReplaceAll(s, ".", "")
	default:
		s = strings.ReplaceAll(s, ",", "")
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0
	}
	return f
}
