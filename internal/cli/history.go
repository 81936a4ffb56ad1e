// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

type historyOptions struct {
	*factory
	target
	query        report.HistoryQuery
	since, until string
	kinds        []string
	csv          bool
	all          bool // no limit was given
}

func newHistory(f *factory, runF func(context.Context, *historyOptions) error) *cobra.Command {
	o := &historyOptions{factory: f}
	if runF == nil {
		runF = runHistory
	}
	c := &cobra.Command{
		Use:   "history [PIPELINE]",
		Short: "List what happened in a pipeline, the newest first",
		Long: "List what happened in a pipeline, the newest first: deployments, decisions, promotions, overrides, pauses, runs,\n" +
			"builds, environments, images and definitions. What happened later hides nothing. PIPELINE may be left out if\n" +
			"there is only one.\n\n" +
			"With --csv, print all that the filters select, for a spreadsheet, unless --limit says how many.",
		Args: args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline, o.all = arg(given, 0), !c.Flags().Changed("limit")
			return runF(c.Context(), o)
		},
	}
	c.Flags().StringVar(&o.query.Stage, "stage", "", "only what concerns this stage (image/NAME for an image)")
	c.Flags().StringVar(&o.query.Build, "build", "", "only what concerns this build, by its ID or number")
	c.Flags().StringVar(&o.query.By, "by", "", "only what people did whose names contain this")
	c.Flags().StringSliceVar(&o.kinds, "kind", nil, "only entries of these kinds: "+strings.Join(historyKinds(), ", "))
	c.Flags().StringVar(&o.since, "since", "", "only what was recorded since then: 7d, 12h, 2026-11-29 or 2026-11-29T10:00:00Z")
	c.Flags().StringVar(&o.until, "until", "", "only what was recorded before that")
	c.Flags().IntVar(&o.query.Limit, "limit", 50, "the largest number to list")
	c.Flags().Int64Var(&o.query.After, "after", 0, "continue after this sequence number, the last one of the previous list")
	c.Flags().BoolVar(&o.csv, "csv", false, "print CSV")
	return c
}

// historyKinds are the kinds of entries, in words.
func historyKinds() (all []string) {
	for _, k := range report.HistoryKinds {
		all = append(all, string(k))
	}
	return all
}

// read reads the flags.
func (o *historyOptions) read() (err error) {
	const op = "show history"
	switch {
	case o.csv && o.json:
		return &usageError{fmt.Errorf("--csv and --json exclude each other")}
	case o.query.Limit < 1:
		return pipeline.Errorf(pipeline.CodeInvalid, op, "--limit %d is not positive", o.query.Limit).WithHint("Use a number from 1.")
	case o.query.After < 0:
		return pipeline.Errorf(pipeline.CodeInvalid, op, "--after %d is no sequence number", o.query.After).WithHint("Use the one that the previous list ends with.")
	}
	for _, k := range o.kinds {
		if !slices.Contains(report.HistoryKinds, report.HistoryKind(k)) {
			return pipeline.Errorf(pipeline.CodeInvalid, op, "--kind %q is not a kind", k).WithHint("Use %s.", strings.Join(historyKinds(), ", "))
		}
		o.query.Kinds = append(o.query.Kinds, report.HistoryKind(k))
	}
	if o.query.Since, err = o.moment("since", o.since); err != nil {
		return err
	}
	if o.query.Until, err = o.moment("until", o.until); err != nil {
		return err
	}
	if !o.query.Until.IsZero() && !o.query.Since.Before(o.query.Until) {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "--since %s is not before --until %s", o.since, o.until).WithHint("Nothing can be between them.")
	}
	return nil
}

// moment reads a time: how long ago, a day of this machine's zone, or a point in time.
func (o *historyOptions) moment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, ok := days(text); ok {
		return o.now().Add(-ago).UTC(), nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return t.UTC(), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, &usageError{fmt.Errorf("--%s %q is no time such as 7d, 12h, 2026-11-29 or 2026-11-29T10:00:00Z", flag, text)}
	}
	return t.UTC(), nil
}

func runHistory(ctx context.Context, o *historyOptions) error {
	if err := o.read(); err != nil {
		return err
	}
	return o.with(ctx, func(a *app.App) error {
		if err := o.resolve(ctx, a, "show history", &o.target); err != nil {
			return err
		}
		if o.csv {
			return o.export(ctx, a.Engine.Reports)
		}
		page, err := o.page(ctx, a.Engine.Reports)
		switch {
		case err != nil:
			return err
		case o.json:
			return o.printJSON(page.Entries)
		}
		return o.list(page)
	})
}

// page returns as many entries as are wanted, however far back they are.
func (o *historyOptions) page(ctx context.Context, reports *report.Reports) (report.HistoryPage, error) {
	page, err := reports.History(ctx, o.pipeline, o.query)
	for err == nil && page.Next > 0 && len(page.Entries) < o.query.Limit {
		q := o.query
		q.After, q.Limit = page.Next, o.query.Limit-len(page.Entries)
		var more report.HistoryPage
		more, err = reports.History(ctx, o.pipeline, q)
		page.Entries, page.Next = append(page.Entries, more.Entries...), more.Next
	}
	return page, err
}

// export prints CSV.
func (o *historyOptions) export(ctx context.Context, reports *report.Reports) error {
	out, err := report.NewHistoryCSV(o.Out)
	if err != nil {
		return err
	}
	if o.all {
		err = reports.EachEntry(ctx, o.pipeline, o.query, out.Write)
	} else {
		var page report.HistoryPage
		page, err = o.page(ctx, reports)
		for _, e := range page.Entries {
			if err == nil {
				err = out.Write(e)
			}
		}
	}
	return cmp.Or(err, out.Flush())
}

// list prints a table.
func (o *historyOptions) list(page report.HistoryPage) error {
	t := o.newTable("WHEN", "STAGE", "BUILD", "MESSAGE", "WHAT", "BY", "").beside("MESSAGE")
	for _, e := range page.Entries {
		t.rowIn(historyColour(e), pipeline.Moment(e.At.Local()), e.Stage, present.Build(e.BuildNumber, e.Build), e.Message, e.Says(), e.Actor, noteOf(e))
	}
	if err := t.flush(); err != nil {
		return err
	}
	if page.Pending > 0 {
		if err := o.remark(present.Count(int(page.Pending), "decision") + " not in the history yet. The next apply adds what was decided to it."); err != nil {
			return err
		}
	}
	if page.Next == 0 {
		return nil
	}
	return o.remark(fmt.Sprintf("There are more: with `--after %d` the same command lists those before.", page.Next))
}

// noteOf says what there is to say of an entry beside its columns.
func noteOf(e report.HistoryEntry) string {
	var parts []string
	if e.From != "" {
		parts = append(parts, "from "+present.Build(e.FromNumber, e.From))
	}
	if e.Environment != "" {
		parts = append(parts, e.Environment)
	}
	if e.Image != "" {
		parts = append(parts, e.Image)
	}
	return strings.Join(slices.DeleteFunc(append(parts, e.Reason, pipeline.FirstLine(e.Detail)), func(s string) bool { return s == "" }), "; ")
}

// historyColour is the colour of what happened, where that has one elsewhere.
func historyColour(e report.HistoryEntry) colour {
	return cmp.Or(colourOf[e.Action], uncoloured)
}
