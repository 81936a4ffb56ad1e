// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import "github.com/spf13/cobra"

func newVersion(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long:  "Print the version.",
		Args:  args(0, 0),
		RunE:  func(*cobra.Command, []string) error { return f.tellVersion() },
	}
}

// versionShape is the JSON shape of the version.
type versionShape struct {
	Version string `json:"version"`
}

// tellVersion prints the version: `penstock version`, and the flag that other programs have.
func (f *factory) tellVersion() error {
	return f.printDone(nil, versionShape{f.version}, "penstock %s", f.version)
}
