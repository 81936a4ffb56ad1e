// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Command docs generates the provider's documentation from its schema, the schemas of
// the commands' JSON, the templates and the examples, without a network. With -check it changes nothing,
// and fails where the documentation is not what it would generate.
//
//	docs -root .. -binary ../bin/terraform-provider-penstock -terraform /usr/bin/terraform
//
// It runs in the directory of the tools, as it calls one of them.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hashicorp/go-version"

	"github.com/penstock-io/terraform-provider-penstock/tools/internal/program"
)

// source is the address under which tfplugindocs looks for a provider's schema.
const source = "registry.terraform.io/hashicorp/penstock"

// oldest is the first Terraform, and OpenTofu, that tells the whole schema.
var oldest = version.Must(version.NewVersion("1.11.0"))

func main() {
	var g generator
	flag.StringVar(&g.root, "root", "..", "the repository")
	flag.StringVar(&g.binary, "binary", "../bin/terraform-provider-penstock", "the provider")
	flag.StringVar(&g.terraform, "terraform", "terraform", "the terraform to ask for the schema")
	check := flag.Bool("check", false, "only report whether the documentation is current")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := g.run(ctx, *check)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "generate docs:", err)
		os.Exit(1)
	}
}

type generator struct {
	root, binary, terraform string
	work                    string // a directory in the root, for the time of the run
}

func (g *generator) run(ctx context.Context, check bool) error {
	got, err := program.TerraformVersion(ctx, g.terraform)
	if err != nil {
		return fmt.Errorf("%s: %w", g.terraform, err)
	}
	if got.LessThan(oldest) {
		return fmt.Errorf("%s is version %s, which leaves write-only arguments out of a schema: use %s or newer", g.terraform, got, oldest)
	}
	if g.root, err = filepath.Abs(g.root); err != nil {
		return err
	}
	if g.binary, err = filepath.Abs(g.binary); err != nil {
		return err
	}
	cache := filepath.Join(g.root, ".cache")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	if g.work, err = os.MkdirTemp(cache, "docs-"); err != nil {
		return err
	}
	defer os.RemoveAll(g.work)

	schema, err := g.schema(ctx)
	if err != nil {
		return err
	}
	if err := g.render(ctx, schema); err != nil {
		return err
	}
	docs, rendered := filepath.Join(g.root, "docs"), filepath.Join(g.work, "docs")
	if check {
		return compare(ctx, docs, rendered)
	}
	if err := os.RemoveAll(docs); err != nil {
		return err
	}
	return os.Rename(rendered, docs)
}

// schema returns the path of a file with the provider's schema, as Terraform tells it.
func (g *generator) schema(ctx context.Context) (string, error) {
	for name, content := range map[string]string{
		"main.tf": fmt.Sprintf("terraform {\n  required_providers {\n    penstock = {\n      source = %q\n    }\n  }\n}\n", source),
		"terraform.rc": fmt.Sprintf("provider_installation {\n  dev_overrides {\n    %q = %q\n  }\n  direct {}\n}\n",
			source, filepath.Dir(g.binary)),
	} {
		if err := os.WriteFile(filepath.Join(g.work, name), []byte(content), 0o644); err != nil {
			return "", err
		}
	}
	cmd := exec.CommandContext(ctx, g.terraform, "providers", "schema", "-json")
	cmd.Dir = g.work
	cmd.Env = append(withoutTerraform(os.Environ()),
		"TF_CLI_CONFIG_FILE="+filepath.Join(g.work, "terraform.rc"), "CHECKPOINT_DISABLE=1")
	out, err := output(cmd)
	if err != nil {
		return "", err
	}
	if !bytes.Contains(out, []byte(source)) {
		return "", fmt.Errorf("%s printed no schema of %s; is it a terraform?", g.terraform, source)
	}
	path := filepath.Join(g.work, "schema.json")
	return path, os.WriteFile(path, out, 0o644)
}

// render writes the documentation to a directory of the work directory. The
// generator empties the directory that it writes to.
func (g *generator) render(ctx context.Context, schema string) error {
	rendered, err := filepath.Rel(g.root, filepath.Join(g.work, "docs"))
	if err != nil {
		return err
	}
	templates, err := g.templates()
	if err != nil {
		return err
	}
	if templates, err = filepath.Rel(g.root, templates); err != nil {
		return err
	}
	_, err = output(exec.CommandContext(ctx, "go", "tool", "tfplugindocs", "generate",
		"--provider-dir", g.root, "--provider-name", "penstock", "--rendered-provider-name", "Penstock",
		"--providers-schema", schema, "--website-source-dir", templates,
		"--examples-dir", "examples", "--rendered-website-dir", rendered))
	return err
}

// compare prints the differences between the documentation there is and that
// rendered, and returns an error if there are any.
func compare(ctx context.Context, docs, rendered string) error {
	if _, err := os.Stat(docs); err != nil {
		return errors.New("there is no docs/: run make docs, and commit it")
	}
	cmd := exec.CommandContext(ctx, "git", "--no-pager", "diff", "--no-index", "--no-ext-diff", "--", docs, rendered)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return errors.New("docs/ is not what the schema, the templates and the examples give: run make docs, and commit it")
	}
	return err
}

// withoutTerraform drops the variables that change what Terraform does or prints.
func withoutTerraform(env []string) []string {
	var kept []string
	for _, v := range env {
		if !strings.HasPrefix(v, "TF_") {
			kept = append(kept, v)
		}
	}
	return kept
}

// output returns what a command prints; its error holds what the command complained of.
func output(cmd *exec.Cmd) ([]byte, error) {
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args[:min(len(cmd.Args), 4)], " "), err, complaint.Bytes())
	}
	return out.Bytes(), nil
}
