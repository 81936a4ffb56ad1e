// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// FuzzRows decodes rows that anybody may have written: they give an error or a
// value that can be used, never a panic.
func FuzzRows(f *testing.F) {
	build := pipeline.Event{Pipeline: "shop", Kind: pipeline.BuildOffered, Facts: pipeline.Facts{Build: &pipeline.Build{ID: "b-1"}}}
	body, err := seal(&build, pipeline.Event{}, time.Unix(1, 0), false)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("build", "b-1", []byte(`{"id":"b-1"}`), int64(1), body)
	f.Add("run", "r-1", []byte(`{"id":"r-1"}`), int64(1), []byte(`{"seq":1,"facts":{"run":{"id":"r-1"}}}`))
	f.Add("verdict", "", []byte(`{"stage":null}`), int64(-1), []byte(`{"facts":{"gone":[{"kind":"build"}]}}`))
	f.Add("stage", "commit", []byte(`{"after":["commit"]}`), int64(0), []byte(`null`))
	f.Add("unknown", "\xff", []byte(`[]`), int64(1)<<62, []byte(`{"time":"x"}`))
	l := &SQLite{path: "ledger.db"}
	f.Fuzz(func(t *testing.T, kind, id string, doc []byte, version int64, body []byte) {
		record := pipeline.Record{Key: pipeline.Key{Kind: pipeline.RecordKind(kind), ID: id}, Version: version, Doc: doc}
		st, err := pipeline.NewState([]pipeline.Record{record, {Key: pipeline.Key{Kind: "build", ID: "b"}, Doc: json.RawMessage(`{}`)}})
		if err != nil && pipeline.CodeOf(err) != pipeline.CodeCorrupt {
			t.Errorf("NewState gives %v", err)
		}
		if err == nil {
			_, _, _ = st.StagesInOrder(), st.BuildsNewestFirst(), st.Keys()
		}
		viewRow{Record: record}.writtenBy(body)

		var h pipeline.Holder
		if err := l.decodeHolder("key", doc, &h); err != nil && pipeline.CodeOf(err) != pipeline.CodeCorrupt {
			t.Errorf("decodeHolder gives %v", err)
		}
		e, err := l.decodeEvent("read", version, id, body)
		if err != nil {
			if pipeline.CodeOf(err) != pipeline.CodeCorrupt {
				t.Errorf("decodeEvent gives %v", err)
			}
			return
		}
		if _, err := e.Records(); err != nil {
			t.Errorf("an event that was decoded can't be encoded: %v", err)
		}
		// What was read can be sealed again, and then stays as it is.
		body, err = seal(&e, pipeline.Event{}, time.Unix(1, 0), false)
		if err != nil {
			t.Fatal(err)
		}
		again, err := l.decodeEvent("read", e.Seq, e.Hash, body)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Check(1, ""); err != nil {
			t.Errorf("%v:\n%s", err, body)
		}
	})
}
