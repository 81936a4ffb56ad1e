// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// A ledger has one ID, which another table has not.
func TestDynamoIdentity(t *testing.T) {
	t.Parallel()
	c, o := newTable(t)
	if id := openTable(t, as(c, o, none, none)).Identity(); id != "" {
		t.Errorf("nobody has written, and the ID is %q", id)
	}
	first := openTable(t, o).Identity()
	if again := openTable(t, as(c, o, none, none)).Identity(); first == "" || again != first {
		t.Errorf("the ID is %q, and then %q", first, again)
	}
	_, o = newTable(t)
	if other := openTable(t, o).Identity(); other == "" || other == first {
		t.Errorf("that of another table is %q, and of the first %q", other, first)
	}
}

// A look at leases sees that one was lost, by one request however many they are, and is
// allowed to whoever may read the record.
func TestDynamoCurrent(t *testing.T) {
	t.Parallel()
	c, o := newTable(t)
	d := openTable(t, o)
	var leases []pipeline.Lease
	var fences []pipeline.Fence
	for i := range 12 {
		l, err := d.Acquire(t.Context(), fmt.Sprintf("two.shop/stage/s%d", i), pipeline.Holder{Actor: "ada"}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		leases, fences = append(leases, l), append(fences, l.Fence())
	}
	fences = append(fences, fences[0])
	reader := openTable(t, as(c, o, none, none))
	c.ResetCalls()
	for n, fences := range map[int][]pipeline.Fence{0: nil, 1: fences[:1], 13: fences} {
		if err := reader.Current(t.Context(), fences...); err != nil {
			t.Errorf("%d leases that are held: %v", n, err)
		}
	}
	if n := len(c.Calls()); n != 2 {
		t.Errorf("three looks took %d requests: %v", n, c.Count())
	}
	if err := d.Release(t.Context(), leases[7]); err != nil {
		t.Fatal(err)
	}
	lost := func(what string, fences ...pipeline.Fence) {
		t.Helper()
		if err := reader.Current(t.Context(), fences...); pipeline.CodeOf(err) != pipeline.CodeLeaseLost {
			t.Errorf("%s: %v", what, err)
		}
	}
	lost("one was given up", fences...)
	lost("it was given up", fences[7])
	if _, err := d.Acquire(t.Context(), leases[7].Key, pipeline.Holder{Actor: "bob"}, time.Minute); err != nil {
		t.Fatal(err)
	}
	lost("another has it", fences[7])
	lost("nobody ever had one", fences[0], pipeline.Fence{Key: "two.shop/stage/none", Token: 1})
}
