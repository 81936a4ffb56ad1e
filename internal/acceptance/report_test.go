// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package acceptance_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
)

// limit bounds the route on an account. What is left then is swept.
const limit = 4 * time.Hour

// What an hour costs on AWS, in US dollars: list prices of us-east-1, about, of November
// 2026. Those of other regions are up to half as much again.
const (
	priceInstance = 0.0168 // t4g.small
	priceAddress  = 0.005  // public, IPv4
	priceBalancer = 0.0225 // Application Load Balancer
	priceUnit     = 0.008  // a capacity unit of one
	priceVolume   = 8 * 0.08 / 730
	priceRest     = 0.50 // of the whole: snapshots, requests, transfer, logs

	most          = 6 // instances at a time, at most
	mostBalancers = 3
	dearest       = 1.5
)

// ceiling returns what the route may cost at most, in US dollars: as if everything were
// there until the time is up.
func ceiling() float64 {
	instance := priceInstance + priceAddress + priceVolume
	balancer := priceBalancer + priceUnit + 2*priceAddress
	return dearest * (limit.Hours()*(most*instance+mostBalancers*balancer) + priceRest)
}

// allowed asks on the terminal whether the route may be taken, and what it costs.
func allowed(ctx context.Context, a *account) error {
	text := fmt.Sprintf("The route uses account %s in %s and %s, with everything in stack %s, for %s at most.\nIt costs US$ %.2f at most, at approximate list prices of November 2026.\n",
		a.id, a.region, a.second, a.stack, limit, ceiling())
	if os.Getenv(yesVariable) == "1" {
		fmt.Fprint(os.Stderr, text)
		return ctx.Err()
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("%sno terminal to ask on: set %s=1 to go on without a question", text, yesVariable)
	}
	defer tty.Close()
	return ask(tty, text)
}

// ask asks whether to go on.
func ask(at io.ReadWriter, text string) error {
	fmt.Fprintf(at, "%sGo on? Only \"yes\" is a yes: ", text)
	line, err := bufio.NewReader(at).ReadString('\n')
	if strings.TrimSpace(line) != "yes" {
		return fmt.Errorf("you said no (%v): nothing was made", err)
	}
	return nil
}

// TestAsk asks, and gets answers.
func TestAsk(t *testing.T) {
	for said, want := range map[string]bool{"yes\n": true, " yes \n": true, "y\n": false, "no\n": false, "\n": false, "": false} {
		var asked strings.Builder
		at := struct {
			io.Reader
			io.Writer
		}{strings.NewReader(said), &asked}
		if err := ask(at, "It costs."); (err == nil) != want || !strings.HasPrefix(asked.String(), "It costs.") {
			t.Errorf("%q: %v, after %q", said, err, asked.String())
		}
	}
}

// shapesFile has the shapes of the test cloud's answers on the route.
const shapesFile = "testdata/shapes.json"

// shapes are the paths of members that answers have, by operation: "EC2.RunInstances".
type shapes map[string][]string

// shapesOf joins the shapes of what was answered without an error.
func shapesOf(records []cloud.Record) shapes {
	all := shapes{}
	for _, r := range records {
		if name := r.Service + "." + r.Operation; r.Error == "" {
			all[name] = join(all[name], r.Members)
		}
	}
	return all
}

// join returns what is in one of two lists, sorted.
func join(a, b []string) []string {
	all := slices.Concat([]string{}, a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// beyond returns what is in a and not in b.
func beyond(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(path string) bool { return slices.Contains(b, path) })
}

func readShapes() (all shapes, err error) {
	text, err := os.ReadFile(shapesFile)
	if err != nil {
		return nil, err
	}
	return all, json.Unmarshal(text, &all)
}

// differences returns what one has answered and the other has not, a line each.
func differences(on, here shapes) (lines []string) {
	for _, name := range slices.Sorted(maps.Keys(on)) {
		members, known := here[name]
		if !known {
			lines = append(lines, name+": the test cloud was never asked for it on this route")
			continue
		}
		for _, path := range beyond(on[name], members) {
			lines = append(lines, name+": only AWS answered "+path)
		}
		for _, path := range beyond(members, on[name]) {
			lines = append(lines, name+": only the test cloud answered "+path)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(here)) {
		if _, asked := on[name]; !asked {
			lines = append(lines, name+": AWS was never asked for it on this route")
		}
	}
	return lines
}

// TestDifferences compares shapes that differ in every way.
func TestDifferences(t *testing.T) {
	on := shapesOf([]cloud.Record{
		{Service: "EC2", Operation: "RunInstances", Members: []string{"A", "B"}},
		{Service: "EC2", Operation: "RunInstances", Members: []string{"C", "B"}},
		{Service: "SSM", Operation: "GetParameter", Members: []string{"P"}},
		{Service: "SSM", Operation: "PutParameter", Error: "Refused"},
	})
	here := shapes{"EC2.RunInstances": {"B", "C", "D"}, "S3.GetObject": {"Body"}}
	want := []string{
		"EC2.RunInstances: only AWS answered A", "EC2.RunInstances: only the test cloud answered D",
		"SSM.GetParameter: the test cloud was never asked for it on this route", "S3.GetObject: AWS was never asked for it on this route",
	}
	if got := differences(on, here); !slices.Equal(got, want) {
		t.Errorf("the differences are\n%s", strings.Join(got, "\n"))
	}
	if got := differences(here, here); len(got) > 0 {
		t.Errorf("what is alike differs: %v", got)
	}
}

// wantShapes compares answers of the test cloud with the recorded ones. Those depend on
// what there was at the instant of a request, so not each run has all of them. With
// PENSTOCK_UPDATE=1 what is new is added.
func wantShapes(t *testing.T, records []cloud.Record) {
	t.Helper()
	known, err := readShapes()
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if known == nil {
		known = shapes{}
	}
	var fresh []string
	for name, members := range shapesOf(records) {
		for _, path := range beyond(members, known[name]) {
			fresh = append(fresh, name+" "+path)
		}
		if _, had := known[name]; !had {
			fresh = append(fresh, name)
		}
		known[name] = join(known[name], members)
	}
	if os.Getenv("PENSTOCK_UPDATE") == "" {
		if slices.Sort(fresh); len(fresh) > 0 {
			t.Errorf("the test cloud answers what is not in %s; run this test with PENSTOCK_UPDATE=1:\n%s", shapesFile, strings.Join(fresh, "\n"))
		}
		return
	}
	text, err := json.MarshalIndent(known, "", " ")
	if err == nil {
		err = os.WriteFile(shapesFile, append(text, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// report writes how long each step took, what was asked of AWS, and how its answers differ
// from those of the test cloud.
func report(t *testing.T, s *site) {
	t.Helper()
	here, err := readShapes()
	if err != nil {
		t.Fatal(err)
	}
	text := summary(s.took, s.records(), here)
	t.Log(text)
	if path := os.Getenv(reportVariable); path != "" {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// summary is the text of the report.
func summary(took []stepTime, records []cloud.Record, here shapes) string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "STEP\tTOOK")
	for _, s := range took {
		fmt.Fprintf(table, "%s\t%s\n", s.name, s.took.Round(time.Second))
	}
	type count struct {
		requests, again int
		seconds         float64
		errors          map[string]int
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
		if r.Error != "" {
			c.errors[r.Error]++
		}
	}
	fmt.Fprintln(table, "\nOPERATION\tREQUESTS\tREPEATED\tWAITED\tERRORS")
	for _, name := range slices.Sorted(maps.Keys(by)) {
		c := by[name]
		var codes []string
		for _, code := range slices.Sorted(maps.Keys(c.errors)) {
			codes = append(codes, fmt.Sprintf("%s %d", code, c.errors[code]))
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%.1fs\t%s\n", name, c.requests, c.again, c.seconds, strings.Join(codes, ", "))
	}
	_ = table.Flush() // into memory
	lines := differences(shapesOf(records), here)
	fmt.Fprintf(&text, "\nDIFFERENCES FROM THE TEST CLOUD: %d\n", len(lines))
	for _, line := range lines {
		fmt.Fprintln(&text, line)
	}
	return text.String()
}
