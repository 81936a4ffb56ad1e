// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// FuzzRows decodes rows that anybody may have written: the result is an error or a value that
// can be used, never a panic.
func FuzzRows(f *testing.F) {
	build := pipeline.Event{Pipeline: "shop", Kind: pipeline.BuildOffered, Facts: pipeline.Facts{Build: &pipeline.Build{ID: "b-1"}}}
	body, err := seal(&build, pipeline.Event{}, time.Unix(1, 0), false)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("build", "b-1", []byte(`{"id":"b-1"}`), int64(1), body)
	f.Add("run", "r-1", []byte(`{"id":"r-1"}`), int64(1), []byte(`{"seq":1,"facts":{"run":{"id":"r-1"}}}`))
	f.Add("result", "", []byte(`{"stage":null}`), int64(-1), []byte(`{"facts":{"gone":[{"kind":"build"}]}}`))
	f.Add("stage", "commit", []byte(`{"after":["commit"]}`), int64(0), []byte(`null`))
	f.Add("unknown", "\xff", []byte(`[]`), int64(1)<<62, []byte(`{"time":"x"}`))
	l := &sqliteLeaser{&database{path: "ledger.db"}}
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

// FuzzImport imports what anybody may have written: it is refused with a reason, or is
// history that verifies, and that an import of its export repeats.
func FuzzImport(f *testing.F) {
	from := open(f, filepath.Join(f.TempDir(), "ledger.db"), Options{})
	for _, facts := range []pipeline.Facts{
		{Pipeline: &pipeline.Pipeline{Name: "shop"}},
		{Build: &pipeline.Build{ID: "b-1", Pipeline: "shop"}},
		{Run: &pipeline.Run{ID: "r-1", Stage: "commit", Build: "b-1", Status: pipeline.RunPassed}},
		{Gone: []pipeline.Key{{Kind: pipeline.RecordBuild, ID: "b-1"}}},
	} {
		appendOne(f, from, facts)
	}
	var out bytes.Buffer
	if err := Export(f.Context(), from, &out, "shop"); err != nil {
		f.Fatal(err)
	}
	text := out.String()
	lines := strings.SplitAfter(text, "\n")
	f.Add([]byte(text))
	f.Add([]byte(text[:len(text)/2]))
	f.Add([]byte(strings.Join(append(lines[:2:2], lines[3:]...), "")))
	f.Add([]byte(text + text))
	f.Add([]byte(strings.Replace(text, `"b-1"`, `"b-2"`, 1)))
	f.Add([]byte(strings.Replace(text, `"events":4`, `"events":9223372036854775807`, 1)))
	f.Add([]byte(strings.Replace(text, `"events":4`, `"events":-1`, 1)))
	f.Add([]byte(`{"penstock_ledger":1,"pipeline":"shop","events":0,"hash":""}`))
	f.Add([]byte(`{"penstock_ledger":2,"pipeline":"shop"}`))
	f.Add([]byte("[]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := open(t, filepath.Join(t.TempDir(), "ledger.db"), Options{})
		_, err := Import(t.Context(), l, bytes.NewReader(data))
		switch code := pipeline.CodeOf(err); {
		case err != nil && code != pipeline.CodeInvalid && code != pipeline.CodeCorrupt && code != pipeline.CodeConflict:
			t.Errorf("the error has code %s: %v", code, err)
		case err != nil && strings.TrimSpace(err.Error()) == "":
			t.Error("the error says nothing")
		}
		if _, err := l.Verify(t.Context(), ""); err != nil {
			t.Errorf("what was imported does not verify: %v", err)
		}
		names, err := l.Pipelines(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			var again bytes.Buffer
			if err := Export(t.Context(), l, &again, name); err != nil {
				t.Fatalf("export of %q: %v", name, err)
			}
			if _, err := Import(t.Context(), open(t, filepath.Join(t.TempDir(), "ledger.db"), Options{}), &again); err != nil {
				t.Errorf("import of the export: %v", err)
			}
		}
	})
}
