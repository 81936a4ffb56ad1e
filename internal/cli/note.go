// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/watch"
)

// newNote makes the command with which the CodeBuild project STACK-apply notes what it has
// seen, so that no build starts while nothing moves. It is for no person, so no list shows it.
func newNote(f *factory) *cobra.Command {
	var terraform string
	var of watch.NoteRequest
	c := &cobra.Command{
		Use:   "note [DIR]",
		Short: "Print what an apply of the configuration in DIR has seen",
		Long: "Print as JSON what an apply of the configuration in DIR (default: this directory) has seen: the refs of its\n" +
			"repositories, and until when nothing else is due. What modules have made for environments whose time is over is ended. The\n" +
			"CodeBuild project that applies calls it.",
		Hidden: true,
		Args:   args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			dir := "."
			if given := arg(given, 0); given != "" {
				dir = given
			}
			tf, err := watch.NewCLI(dir, terraform, nil)
			if err != nil {
				return err
			}
			open := func(ctx context.Context) (*app.App, error) { return f.openIn(ctx, dir) }
			of.Options = watch.Options{Terraform: tf, Dir: dir, Open: open, Now: time.Now}
			note, err := watch.TakeNote(c.Context(), of)
			if err != nil {
				return err
			}
			for _, reason := range note.Reasons {
				fmt.Fprintf(f.Err, "The next look applies again: %s\n", present.Line(reason))
			}
			return json.NewEncoder(f.Out).Encode(note)
		},
	}
	c.Flags().StringVar(&terraform, "terraform", "", "the program (default: terraform, otherwise tofu, on PATH)")
	c.Flags().StringVar(&of.Repository, "repository", "", "the repository that the configuration comes from")
	c.Flags().StringVar(&of.Ref, "ref", "", "the branch or tag of it")
	c.Flags().StringVar(&of.Commit, "commit", "", "the commit that was applied")
	c.Flags().BoolVar(&of.Failed, "failed", false, "the apply failed: it is tried again in an hour")
	return c
}
