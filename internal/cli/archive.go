// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

type archiveOptions struct {
	*factory
	archive, file string
}

func newLedgerArchive(f *factory, runF func(context.Context, *archiveOptions) error) *cobra.Command {
	runs := func(o *archiveOptions, run func(context.Context, *archiveOptions) error) func(*cobra.Command, []string) error {
		if runF != nil {
			run = runF
		}
		return func(c *cobra.Command, given []string) error {
			o.archive = arg(given, 0)
			return run(c.Context(), o)
		}
	}
	list := runs(&archiveOptions{factory: f}, runArchiveList)
	c := &cobra.Command{
		Use:   "archive",
		Short: "List and read the histories of destroyed pipelines",
		Long: "List and read the histories of destroyed pipelines. Each is kept for as long as the pipeline's retain_history\n" +
			"says. An apply, or `penstock gc`, then removes it. An archive's name is the ID of its pipeline, or the\n" +
			"pipeline's name if only one archive has that name.",
		Args: args(0, 0), RunE: list,
	}
	export := &archiveOptions{factory: f}
	exporting := &cobra.Command{
		Use: "export ARCHIVE", Short: "Write an archived history as lines of JSON",
		Long: "Write an archived history as lines of JSON, as `penstock ledger export` does for an active pipeline.",
		Args: args(1, 1), RunE: runs(export, runArchiveExport),
	}
	exporting.Flags().StringVarP(&export.file, "output", "o", "", "a new file to write (default: standard output)")
	c.AddCommand(
		&cobra.Command{
			Use: "list", Short: "List the archived histories", Long: "List the archived histories, the newest first, and how long each is kept.",
			Args: args(0, 0), RunE: list,
		},
		&cobra.Command{
			Use: "verify ARCHIVE", Short: "Check that no entry of an archived history was changed, removed or added",
			Long: "Check the chain of hashes through an archived history: no entry was changed, removed or inserted later.",
			Args: args(1, 1), RunE: runs(&archiveOptions{factory: f}, runArchiveVerify),
		},
		exporting,
	)
	return c
}

func runArchiveList(ctx context.Context, o *archiveOptions) error {
	return o.with(ctx, func(a *app.App) error {
		all, err := a.Archives(ctx)
		if err != nil || o.json {
			return o.printDone(err, all, "")
		}
		t := o.newTable("ARCHIVE", "PIPELINE", "REMOVED", "KEPT UNTIL")
		for _, at := range all {
			t.row(at.ID, at.Pipeline, at.Removed.UTC().Format(time.RFC3339), at.Until.UTC().Format(time.RFC3339))
		}
		return t.flush()
	})
}

// verifiedArchive is the JSON shape of an archive that is whole.
type verifiedArchive struct {
	Events int64 `json:"events"`
}

func runArchiveVerify(ctx context.Context, o *archiveOptions) error {
	return o.withArchive(ctx, func(r io.Reader) error {
		n, err := app.VerifyExport(r)
		return o.printDone(err, verifiedArchive{n}, "%s, the chain is whole.", present.Count(int(n), "event"))
	})
}

func runArchiveExport(ctx context.Context, o *archiveOptions) error {
	return o.withArchive(ctx, func(r io.Reader) error {
		return o.write(o.file, func(w io.Writer) error {
			_, err := io.Copy(w, r)
			return err
		})
	})
}

// withArchive opens the archive that was named for the time of a call.
func (o *archiveOptions) withArchive(ctx context.Context, call func(io.Reader) error) error {
	return o.with(ctx, func(a *app.App) error {
		all, err := a.Archives(ctx)
		if err != nil {
			return err
		}
		at, err := chooseArchive(all, o.archive)
		if err != nil {
			return err
		}
		r, err := a.OpenArchive(ctx, at)
		if err != nil {
			return err
		}
		return errors.Join(call(r), r.Close())
	})
}

// chooseArchive finds an archive by the ID of its pipeline, or by a name that is that of one.
func chooseArchive(all []pipeline.Archive, named string) (pipeline.Archive, error) {
	const op = "find archive"
	var found []pipeline.Archive
	for _, a := range all {
		if a.ID == named {
			return a, nil
		}
		if a.Pipeline == named {
			found = append(found, a)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return pipeline.Archive{}, pipeline.Errorf(pipeline.CodeNotFound, op, "there is no archive %q", named).WithHint("`penstock ledger archive` lists them.")
	default:
		return pipeline.Archive{}, pipeline.Errorf(pipeline.CodeInvalid, op, "there are %d archives of pipelines named %q", len(found), named).
			WithHint("Name one by its ID; `penstock ledger archive` lists them.")
	}
}
