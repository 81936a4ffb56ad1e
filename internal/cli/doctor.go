// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/doctor"
)

type doctorOptions struct {
	*factory
	deep bool
	aws  bool
}

func newDoctor(f *factory, runF func(context.Context, *doctorOptions) error) *cobra.Command {
	o := &doctorOptions{factory: f}
	if runF == nil {
		runF = runDoctor
	}
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what keeps pipelines from working, and say what to do",
		Long: "Look for what keeps pipelines from working, and say what to do about it. It checks git, Terraform, the data\n" +
			"directory or the stack on AWS, the ledger, clocks, leases and runs of dead processes, environments, notices,\n" +
			"and orphans. With --aws it asks AWS itself what the stack's roles may do, with IAM's simulator, for which the\n" +
			"caller needs iam:SimulatePrincipalPolicy; what it could not ask is unknown. It changes nothing. It exits with 1 if there are problems, but not for warnings.",
		Args: args(0, 0),
		RunE: func(c *cobra.Command, _ []string) error { return runF(c.Context(), o) },
	}
	c.Flags().BoolVar(&o.deep, "deep", false, "also check every entry of the ledger")
	c.Flags().BoolVar(&o.aws, "aws", false, "also ask AWS itself: rights of the roles, the default key, ways of the subnets, quotas, architectures")
	return c
}

func runDoctor(ctx context.Context, o *doctorOptions) error {
	findings := doctor.Examine(ctx, doctor.Options{Open: o.open, Deep: o.deep, AWS: o.aws, Now: o.now})
	if o.json {
		if err := o.printJSON(findings); err != nil {
			return err
		}
	} else {
		t := o.newTable("STATUS", "CHECK", "")
		for _, f := range findings {
			t.row(string(f.Status), f.Check, f.Text)
			if f.Remedy != "" {
				t.row(" ", " ", "  "+f.Remedy)
			}
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if !doctor.Healthy(findings) {
		return &silentError{errors.New("there are problems")}
	}
	if !o.json {
		fmt.Fprintln(o.Err, wellSaid(findings))
	}
	return nil
}

// wellSaid says that there are no problems, and how many warnings.
func wellSaid(findings []doctor.Finding) string {
	warnings := 0
	for _, f := range findings {
		if f.Status == doctor.Warning {
			warnings++
		}
	}
	switch warnings {
	case 0:
		return "There are no problems."
	case 1:
		return "There are no problems, and 1 warning."
	default:
		return fmt.Sprintf("There are no problems, and %d warnings.", warnings)
	}
}
