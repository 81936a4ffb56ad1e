// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"bufio"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Bounds of a report. The largest that test runners write are a few megabytes,
// and nest three deep.
const (
	maxReport    = 64 << 20
	maxDepth     = 100
	maxFailures  = 20
	maxMessage   = 1000 // bytes
	maxTestName  = 300
	maxTestTime  = 30 * 24 * time.Hour
	reportSyntax = "is no JUnit report"
)

// readJUnit adds the tests of a JUnit report of at most size bytes to the counts. There is no standard;
// it takes what the runners agree on: <testcase> elements below <testsuite> or
// <testsuites>, nested as they may be, each with at most one outcome among
// <failure>, <error> and <skipped>. Go's decoder expands no entities but XML's own.
func readJUnit(in io.Reader, size int64, counts *pipeline.TestCounts) error {
	limited := &io.LimitedReader{R: in, N: size + 1}
	d := xml.NewDecoder(bufio.NewReader(limited))
	d.CharsetReader = latin
	p := junitParser{counts: counts}
	for {
		token, err := d.Token()
		switch {
		case limited.N <= 0:
			return fmt.Errorf("is larger than %d bytes", size)
		case errors.Is(err, io.EOF) && p.root:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New(reportSyntax + ": it holds no XML element")
		case err != nil:
			return fmt.Errorf(reportSyntax+": %w", err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			err = p.open(t)
		case xml.EndElement:
			p.close()
		case xml.CharData:
			p.text(t)
		}
		if err != nil {
			return err
		}
	}
}

type junitParser struct {
	counts *pipeline.TestCounts
	root   bool
	depth  int
	test   *junitTest // the one that is open
}

type junitTest struct {
	depth   int
	name    string
	failed  bool
	skipped bool
	verdict int // depth of the failure or error whose text is wanted; 0 for none
	message string
}

func (p *junitParser) open(e xml.StartElement) error {
	p.depth++
	name := e.Name.Local
	switch {
	case p.depth > maxDepth:
		return fmt.Errorf(reportSyntax+": elements nest deeper than %d", maxDepth)
	case !p.root && name != "testsuites" && name != "testsuite":
		return fmt.Errorf(reportSyntax+": its root is <%s>", shorten(name, 40))
	case p.test == nil && name == "testcase":
		p.test = &junitTest{depth: p.depth, name: testName(e)}
		p.counts.Total++
		p.counts.Duration = min(p.counts.Duration+testTime(attribute(e, "time")), math.MaxInt64-maxTestTime)
	case p.test == nil || p.depth != p.test.depth+1:
	case name == "failure" || name == "error":
		if !p.test.failed {
			p.test.failed, p.test.message = true, strings.TrimSpace(attribute(e, "message"))
			if p.test.message == "" {
				p.test.verdict = p.depth
			}
		}
	case name == "skipped":
		p.test.skipped = true
	}
	p.root = true
	return nil
}

func (p *junitParser) text(t xml.CharData) {
	if p.test != nil && p.test.verdict != 0 && len(p.test.message) <= maxMessage {
		p.test.message += string(t[:min(len(t), maxMessage+1)])
	}
}

func (p *junitParser) close() {
	t := p.test
	if t != nil && p.depth == t.verdict {
		t.verdict = 0
	}
	if t != nil && p.depth == t.depth {
		p.test = nil
		switch {
		case t.failed:
			p.counts.Failed++
			if len(p.counts.Failures) < maxFailures {
				message := string(printableText(strings.TrimSpace(t.message)))
				p.counts.Failures = append(p.counts.Failures, pipeline.TestFailure{Name: t.name, Message: shorten(message, maxMessage)})
			}
		case t.skipped:
			p.counts.Skipped++
		}
	}
	p.depth--
}

// printableText is printable for a text of several lines.
func printableText(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = string(printable([]byte(strings.TrimRight(line, "\r"))))
	}
	return strings.Join(lines, "\n")
}

func testName(e xml.StartElement) string {
	name, class := attribute(e, "name"), attribute(e, "classname")
	if name == "" {
		name = "(no name)"
	}
	if class != "" && !strings.HasPrefix(name, class) {
		name = class + "." + name
	}
	return shorten(printableText(name), maxTestName)
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// testTime reads seconds, which some runners write as "1,234.5". What makes no
// sense counts nothing.
func testTime(s string) time.Duration {
	seconds, err := strconv.ParseFloat(strings.ReplaceAll(s, ",", ""), 64)
	if err != nil || !(seconds >= 0 && seconds <= maxTestTime.Seconds()) {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

// latin reads the encodings of older runners, which all agree with Latin-1 on
// what matters in a report.
func latin(charset string, in io.Reader) (io.Reader, error) {
	switch strings.ToLower(charset) {
	case "us-ascii", "ascii", "iso-8859-1", "latin1", "iso-8859-15", "windows-1252":
		return &latinReader{in: bufio.NewReader(in)}, nil
	}
	return nil, fmt.Errorf("encoding %q is not known; write the report in UTF-8", shorten(charset, 40))
}

type latinReader struct {
	in   *bufio.Reader
	rest []byte // of a character that did not fit
}

func (l *latinReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(l.rest) == 0 {
			b, err := l.in.ReadByte()
			if err != nil {
				if n > 0 {
					return n, nil
				}
				return 0, err
			}
			l.rest = []byte(string(rune(b)))
		}
		m := copy(p[n:], l.rest)
		n, l.rest = n+m, l.rest[m:]
	}
	return n, nil
}
