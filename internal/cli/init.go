// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/install"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/scaffold"
)

type initOptions struct {
	*factory
	dir, service, target, platform string
}

func newInit(f *factory, runF func(context.Context, *initOptions) error) *cobra.Command {
	o := &initOptions{factory: f}
	if runF == nil {
		runF = runInit
	}
	c := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Write a first pipeline for a repository, or for one of its services",
		Long: "Look at DIR (default: this directory), and write a first pipeline for the service in it to deploy/main.tf\n" +
			"there: a Terraform configuration with comments. The command reads files and runs none. It writes into no\n" +
			"directory that has other files: if deploy is taken, it writes penstock/main.tf.\n\n" +
			"DIR is a git repository, or a directory in one: then only files below it move the pipeline. If DIR is not a\n" +
			"service, and there are several in the directories below, the command asks which.\n\n" +
			"The start command comes from a Procfile, a Dockerfile, a compose file, or the scripts of a package.json;\n" +
			"otherwise it is guessed from the sources.",
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
	c.Flags().StringVar(&o.service, "service", "", "the directory of the service, in DIR; \".\" for DIR itself")
	c.Flags().StringVar(&o.target, "dir", "", "the directory to write to, new or empty (default: deploy, otherwise penstock)")
	return c
}

// scaffolded is the JSON shape of what was written.
type scaffolded struct {
	File      string   `json:"file"`
	Pipeline  string   `json:"pipeline"`
	Directory string   `json:"directory,omitempty"` // of the service, in its repository
	Language  string   `json:"language,omitempty"`
	Notes     []string `json:"notes"` // what there is to do by hand
}

const opInit = "write pipeline"

func runInit(ctx context.Context, o *initOptions) error {
	root, within, err := o.locate(ctx)
	if err != nil {
		return err
	}
	p := scaffold.Look(root, within)
	target, err := o.choose(filepath.Join(root, filepath.FromSlash(within)))
	if err != nil {
		return err
	}
	if err := settle(&p, root, target); err != nil {
		return err
	}
	text, notes := scaffold.Write(p, scaffold.Platform(o.platform))
	if err := os.MkdirAll(target, 0o755); err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, opInit, "%w", err)
	}
	file := filepath.Join(target, "main.tf")
	if err := writeNew(file, text); err != nil {
		return err
	}
	// State, plugins and the data directory are nobody's source.
	if err := writeNew(filepath.Join(target, ".gitignore"), ".penstock/\n.terraform/\n*.tfstate*\n"); err != nil {
		return err
	}
	file = fromHere(file)
	next := "terraform init && terraform apply"
	for _, s := range install.Settings() {
		if s.Override != "" {
			next = "terraform apply"
			notes = append(notes, fmt.Sprintf("%s has dev_overrides for the provider: Terraform needs no init with them, but modules, backends and `penstock watch` need one. Remove them, and run `penstock install`.", s.File))
			break
		}
	}
	if o.json {
		return o.printJSON(scaffolded{file, p.Name, within, p.Language, append([]string{}, notes...)})
	}
	what := p.Language
	if what == "" {
		what = "no known language"
	}
	fmt.Fprintf(o.Out, "Wrote %s for %s (%s).\n", file, p.Name, what)
	for _, note := range notes {
		fmt.Fprintf(o.Err, "- %s\n", present.Line(note))
	}
	fmt.Fprintf(o.Err, "Next: cd %s && %s\n", filepath.Dir(file), next)
	return nil
}

// locate finds the repository, and the directory of the service in it.
func (o *initOptions) locate(ctx context.Context) (root, within string, err error) {
	dir := filepath.Join(o.dir, filepath.FromSlash(o.service))
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return "", "", pipeline.Errorf(pipeline.CodeNotFound, opInit, "there is no directory %s", dir).WithHint("Name a directory of a git repository.")
	}
	at, err := filepath.Abs(dir)
	if err == nil {
		at, err = filepath.EvalSymlinks(at)
	}
	if err != nil {
		return "", "", pipeline.Errorf(pipeline.CodeFailed, opInit, "%w", err)
	}
	for root = at; ; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, ".git")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			return "", "", pipeline.Errorf(pipeline.CodeInvalid, opInit, "%s is not in a git repository", dir).
				WithHint("Run `git init` and commit there first, or name a directory of a repository.")
		}
	}
	if within, err = filepath.Rel(root, at); err != nil {
		return "", "", pipeline.Errorf(pipeline.CodeFailed, opInit, "%w", err)
	}
	if within = filepath.ToSlash(within); within == "." {
		within = ""
	}
	if o.service == "" {
		within, err = o.pick(ctx, root, within)
	}
	return root, within, err
}

// pick chooses one of several services, by asking where it can.
func (o *initOptions) pick(ctx context.Context, root, within string) (string, error) {
	services := scaffold.Services(root, within)
	switch len(services) {
	case 0:
		return within, nil
	case 1:
		fmt.Fprintf(o.Err, "The service is in %s.\n", services[0].Directory)
		return services[0].Directory, nil
	}
	var lines []string
	for i, s := range services {
		s.Directory, _ = strings.CutPrefix(s.Directory, strings.TrimPrefix(within+"/", "/"))
		services[i] = s
		lines = append(lines, fmt.Sprintf("  %d  %s (%s)", i+1, s.Directory, s.Language))
	}
	if err := o.canAsk(opInit, false); err != nil {
		return "", pipeline.Errorf(pipeline.CodeInvalid, opInit, "there are several services in %s:\n%s", o.dir, strings.Join(lines, "\n")).
			WithHint("Name one, for example: penstock init --service %s", services[0].Directory)
	}
	answer, err := o.answer(ctx, "There are several services:\n"+strings.Join(lines, "\n")+"\nWhich? ")
	if err != nil {
		return "", err
	}
	for i, s := range services {
		if answer == s.Directory || answer == strconv.Itoa(i+1) {
			return path.Join(within, s.Directory), nil
		}
	}
	return "", pipeline.Errorf(pipeline.CodeInvalid, opInit, "%q is none of them", answer).WithHint("Enter a number, or name a directory with --service.")
}

// choose chooses the directory to write to: one that is new or empty.
func (o *initOptions) choose(service string) (string, error) {
	candidates := []string{filepath.Join(service, "deploy"), filepath.Join(service, "penstock")}
	if o.target != "" {
		abs, err := filepath.Abs(o.target)
		if err != nil {
			return "", pipeline.Errorf(pipeline.CodeFailed, opInit, "%w", err)
		}
		candidates = []string{abs}
	}
	var taken []string
	for _, dir := range candidates {
		entries, err := os.ReadDir(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0:
			return dir, nil
		case err != nil && len(candidates) == 1:
			return "", pipeline.Errorf(pipeline.CodeInvalid, opInit, "%w", err).WithHint("Name a new or an empty directory with --dir.")
		}
		if file := pipelineIn(dir, entries); file != "" {
			return "", pipeline.Errorf(pipeline.CodeConflict, opInit, "there is a configuration already: %s", fromHere(file)).WithHint("It is not overwritten. Remove it, continue with it, or name another directory with --dir.")
		}
		taken = append(taken, fromHere(dir))
	}
	return "", pipeline.Errorf(pipeline.CodeConflict, opInit, "other files are in %s", strings.Join(taken, " and in ")).WithHint("Name a new or an empty directory with --dir.")
}

// pipelineIn returns the file of a directory that has a pipeline in it; empty for none.
func pipelineIn(dir string, entries []fs.DirEntry) string {
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".tf" {
			continue
		}
		file := filepath.Join(dir, e.Name())
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), "penstock-io/penstock") {
			return file
		}
	}
	return ""
}

// settle says in the project where its configuration is to be.
func settle(p *scaffold.Project, root, target string) error {
	if at, err := filepath.EvalSymlinks(filepath.Dir(target)); err == nil { // what does not exist yet leads nowhere
		target = filepath.Join(at, filepath.Base(target))
	}
	up, err := filepath.Rel(target, root)
	if err != nil {
		return pipeline.Errorf(pipeline.CodeInvalid, opInit, "%w", err).WithHint("With --dir, name a directory from which the repository can be reached.")
	}
	p.Repository, p.Deploy = filepath.ToSlash(up), ""
	inside, err := filepath.Rel(filepath.Join(root, filepath.FromSlash(p.Directory)), target)
	if err == nil && filepath.IsLocal(inside) && inside != "." {
		p.Deploy = filepath.ToSlash(inside)
	}
	return nil
}

// fromHere returns a path as one from the working directory, where that is shorter.
func fromHere(file string) string {
	here, err := os.Getwd()
	if err != nil {
		return file
	}
	if at, err := filepath.EvalSymlinks(here); err == nil {
		here = at
	}
	if rel, err := filepath.Rel(here, file); err == nil && len(rel) < len(file) {
		return rel
	}
	return file
}

// writeNew writes a file that does not exist; CodeConflict where it does.
func writeNew(name, text string) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return pipeline.Errorf(pipeline.CodeConflict, "write pipeline", "%s exists already", name).WithHint("It is not overwritten. Remove it, or continue with it.")
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
