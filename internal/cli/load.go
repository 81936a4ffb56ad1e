// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
)

// newLoad makes the command that the machines of a runner make their share of a load
// with. It is for no person, so no list shows it.
func newLoad(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:   "load",
		Short: "Make a share of a load, read from standard input",
		Long: "Make a share of a load, read from standard input, and print the measurements.\n\n" +
			"The builds of a stage with runner = \"codebuild\" call it.",
		Hidden: true,
		Args:   args(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			return app.MakeLoad(c.Context(), f.In, f.Out, f.Err)
		},
	}
}
