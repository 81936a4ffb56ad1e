// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"io"
	"os"
	"sync"
	"testing"
)

// stocked returns a store with the data of all migrations.
func stocked(t *testing.T) *Store {
	t.Helper()
	s := &Store{Dir: t.TempDir()}
	if err := migrate(s, io.Discard); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPlaceFromSeveralInstances(t *testing.T) {
	t.Parallel()
	dir := stocked(t).Dir
	const instances, each = 4, 25
	var wg sync.WaitGroup
	for range instances {
		wg.Add(1)
		go func() {
			defer wg.Done()
			s := &Store{Dir: dir}
			for range each {
				if _, err := s.Place("mug", 1, "EUR"); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	orders, err := (&Store{Dir: dir}).Orders()
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, o := range orders {
		ids[o.ID] = true
	}
	if len(orders) != instances*each || len(ids) != len(orders) {
		t.Errorf("%d orders with %d IDs are there; want %d", len(orders), len(ids), instances*each)
	}
}

func TestPlaceAfterHalfALine(t *testing.T) {
	t.Parallel()
	s := stocked(t)
	first, err := s.Place("mug", 2, "EUR")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(s.path("orders"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"id":"o-half","prod`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if orders, err := s.Orders(); err != nil || len(orders) != 1 {
		t.Fatalf("with half a line: %d orders, %v; want 1", len(orders), err)
	}
	second, err := s.Place("stickers", 1, "EUR")
	if err != nil {
		t.Fatal(err)
	}
	orders, err := s.Orders()
	if err != nil || len(orders) != 2 || orders[0] != first || orders[1] != second {
		t.Errorf("got %v, %v; want %v and %v", orders, err, first, second)
	}
	if first.Total != 2500 {
		t.Errorf("two mugs cost %d; want 2500", first.Total)
	}
}

func TestPlaceUnknownProduct(t *testing.T) {
	t.Parallel()
	if _, err := stocked(t).Place("moon", 1, "EUR"); !errors.Is(err, errNotFound) {
		t.Errorf("got %v; want errNotFound", err)
	}
}
