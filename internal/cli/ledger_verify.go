// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/checkpoint"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

func newLedgerVerify(f *factory, runF func(context.Context, *ledgerOptions) error) *cobra.Command {
	o := &ledgerOptions{factory: f}
	if runF == nil {
		runF = runLedgerVerify
	}
	c := &cobra.Command{
		Use:   "verify [PIPELINE]",
		Short: "Check the ledger, and that it still has what it had before",
		Long: "Check the ledger: each entry has its own hash and that of the previous entry, and the current state is the sum\n" +
			"of the entries. That finds damage, and entries that were changed, removed or inserted.\n\n" +
			"Whoever can write the ledger can rewrite all of it, or cut off the newest entries, and nothing in the ledger\n" +
			"itself shows that. An anchor that is kept elsewhere does: a sequence number and a hash. --since takes an\n" +
			"anchor from this command, `penstock ledger head` or a notice; --checkpoint takes a signed one.",
		Args: args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline = arg(given, 0)
			switch {
			case o.since != "" && o.checkpoint != "":
				return &usageError{errors.New("use --since or --checkpoint, not both")}
			case (o.checkpoint == "") != (o.publicKey == ""):
				return &usageError{errors.New("--checkpoint and --public-key go together")}
			}
			return runF(c.Context(), o)
		},
	}
	c.Flags().StringVar(&o.since, "since", "", "an entry that the ledger must have: `SEQUENCE:HASH`")
	c.Flags().StringVar(&o.checkpoint, "checkpoint", "", "a `FILE` that `penstock ledger checkpoint` wrote: the ledger must have what was signed")
	c.Flags().StringVar(&o.publicKey, "public-key", "", "a `FILE` with the public key, in PEM, of the key that signed")
	return c
}

// verifiedLedger is the JSON shape of a ledger that is whole.
type verifiedLedger struct {
	Events int64      `json:"events"` // that were checked
	Heads  []app.Head `json:"heads"`  // the newest entry of each pipeline
}

func runLedgerVerify(ctx context.Context, o *ledgerOptions) error {
	anchor, err := o.anchor()
	if err != nil {
		return err
	}
	return o.with(ctx, func(a *app.App) error {
		if anchor != nil && o.pipeline == "" {
			if err := o.choose(ctx, a, "verify"); err != nil {
				return err
			}
		}
		heads, err := a.Heads(ctx, o.pipeline) // before: what is verified then includes them
		if err != nil && !(anchor != nil && pipeline.IsNotFound(err)) {
			return err
		}
		n, err := a.Verify(ctx, o.pipeline)
		if err == nil && anchor != nil {
			err = a.CheckAnchor(ctx, o.pipeline, *anchor)
		}
		if err != nil || o.json {
			return o.printDone(err, verifiedLedger{n, heads}, "")
		}
		fmt.Fprintf(o.Out, "%s, the chain is whole.\n", present.Count(int(n), "event"))
		if anchor != nil {
			fmt.Fprintf(o.Out, "The ledger of %s still has event %d, and all events before it.\n", o.pipeline, anchor.Sequence)
		}
		return o.printHeads(heads)
	})
}

// anchor reads the anchor that flags give; nil for none. A signed one names its pipeline.
func (o *ledgerOptions) anchor() (*pipeline.Anchor, error) {
	switch {
	case o.since != "":
		anchor, err := pipeline.ParseAnchor(o.since)
		return &anchor, err
	case o.checkpoint == "":
		return nil, nil
	}
	pem, err := readGiven("public key", o.publicKey)
	if err != nil {
		return nil, err
	}
	key, err := checkpoint.ParsePublicKey(pem)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.publicKey, err)
	}
	signed, err := readGiven("checkpoint", o.checkpoint)
	if err != nil {
		return nil, err
	}
	name, anchor, err := checkpoint.Open(signed, key)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", o.checkpoint, err)
	case o.pipeline != "" && o.pipeline != name:
		return nil, pipeline.Errorf(pipeline.CodeInvalid, "verify ledger", "%s is a checkpoint of pipeline %q, not of %q", o.checkpoint, name, o.pipeline)
	}
	o.pipeline = name
	return &anchor, nil
}

func newLedgerHead(f *factory, runF func(context.Context, *ledgerOptions) error) *cobra.Command {
	o := &ledgerOptions{factory: f}
	if runF == nil {
		runF = runLedgerHead
	}
	return &cobra.Command{
		Use:   "head [PIPELINE]",
		Short: "Print how far the ledger has come",
		Long: "Print the number and the hash of each pipeline's newest entry. Keep them elsewhere. Later, `penstock ledger\n" +
			"verify PIPELINE --since SEQUENCE:HASH` checks that the ledger still has that entry, and that the earlier ones\n" +
			"are unchanged.",
		Args: args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline = arg(given, 0)
			return runF(c.Context(), o)
		},
	}
}

func runLedgerHead(ctx context.Context, o *ledgerOptions) error {
	return o.with(ctx, func(a *app.App) error {
		heads, err := a.Heads(ctx, o.pipeline)
		switch {
		case err != nil:
			return err
		case o.json:
			return o.printJSON(heads)
		}
		return o.printHeads(heads)
	})
}

func (f *factory) printHeads(heads []app.Head) error {
	for _, h := range heads {
		if _, err := fmt.Fprintf(f.Out, "%s %s\n", h.Pipeline, h.Anchor); err != nil {
			return err
		}
	}
	return nil
}

func newLedgerCheckpoint(f *factory, runF func(context.Context, *ledgerOptions) error) *cobra.Command {
	o := &ledgerOptions{factory: f}
	if runF == nil {
		runF = runLedgerCheckpoint
	}
	c := &cobra.Command{
		Use:   "checkpoint [PIPELINE]",
		Short: "Sign how far the ledger has come",
		Long: "Check the history of a pipeline, and sign the number and the hash of its newest entry: a signed note, as in\n" +
			"transparency logs. `penstock ledger verify --checkpoint FILE --public-key FILE` checks it later.\n\n" +
			"The key is Ed25519 or ECDSA on P-256: a file in PEM, as `openssl genpkey -algorithm ed25519` makes it, or a\n" +
			"key of AWS KMS. A checkpoint only says that the owner of the key signed it. The owner should be somebody who\n" +
			"can't write the ledger. Keep checkpoints where the ledger's writers can't write.",
		Args: args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline = arg(given, 0)
			if (o.key == "") == (o.kmsKey == "") {
				return &usageError{errors.New("pass --key or --kms-key")}
			}
			return runF(c.Context(), o)
		},
	}
	c.Flags().StringVar(&o.key, "key", "", "a `FILE` with the private key in PEM")
	c.Flags().StringVar(&o.kmsKey, "kms-key", "", "the `ARN` of a signing key of AWS KMS, or of its alias")
	c.Flags().StringVarP(&o.file, "output", "o", "", "a new file to write (default: standard output)")
	return c
}

func runLedgerCheckpoint(ctx context.Context, o *ledgerOptions) error {
	key, err := o.signer(ctx)
	if err != nil {
		return err
	}
	return o.with(ctx, func(a *app.App) error {
		if o.pipeline == "" {
			if err := o.choose(ctx, a, "verify"); err != nil {
				return err
			}
		}
		heads, err := a.Heads(ctx, o.pipeline)
		if err != nil {
			return err
		}
		if _, err := a.Verify(ctx, o.pipeline); err != nil {
			return err
		}
		signed, err := checkpoint.Sign(o.pipeline, heads[0].Anchor, key)
		if err != nil {
			return err
		}
		return o.write(o.file, func(w io.Writer) error {
			_, err := w.Write(signed)
			return err
		})
	})
}

// signer opens the key that flags name.
func (o *ledgerOptions) signer(ctx context.Context) (crypto.Signer, error) {
	if o.kmsKey != "" {
		return app.KMSKey(ctx, o.kmsKey, o.aws.Profile)
	}
	pem, err := readGiven("key", o.key)
	if err != nil {
		return nil, err
	}
	key, err := checkpoint.ParseKey(pem)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.key, err)
	}
	return key, nil
}

// readGiven reads a file that a flag names.
func readGiven(what, name string) ([]byte, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, pipeline.Errorf(pipeline.CodeNotFound, "read "+what, "%w", err)
	}
	return data, nil
}

// choose takes the only pipeline where none is named.
func (o *ledgerOptions) choose(ctx context.Context, a *app.App, verb string) error {
	var t target
	err := o.resolve(ctx, a, verb, &t)
	o.pipeline = t.pipeline
	return err
}
