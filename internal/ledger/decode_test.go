// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Results are decoded in parts, and stand in the order of their events all the same.
func TestStateOfManyResults(t *testing.T) {
	const n = 3*statePartSize + 1
	var records []pipeline.Record
	for i := range n {
		doc := fmt.Appendf(nil, `{"id":"r-%d","status":"passed"}`, i)
		records = append(records, pipeline.Record{Key: pipeline.Key{Kind: pipeline.RecordResult, ID: fmt.Sprintf("s/b/d-%d", i)}, Version: int64(n - i), Doc: doc})
	}
	st, err := stateOf(records)
	if err != nil {
		t.Fatal(err)
	}
	if one, err := pipeline.NewState(records); err != nil || !reflect.DeepEqual(st, one) {
		t.Errorf("decoded in parts, the state is another (%v)", err)
	}
	got := st.Results["s/b"]
	for i, v := range got {
		if want := n - 1 - i; v.ID != fmt.Sprintf("r-%d", want) || v.Digest != fmt.Sprintf("d-%d", want) || v.Stage != "s" || v.Build != "b" {
			t.Fatalf("result %d is %+v", i, v)
		}
	}
	if len(got) != n {
		t.Errorf("there are %d results, want %d", len(got), n)
	}
	for name, r := range map[string]pipeline.Record{
		"document": {Key: pipeline.Key{Kind: pipeline.RecordResult, ID: "s/b/d"}, Version: 1, Doc: []byte(`{"id":1}`)},
		"key":      {Key: pipeline.Key{Kind: pipeline.RecordResult, ID: "s/b"}, Version: 1, Doc: []byte(`{"id":"r-1"}`)},
	} {
		for _, at := range []int{0, n - 1} {
			damaged := slices.Clone(records)
			damaged[at] = r
			if _, err := stateOf(damaged); pipeline.CodeOf(err) != pipeline.CodeCorrupt {
				t.Errorf("with a bad %s at %d: %v", name, at, err)
			}
		}
	}
}
