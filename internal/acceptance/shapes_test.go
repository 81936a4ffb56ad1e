// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package acceptance_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
)

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

// wantShapes compares answers of the test cloud with the recorded ones, and reports what is new.
// It depends on what there was at the instant of a request, so not each run answers alike: only
// much that is new means that the record is out of date. With PENSTOCK_UPDATE=1 what is new is
// added; two or three runs find nearly everything.
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
	all := 0
	for name, members := range shapesOf(records) {
		all += 1 + len(members)
		for _, path := range beyond(members, known[name]) {
			fresh = append(fresh, name+" "+path)
		}
		if _, had := known[name]; !had {
			fresh = append(fresh, name)
		}
		known[name] = join(known[name], members)
	}
	if slices.Sort(fresh); len(fresh) > 0 {
		t.Logf("of %d operations and members, these are not in %s:\n%s", all, shapesFile, strings.Join(fresh, "\n"))
	}
	if os.Getenv("PENSTOCK_UPDATE") == "" {
		if len(fresh) > all/20 {
			t.Errorf("%s is out of date; run this test with PENSTOCK_UPDATE=1 two or three times", shapesFile)
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
