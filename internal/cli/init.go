// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/scaffold"
)

type initOptions struct {
	*factory
	dir, platform string
}

func newInit(f *factory, runF func(context.Context, *initOptions) error) *cobra.Command {
	o := &initOptions{factory: f}
	if runF == nil {
		runF = runInit
	}
	c := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Write a first pipeline for a repository",
		Long: "Look at the repository in DIR, this directory if left out, and write a first pipeline for it to deploy/main.tf\n" +
			"there: a Terraform configuration with comments. It looks at files and runs none, and overwrites nothing.",
		Args: args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			if o.dir = arg(given, 0); o.dir == "" {
				o.dir = "."
			}
			if p := scaffold.Platform(o.platform); p != scaffold.Local && p != scaffold.AWS {
				return &usageError{fmt.Errorf("--platform %q is neither local nor aws", o.platform)}
			}
			return runF(c.Context(), o)
		},
	}
	c.Flags().StringVar(&o.platform, "platform", string(scaffold.Local), "where the pipeline runs: local or aws")
	return c
}

// scaffolded is the JSON shape of what was written.
type scaffolded struct {
	File     string   `json:"file"`
	Pipeline string   `json:"pipeline"`
	Language string   `json:"language,omitempty"`
	Notes    []string `json:"notes"` // what there is to do by hand
}

func runInit(_ context.Context, o *initOptions) error {
	const op = "write pipeline"
	if info, err := os.Stat(o.dir); err != nil || !info.IsDir() {
		return pipeline.Errorf(pipeline.CodeNotFound, op, "there is no directory %s", o.dir).WithHint("Name the directory of a git repository.")
	}
	if _, err := os.Stat(filepath.Join(o.dir, ".git")); err != nil {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%s is not the root of a git repository", o.dir).
			WithHint("Run `git init` and commit there first, or name the root.")
	}
	p := scaffold.Look(o.dir)
	text, notes := scaffold.Write(p, scaffold.Platform(o.platform))
	file := filepath.Join(o.dir, "deploy", "main.tf")
	if there, _ := filepath.Glob(filepath.Join(o.dir, "deploy", "*.tf")); len(there) > 0 {
		return pipeline.Errorf(pipeline.CodeConflict, op, "there is a configuration already: %s", there[0]).WithHint("It is not overwritten. Remove it, or go on with it.")
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	if err := writeNew(file, text); err != nil {
		return err
	}
	// State, plugins and the data directory are nobody's source.
	if err := writeNew(filepath.Join(o.dir, "deploy", ".gitignore"), ".penstock/\n.terraform/\n*.tfstate*\n"); err != nil && pipeline.CodeOf(err) != pipeline.CodeConflict {
		return err
	}
	if o.json {
		return o.printJSON(scaffolded{file, p.Name, p.Language, append([]string{}, notes...)})
	}
	what := p.Language
	if what == "" {
		what = "no known language"
	}
	fmt.Fprintf(o.Out, "Wrote %s for %s (%s).\n", file, p.Name, what)
	for _, note := range notes {
		fmt.Fprintf(o.Err, "- %s\n", note)
	}
	fmt.Fprintf(o.Err, "Next: cd %s && terraform init && terraform apply\n", filepath.Dir(file))
	return nil
}

// writeNew writes a file that does not exist; CodeConflict where it does.
func writeNew(name, text string) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return pipeline.Errorf(pipeline.CodeConflict, "write pipeline", "%s exists already", name).WithHint("It is not overwritten. Remove it, or go on with it.")
	}
	if err == nil {
		_, err = file.WriteString(strings.TrimRight(text, "\n") + "\n")
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, "write pipeline", "%w", err)
	}
	return nil
}
