// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newVersion(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long:  "Print the version.",
		Args:  args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			if f.json {
				return f.printJSON(map[string]string{"version": f.version})
			}
			fmt.Fprintln(f.Out, "penstock "+f.version)
			return nil
		},
	}
}
