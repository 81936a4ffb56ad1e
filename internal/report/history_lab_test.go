// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/lab"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// all returns all entries that a query selects.
func all(t *testing.T, l *lab.Lab, q report.HistoryQuery) (list []report.HistoryEntry) {
	t.Helper()
	err := l.Engine.Reports.EachEntry(t.Context(), lab.Shop, q, func(e report.HistoryEntry) error {
		list = append(list, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func says(list []report.HistoryEntry) string {
	var b strings.Builder
	for _, e := range slices.Backward(list) {
		fmt.Fprintf(&b, "%s %s #%d by %s", e.Stage, e.Says(), e.BuildNumber, e.Actor)
		if e.FromNumber > 0 {
			fmt.Fprintf(&b, " from #%d", e.FromNumber)
		}
		fmt.Fprintf(&b, ": %s\n", e.Reason)
	}
	return b.String()
}

// The history of the shop has what people did, and nothing is hidden by what came later.
func TestHistory(t *testing.T) {
	l, err := lab.Open(t.Context(), lab.Options{Dir: t.TempDir(), Only: lab.Shop})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	reports := l.Engine.Reports

	both := says(all(t, l, report.HistoryQuery{Build: "#12", Kinds: []report.HistoryKind{report.HistoryDecision}}))
	if both != "exploratory approved #12 by ruth: \nexploratory rejected #12 by ben: approved too early: a card is charged twice\n" {
		t.Errorf("of build #12 it says\n%s", both)
	}
	production := all(t, l, report.HistoryQuery{Stage: "production", Kinds: []report.HistoryKind{report.HistoryDeployment}})
	text := says(production)
	if !strings.HasPrefix(text, "production deployed #1 by ci: \nproduction deployed #5 by ci from #1: \n") ||
		strings.Count(text, "rolled back") != 1 || !strings.Contains(text, "production rolled back #20 by ci from #29") {
		t.Errorf("production was at\n%s", text)
	}
	people := says(all(t, l, report.HistoryQuery{By: "OLGA"}))
	if !strings.Contains(people, "capacity overridden #20 by olga: the load machine was broken") || !strings.Contains(people, "capacity paused #0 by olga: the sale") {
		t.Errorf("olga did\n%s", people)
	}
	if launched := says(all(t, l, report.HistoryQuery{Kinds: []report.HistoryKind{report.HistoryEnvironment}, By: "grace"})); !strings.Contains(launched, "environment launched") {
		t.Errorf("grace did\n%s", launched)
	}

	list := all(t, l, report.HistoryQuery{})
	var paged []report.HistoryEntry
	for q := (report.HistoryQuery{Limit: 7}); ; {
		page, err := reports.History(t.Context(), lab.Shop, q)
		if err != nil {
			t.Fatal(err)
		}
		paged = append(paged, page.Entries...)
		if q.After = page.Next; q.After == 0 {
			break
		}
	}
	if len(list) < 200 || says(paged) != says(list) {
		t.Errorf("in pages there are %d entries, and %d together", len(paged), len(list))
	}
	for i, e := range list {
		if e.Hash == "" || e.Actor == "" || e.Action == "" || e.At.IsZero() || i > 0 && e.Sequence > list[i-1].Sequence {
			t.Errorf("an entry is %+v", e)
		}
	}
	middle := list[len(list)/2].RecordedAt
	after, before := all(t, l, report.HistoryQuery{Since: middle}), all(t, l, report.HistoryQuery{Until: middle})
	if len(after)+len(before) != len(list) || len(before) == 0 || before[0].RecordedAt.Before(middle) == false || after[len(after)-1].RecordedAt.Before(middle) {
		t.Errorf("%d entries since %s and %d before, of %d", len(after), middle.Format(time.RFC3339), len(before), len(list))
	}
	for _, wrong := range []struct {
		build string
		code  pipeline.Code
	}{{"#4711", pipeline.CodeNotFound}, {"head", pipeline.CodeInvalid}} {
		if _, err := reports.History(t.Context(), lab.Shop, report.HistoryQuery{Build: wrong.build}); pipeline.CodeOf(err) != wrong.code {
			t.Errorf("build %s: %v", wrong.build, err)
		}
	}
	if _, err := reports.History(t.Context(), "none", report.HistoryQuery{}); !pipeline.IsNotFound(err) {
		t.Errorf("a pipeline that does not exist: %v", err)
	}
}
