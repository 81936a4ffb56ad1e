// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

type metricsOptions struct {
	*factory
	target
	since time.Duration
}

func newMetrics(f *factory, runF func(context.Context, *metricsOptions) error) *cobra.Command {
	o := &metricsOptions{factory: f}
	if runF == nil {
		runF = runMetrics
	}
	var since string
	c := &cobra.Command{
		Use:   "metrics [PIPELINE]",
		Short: "Show how well changes get to production",
		Long: "Show how often the pipeline deploys, how long a commit takes to reach production, how many changes fail there,\n" +
			"how long it takes to restore the service, and where builds wait. PIPELINE may be left out if there is only\n" +
			"one.",
		Args: args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline = arg(given, 0)
			var ok bool
			if o.since, ok = days(since); !ok {
				return &usageError{fmt.Errorf("--since %q is not a time such as 90d or 12h", since)}
			}
			return runF(c.Context(), o)
		},
	}
	c.Flags().StringVar(&o.stage, "stage", "", "the stage that deploys (default: the last that has a persistent environment, or that people move)")
	c.Flags().StringVar(&since, "since", "90d", "how far to look back")
	return c
}

var dayCount = regexp.MustCompile(`^([1-9][0-9]{0,3})d$`)

// days reads a duration that may be a number of days.
func days(text string) (time.Duration, bool) {
	if m := dayCount.FindStringSubmatch(text); m != nil {
		n, err := strconv.Atoi(m[1])
		return time.Duration(n) * 24 * time.Hour, err == nil
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d > 0
}

func runMetrics(ctx context.Context, o *metricsOptions) error {
	return o.with(ctx, func(a *app.App) error {
		if err := o.resolve(ctx, a, "show metrics", &o.target); err != nil {
			return err
		}
		f, err := a.Engine.Reports.Metrics(ctx, o.pipeline, o.stage, o.now().Add(-o.since).UTC())
		if err != nil || o.json {
			return o.printDone(err, f, "")
		}
		t := o.newTable("METRIC", "VALUE", "")
		t.row("deployments", strconv.Itoa(f.Deployments), fmt.Sprintf("%.2f a day", f.PerDay))
		t.row("lead time", describeDistribution(f.LeadTime), "from the commit to the end of the deployment")
		t.row("change failure rate", fmt.Sprintf("%.0f %%", 100*f.FailureRate), fmt.Sprintf("%d of %d changes failed or were rolled back", f.Failures, f.Changes))
		t.row("time to restore", describeDistribution(f.Restore), "from a failure to the next deployment that passed")
		of := fmt.Sprintf("Stage %s of pipeline %s, since %s", f.Stage, f.Pipeline, pipeline.Moment(f.Since.Local()))
		fmt.Fprintln(o.Out, screenOf(o.Out).lines(of, uncoloured))
		if err := t.flush(); err != nil {
			return err
		}
		fmt.Fprintln(o.Out)
		t = o.newTable("WAITS AT", "TO RUN", "FOR A DECISION")
		for _, w := range f.Waits {
			t.row(w.Stage, describeDistribution(w.Start), describeDistribution(w.Decision))
		}
		return t.flush()
	})
}

// describeDistribution describes a distribution of durations.
func describeDistribution(s pipeline.Distribution) string {
	if s.Count == 0 {
		return "-"
	}
	return fmt.Sprintf("median %s, 90%% within %s", present.Duration(s.Median), present.Duration(s.P90))
}
