// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func newFile(t *testing.T) *ledger.SQLite {
	t.Helper()
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"), ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// filled is a ledger with two pipelines and some history.
func filled(t *testing.T, events int) *ledger.SQLite {
	t.Helper()
	l := newFile(t)
	fill(t, l, events)
	return l
}

func fill(t *testing.T, l pipeline.Ledger, events int) {
	t.Helper()
	for _, name := range []string{"shop", "other"} {
		add := func(kind pipeline.EventKind, f pipeline.Facts) {
			t.Helper()
			if _, err := l.Append(t.Context(), pipeline.Batch{Pipeline: name, Events: []pipeline.Event{{Kind: kind, Actor: "ada <&>", Facts: f}}}); err != nil {
				t.Fatal(err)
			}
		}
		add(pipeline.PipelineDefined, pipeline.Facts{Pipeline: &pipeline.Pipeline{Name: name}})
		for i := range events {
			id := fmt.Sprintf("b-%d", i)
			add(pipeline.BuildOffered, pipeline.Facts{Build: &pipeline.Build{ID: id, Pipeline: name}})
			add(pipeline.BuildDecided, pipeline.Facts{Decision: &pipeline.Decision{Pipeline: name, Stage: "qa", Build: id, Result: pipeline.Approved}})
			add(pipeline.RunEnded, pipeline.Facts{Run: &pipeline.Run{ID: fmt.Sprintf("r-%04d", i), Stage: "commit", Kind: pipeline.KindStage, Build: id, Status: pipeline.RunPassed}})
		}
		add(pipeline.BuildCollected, pipeline.Facts{Gone: []pipeline.Key{{Kind: pipeline.RecordBuild, ID: "b-0"}}})
	}
}

func export(t *testing.T, l pipeline.Ledger) string {
	t.Helper()
	var out bytes.Buffer
	if err := ledger.Export(t.Context(), l, &out, "shop", "other"); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// What is exported, imported and exported again is the same, byte for byte, and so is
// the state; from either kind of ledger into the other.
func TestExportImport(t *testing.T) {
	t.Parallel()
	from := filled(t, 20)
	text := export(t, from)
	_, table := newTable(t)
	for name, to := range map[string]pipeline.Ledger{"file": newFile(t), "table": openTable(t, table)} {
		done, err := ledger.Import(t.Context(), to, strings.NewReader(text))
		if err != nil || len(done) != 2 || done[0] != (ledger.Imported{Pipeline: "shop", Events: 62}) {
			t.Fatalf("%s: imported %+v, %v", name, done, err)
		}
		if again := export(t, to); again != text {
			t.Errorf("%s: the export of the import is another", name)
		}
		for _, pipelineName := range []string{"shop", "other"} {
			if n, err := to.Verify(t.Context(), pipelineName); err != nil || n != 62 {
				t.Errorf("%s: verified %d events of %s, %v", name, n, pipelineName, err)
			}
		}
		a, err := from.State(t.Context(), "shop")
		if err != nil {
			t.Fatal(err)
		}
		b, err := to.State(t.Context(), "shop")
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(a.Keys()) != fmt.Sprint(b.Keys()) || len(b.Decisions) != 20 || len(b.Builds) != 19 {
			t.Errorf("%s: the states differ", name)
		}
		// Again it changes nothing.
		done, err = ledger.Import(t.Context(), to, strings.NewReader(text))
		if err != nil || done[0].Had != 62 {
			t.Errorf("%s: imported again %+v, %v", name, done, err)
		}
	}
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	text := export(t, filled(t, 3))
	lines := strings.SplitAfter(text, "\n")
	for name, tt := range map[string]struct {
		text string
		code pipeline.Code
		into func() pipeline.Ledger
	}{
		"no export":       {"{\"resources\": []}", pipeline.CodeInvalid, nil},
		"no JSON":         {"hello", pipeline.CodeInvalid, nil},
		"another version": {strings.Replace(text, `"penstock_ledger":2`, `"penstock_ledger":1`, 1), pipeline.CodeInvalid, nil},
		"a changed event": {strings.Replace(text, `"result":"approved"`, `"result":"rejected"`, 1), pipeline.CodeCorrupt, nil},
		"a missing event": {strings.Join(append(append([]string{}, lines[:3]...), lines[4:]...), ""), pipeline.CodeCorrupt, nil},
		"a cut file":      {text[:len(text)/4], pipeline.CodeCorrupt, nil},
		"another history": {text, pipeline.CodeConflict, func() pipeline.Ledger { return filled(t, 2) }},
		"a longer history": {text, pipeline.CodeConflict, func() pipeline.Ledger {
			l := newFile(t)
			if _, err := ledger.Import(t.Context(), l, strings.NewReader(text)); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{build("b-more")}}); err != nil {
				t.Fatal(err)
			}
			return l
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l := pipeline.Ledger(newFile(t))
			if tt.into != nil {
				l = tt.into()
			}
			if _, err := ledger.Import(t.Context(), l, strings.NewReader(tt.text)); pipeline.CodeOf(err) != tt.code {
				t.Errorf("error %v has code %q, want %q", err, pipeline.CodeOf(err), tt.code)
			}
		})
	}
}

// An import that was killed is repeated, and goes on.
func TestImportGoesOn(t *testing.T) {
	t.Parallel()
	text := export(t, filled(t, 30))
	l := newFile(t)
	if _, err := ledger.Import(t.Context(), &dying{l, 3}, strings.NewReader(text)); err == nil {
		t.Fatal("it was not interrupted")
	}
	done, err := ledger.Import(t.Context(), l, strings.NewReader(text))
	if err != nil || done[0].Had == 0 || done[0].Had == done[0].Events {
		t.Errorf("imported %+v, %v", done, err)
	}
	if export(t, l) != text {
		t.Error("it is not what was exported")
	}
}

// dying takes some appends and no more.
type dying struct {
	pipeline.Ledger
	left int
}

func (d *dying) Append(ctx context.Context, b pipeline.Batch) ([]pipeline.Event, error) {
	if d.left--; d.left < 0 {
		return nil, context.Canceled
	}
	return d.Ledger.Append(ctx, b)
}
