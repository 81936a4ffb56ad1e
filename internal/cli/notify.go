// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

type notifyOptions struct {
	*factory
	pipeline    string
	flush, test bool
}

func newNotify(f *factory, runF func(context.Context, *notifyOptions) error) *cobra.Command {
	o := &notifyOptions{factory: f}
	if runF == nil {
		runF = runNotify
	}
	c := &cobra.Command{
		Use:   "notify [PIPELINE]",
		Short: "Show who is notified of what, and whether that works",
		Long: "Show the targets of a pipeline's notices, or of all pipelines: whether they have received all notices, and\n" +
			"what failed last. The process that made a notice sends it. The next process sends whatever that one could not.\n" +
			"`penstock watch` and `penstock serve` send all the time.",
		Args: args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline = arg(given, 0)
			if o.test && o.pipeline == "" {
				return &usageError{errors.New("--test needs the name of a pipeline")}
			}
			return runF(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.flush, "flush", false, "first send what waits")
	c.Flags().BoolVar(&o.test, "test", false, "send a test to each target instead")
	return c
}

// notifyRow is the JSON shape of one target.
type notifyRow struct {
	Pipeline string                `json:"pipeline"`
	Target   string                `json:"target"`
	On       []pipeline.NoticeKind `json:"on"`              // empty: all
	Pending  int64                 `json:"pending"`         // notices that it has still to get
	Skipped  int                   `json:"skipped"`         // notices that it refused for good
	Tries    int                   `json:"tries"`           // that failed in a row
	Error    string                `json:"error,omitempty"` // of the last attempt, or why it can't be notified from here
	Next     time.Time             `json:"next,omitzero"`   // not tried again before
}

func runNotify(ctx context.Context, o *notifyOptions) error {
	return o.with(ctx, func(a *app.App) error {
		states, err := selectPipelines(ctx, a, o.pipeline)
		if err != nil {
			return err
		}
		if o.test {
			return o.sendTests(ctx, a, states[o.pipeline].Pipeline)
		}
		rows := []notifyRow{}
		for _, name := range slices.Sorted(maps.Keys(states)) {
			st := states[name]
			if o.flush {
				if err := a.Notify(ctx, name); pipeline.CodeOf(err) == pipeline.CodeNotAllowed {
					fmt.Fprintf(o.Err, "Some can't be notified from here: %s\n", present.Line(err.Error()))
				} else if err != nil {
					return err
				}
			}
			found, err := o.describe(ctx, a, st)
			if err != nil {
				return err
			}
			rows = append(rows, found...)
		}
		if o.json {
			return o.printJSON(rows)
		}
		t := o.newTable("PIPELINE", "TARGET", "ON", "PENDING", "SKIPPED", "")
		for _, r := range rows {
			note := r.Error
			if r.Tries > 0 {
				note = fmt.Sprintf("failed %s, again in %s: %s", present.Count(r.Tries, "time"), present.Age(r.Next.Sub(o.now())), r.Error)
			}
			t.row(r.Pipeline, r.Target, kinds(r.On), fmt.Sprint(r.Pending), fmt.Sprint(r.Skipped), note)
		}
		return t.flush()
	})
}

func (o *notifyOptions) describe(ctx context.Context, a *app.App, st *pipeline.State) ([]notifyRow, error) {
	rows := []notifyRow{}
	for _, t := range st.Pipeline.Targets() {
		d, pending, err := a.Notified(ctx, st.Pipeline.Name, t)
		if err != nil {
			return nil, err
		}
		row := notifyRow{
			Pipeline: st.Pipeline.Name, Target: t.Describe(), On: append([]pipeline.NoticeKind{}, t.On...),
			Pending: pending, Skipped: d.Skipped, Tries: d.Tries, Error: d.Error, Next: d.Next,
		}
		if err := a.CanNotify(t); err != nil && row.Error == "" {
			row.Error = err.Error()
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (o *notifyOptions) sendTests(ctx context.Context, a *app.App, p pipeline.Pipeline) error {
	var failed error
	for _, t := range p.Targets() {
		if err := a.TestNotice(ctx, p.Name, t); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", t.Describe(), err))
			continue
		}
		fmt.Fprintf(o.Err, "%s was notified.\n", t.Describe())
	}
	if failed != nil {
		return pipeline.Errorf(pipeline.CodeFailed, "send test notices", "%w", failed)
	}
	return nil
}

func kinds(on []pipeline.NoticeKind) string {
	if len(on) == 0 {
		return "all"
	}
	words := make([]string, len(on))
	for i, k := range on {
		words[i] = string(k)
	}
	return strings.Join(words, ",")
}
