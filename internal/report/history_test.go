// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"encoding/csv"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// A kind of event has entries in the history, or is silent for a reason.
func TestHistoryKinds(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../pipeline/event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Type == nil || spec.Type.(*ast.Ident).Name != "EventKind" {
			return true
		}
		text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		found++
		kind := pipeline.EventKind(text)
		_, tells := tellers[kind]
		if why := silent[kind]; tells == (why != "") {
			t.Errorf("events of kind %s: give the history a teller, or a reason to be silent", kind)
		}
		return true
	})
	if found < 20 || found != len(tellers)+len(silent) {
		t.Errorf("%d kinds of events, %d that tell and %d that don't", found, len(tellers), len(silent))
	}
}

// No text is a formula for a spreadsheet, or breaks a line.
func TestHistoryCSV(t *testing.T) {
	var b strings.Builder
	out, err := NewHistoryCSV(&b)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`=HYPERLINK("http://evil")`, "+1", "-1+1", "@SUM(A1)", "\t=1", "a\n=b", `say "no", please`} {
		if err := out.Write(HistoryEntry{Sequence: 7, Actor: text, Reason: text, Message: text}); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(b.String())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 8 || rows[0][0] != "sequence" || rows[7][4] != `say "no", please` {
		t.Errorf("the rows are %q", rows)
	}
	for _, row := range rows {
		for _, cell := range row {
			if start := strings.TrimSpace(cell); start != "" && strings.ContainsAny(start[:1], "=+-@") || strings.ContainsAny(cell, "\n\r\t") {
				t.Errorf("a cell is %q", cell)
			}
		}
	}
}

// What a definition changed is named by its arguments; what came of it is no change.
func TestChangedFields(t *testing.T) {
	was := pipeline.Stage{Name: "commit", Type: pipeline.TypeCommit, Source: &pipeline.SourceRef{Repository: "r", Commit: "1"}}
	now := was
	now.Source, now.Applied, now.ID = &pipeline.SourceRef{Repository: "r", Commit: "2", Digest: "d"}, true, "s-1"
	if names := changedFields(was, now); len(names) > 0 {
		t.Errorf("another commit changes %q", names)
	}
	now.Approval, now.Source.Repository = true, "other"
	now.Env = &pipeline.EnvironmentSpec{Instances: 2}
	if names := strings.Join(changedFields(was, now), " "); !strings.Contains(names, "approval") || !strings.Contains(names, "source.repository") || !strings.Contains(names, "environment.instances") {
		t.Errorf("it changes %q", names)
	}
}
