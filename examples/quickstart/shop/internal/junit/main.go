// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Command junit reads the output of go test -json, prints what people want to see of
// it (failed tests and a line per package), and writes it as JUnit XML. It fails when a test failed, a package did not build, or
// no test ran.
//
//	go test -json ./... | junit junit.xml
package main

import (
	"bufio"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

type event struct {
	Action      string
	Package     string
	Test        string
	ImportPath  string // of a build, in place of Package
	FailedBuild string // the ImportPath of the build that a package failed with
	Output      string
	Elapsed     float64 // seconds
}

type suites struct {
	XMLName  xml.Name `xml:"testsuites"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Suites   []*suite `xml:"testsuite"`

	byName map[string]*suite
}

type suite struct {
	Name     string   `xml:"name,attr"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Skipped  int      `xml:"skipped,attr"`
	Time     float64  `xml:"time,attr"`
	Cases    []result `xml:"testcase"`
}

type result struct {
	Class   string    `xml:"classname,attr"`
	Name    string    `xml:"name,attr"`
	Time    float64   `xml:"time,attr"`
	Failure *failure  `xml:"failure,omitempty"`
	Skipped *struct{} `xml:"skipped,omitempty"`
}

type failure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go test -json ./... | junit FILE")
		os.Exit(2)
	}
	if err := report(os.Stdin, os.Stdout, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "junit:", err)
		os.Exit(1)
	}
}

func report(in io.Reader, out io.Writer, file string) error {
	all, err := convert(in, out)
	if err != nil {
		return err
	}
	data, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, append([]byte(xml.Header), append(data, '\n')...), 0o644); err != nil {
		return err
	}
	switch {
	case all.Failures > 0:
		return fmt.Errorf("%d of %d tests failed", all.Failures, all.Tests)
	case all.Tests == 0:
		return errors.New("no test ran")
	}
	return nil
}

// convert collects the events of tests by package.
func convert(in io.Reader, out io.Writer) (*suites, error) {
	all := &suites{byName: map[string]*suite{}}
	output := map[string]string{} // by source
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(out, lines.Text()) // what go itself says between the events
			continue
		}
		switch e.Action {
		case "output", "build-output":
			output[e.source()] += e.Output
			if e.Test == "" {
				fmt.Fprint(out, e.Output)
			}
		case "fail":
			if e.Test != "" {
				fmt.Fprint(out, output[e.source()])
			}
			all.add(e, output[e.source()]+output[e.FailedBuild+" "])
		case "pass", "skip":
			all.add(e, "")
		}
	}
	return all, lines.Err()
}

// source names the test, package or build that an output comes from.
func (e event) source() string { return e.ImportPath + e.Package + " " + e.Test }

// add counts the end of a test, or of a package. A package that failed without a
// failed test counts as one failed test of its own.
func (all *suites) add(e event, output string) {
	s := all.byName[e.Package]
	if s == nil {
		if e.Test == "" && e.Action != "fail" {
			return // a package without tests
		}
		s = &suite{Name: e.Package}
		all.byName[e.Package] = s
		all.Suites = append(all.Suites, s)
	}
	c := result{Class: e.Package, Name: e.Test, Time: e.Elapsed}
	if e.Test == "" {
		s.Time = e.Elapsed
		if e.Action != "fail" || s.Failures > 0 {
			return
		}
		c.Name = "(package)"
	}
	s.Tests++
	all.Tests++
	switch e.Action {
	case "fail":
		s.Failures++
		all.Failures++
		c.Failure = &failure{Message: "failed", Text: printable(output)}
	case "skip":
		s.Skipped++
		c.Skipped = &struct{}{}
	}
	s.Cases = append(s.Cases, c)
}

// printable drops what XML can't hold.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, s)
}
