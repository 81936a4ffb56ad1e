// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
)

func TestMigrateIsRepeatable(t *testing.T) {
	t.Parallel()
	s := stocked(t)
	before := files(t, s.Dir)
	if err := os.Remove(s.path("version")); err != nil { // as if killed before the last step
		t.Fatal(err)
	}
	for range 2 {
		if err := migrate(s, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	if after := files(t, s.Dir); !reflect.DeepEqual(before, after) {
		t.Errorf("the data changed from %v to %v", before, after)
	}
}

func TestMigrateAddsToOldData(t *testing.T) {
	t.Parallel()
	s := &Store{Dir: t.TempDir()}
	old := `{"id":"o-1","product":"mug","quantity":1,"total":1250,"gift":true}` + "\n"
	if err := os.WriteFile(s.path("orders"), []byte(old), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := migrate(s, io.Discard); err != nil {
		t.Fatal(err)
	}
	orders, err := readLines[record](s.path("orders"))
	if err != nil || len(orders) != 1 || orders[0]["currency"] != "EUR" || orders[0]["gift"] != true {
		t.Errorf("got %v, %v; want the order with its gift and a currency", orders, err)
	}
}

func TestMigrateLeavesNewerData(t *testing.T) {
	t.Parallel()
	s := stocked(t)
	if err := writeLines(s.path("version"), []int{99}); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := migrate(s, &out); err != nil || !strings.Contains(out.String(), "newer") {
		t.Errorf("got %q, %v", out.String(), err)
	}
	if at, err := s.dataVersion(); at != 99 || err != nil {
		t.Errorf("data is at version %d, %v; want 99", at, err)
	}
}

func TestSeedIsRepeatable(t *testing.T) {
	t.Parallel()
	s := &Store{Dir: t.TempDir()}
	for range 2 {
		if err := seed(s, "db/sample.jsonl", io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	if orders, err := s.Orders(); err != nil || len(orders) != 3 {
		t.Errorf("%d orders, %v; want 3", len(orders), err)
	}
}

func TestLoadMigrationsRefuses(t *testing.T) {
	t.Parallel()
	for name, dir := range map[string]fstest.MapFS{
		"none":     {},
		"a gap":    {"001-a.json": {Data: []byte("{}")}, "003-c.json": {Data: []byte("{}")}},
		"no name":  {"first.json": {Data: []byte("{}")}},
		"no JSON":  {"001-a.json": {Data: []byte("drop table")}},
		"not 001-": {"002-b.json": {Data: []byte("{}")}},
	} {
		if got, err := loadMigrations(dir); err == nil {
			t.Errorf("%s: got %v; want an error", name, got)
		}
	}
}

func TestChangeRefusesPaths(t *testing.T) {
	t.Parallel()
	s := &Store{Dir: t.TempDir()}
	if err := s.change(change{Collection: "../orders"}); err == nil {
		t.Error("a path was taken for the name of a collection")
	}
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	contents := map[string]string{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		contents[filepath.Base(path)] = string(data)
	}
	return contents
}
