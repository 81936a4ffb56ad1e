// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package acceptance_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
)

// report writes how long each step took, what was asked of AWS, and how its answers differ
// from those of the test cloud: also when the route has failed.
func report(t *testing.T, s *site) {
	t.Helper()
	here, err := readShapes()
	if err != nil {
		t.Error(err)
	}
	records, err := readRecords(s.log)
	if err != nil && !os.IsNotExist(err) {
		t.Error(err)
	}
	text := summary(s.account, s.took, &s.meter, records, here)
	t.Log(text)
	if path := os.Getenv(reportVariable); path != "" {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// count is what there is to say of an operation.
type count struct {
	requests, again  int
	seconds, longest float64
	errors           map[string]int
}

// summary is the text of the report.
func summary(a *account, took []stepTime, m *meter, records []cloud.Record, here shapes) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%sAt a time: %s\n\n", a.describe(), m)
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "STEP\tTOOK")
	for _, s := range took {
		fmt.Fprintf(table, "%s\t%s\n", s.name, s.took.Round(time.Second))
	}
	by := map[string]*count{}
	for _, r := range records {
		c := by[r.Service+"."+r.Operation]
		if c == nil {
			c = &count{errors: map[string]int{}}
			by[r.Service+"."+r.Operation] = c
		}
		c.requests++
		c.again += max(0, r.Attempts-1)
		c.seconds += r.Seconds
		c.longest = max(c.longest, r.Seconds)
		if r.Error != "" {
			c.errors[r.Error]++
		}
	}
	fmt.Fprintln(table, "\nOPERATION\tREQUESTS\tREPEATED\tWAITED\tLONGEST\tERRORS")
	for _, name := range slices.Sorted(maps.Keys(by)) {
		c := by[name]
		var codes []string
		for _, code := range slices.Sorted(maps.Keys(c.errors)) {
			codes = append(codes, fmt.Sprintf("%s %d", code, c.errors[code]))
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%.1fs\t%.1fs\t%s\n", name, c.requests, c.again, c.seconds, c.longest, strings.Join(codes, ", "))
	}
	_ = table.Flush() // into memory
	lines := differences(shapesOf(records), here)
	fmt.Fprintf(&text, "\nDIFFERENCES FROM THE TEST CLOUD: %d\n", len(lines))
	for _, line := range lines {
		fmt.Fprintln(&text, line)
	}
	return text.String()
}

// TestSummary: a report has each step, each operation and each difference.
func TestSummary(t *testing.T) {
	m := &meter{}
	m.saw(2, 1, 30*time.Minute)
	a := &account{id: "123456789012", alias: "acme", caller: "arn:aws:iam::123456789012:user/ada", stack: defaultStack, region: "eu-west-1", second: "us-east-1"}
	records := []cloud.Record{
		{Service: "EC2", Operation: "RunInstances", Attempts: 3, Seconds: 4, Members: []string{"Odd"}},
		{Service: "EC2", Operation: "RunInstances", Attempts: 1, Seconds: 1, Error: "Unsupported"},
	}
	got := summary(a, []stepTime{{"bootstrap", 61 * time.Second}, {"  penstock_stage.commit", 5 * time.Second}}, m, records, shapes{"EC2.RunInstances": {}})
	for _, want := range []string{
		"123456789012 (acme)", "2 instances", "1 load balancer", "bootstrap", "1m1s", "  penstock_stage.commit", "5s",
		"Unsupported 1", "4.0s", "DIFFERENCES FROM THE TEST CLOUD: 1", "EC2.RunInstances: only AWS answered Odd",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the report lacks %q:\n%s", want, got)
		}
	}
	if !strings.Contains(got, "2         2         5.0s") {
		t.Errorf("the report counts wrong:\n%s", got)
	}
}
