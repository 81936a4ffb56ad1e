// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

type ledgerOptions struct {
	*factory
	pipeline, file               string
	since, checkpoint, publicKey string // of verify
	key, kmsKey                  string // of checkpoint
}

func newLedger(f *factory) *cobra.Command {
	c := &cobra.Command{
		Use: "ledger", Short: "Check, export and sign the ledger", Long: "Check, export, import and sign the ledger: the history of builds, runs, decisions and environments.",
		Args: args(0, 0), RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newLedgerVerify(f, nil), newLedgerHead(f, nil), newLedgerCheckpoint(f, nil), newLedgerExport(f, nil), newLedgerImport(f, nil), newLedgerArchive(f, nil))
	return c
}

func newLedgerExport(f *factory, runF func(context.Context, *ledgerOptions) error) *cobra.Command {
	o := &ledgerOptions{factory: f}
	if runF == nil {
		runF = runLedgerExport
	}
	c := &cobra.Command{
		Use:   "export [PIPELINE]",
		Short: "Write the whole history as lines of JSON",
		Long: "Write the whole history of a pipeline, or of all, as lines of JSON: a header, then each event with its hash.\n" +
			"The command checks the chain first. `penstock ledger import` reads the result.",
		Args: args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline = arg(given, 0)
			return runF(c.Context(), o)
		},
	}
	c.Flags().StringVarP(&o.file, "output", "o", "", "a new file to write (default: standard output)")
	return c
}

func runLedgerExport(ctx context.Context, o *ledgerOptions) error {
	return o.with(ctx, func(a *app.App) error {
		return o.write(o.file, func(w io.Writer) error { return a.Export(ctx, w, o.pipeline) })
	})
}

// write has something written to a new file, or to standard output where none is named.
// A file that could not be written is removed.
func (f *factory) write(file string, content func(io.Writer) error) error {
	if file == "" {
		return content(f.Out)
	}
	to, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return pipeline.Errorf(pipeline.CodeInvalid, "write output", "%w", err).WithHint("With -o, name a file that does not exist yet.")
	}
	if err := errors.Join(content(to), to.Close()); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}

func newLedgerImport(f *factory, runF func(context.Context, *ledgerOptions) error) *cobra.Command {
	o := &ledgerOptions{factory: f}
	if runF == nil {
		runF = runLedgerImport
	}
	return &cobra.Command{
		Use:   "import FILE",
		Short: "Read an exported history into a ledger without one",
		Long: "Read what `penstock ledger export` wrote, from a file or with - from standard input, into a ledger that has no\n" +
			"history of those pipelines. The command checks each event. You can repeat an interrupted import, and it\n" +
			"continues.\n\n" +
			"It moves the history and nothing else: images, artifacts and environments stay where they are.",
		Args: args(1, 1),
		RunE: func(c *cobra.Command, given []string) error {
			o.file = given[0]
			return runF(c.Context(), o)
		},
	}
}

func runLedgerImport(ctx context.Context, o *ledgerOptions) error {
	in := o.In
	if o.file != "-" {
		file, err := os.Open(o.file)
		if err != nil {
			return pipeline.Errorf(pipeline.CodeNotFound, "read export", "%w", err)
		}
		defer file.Close()
		in = file
	}
	open := o.with
	if dir := o.dataDir; dir != "" { // it may be a new one
		open = func(ctx context.Context, call func(*app.App) error) error { return o.create(ctx, dir, call) }
	}
	return open(ctx, func(a *app.App) error {
		done, err := a.Import(ctx, bufio.NewReader(in))
		if err != nil || o.json {
			return o.printDone(err, done, "")
		}
		for _, d := range done {
			fmt.Fprintf(o.Out, "%s of pipeline %s, of which %d were there before.\n", present.Count(int(d.Events), "event"), d.Pipeline, d.Had)
		}
		return nil
	})
}
