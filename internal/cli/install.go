// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/install"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

type installOptions struct {
	*factory
	bin string
}

func newInstall(f *factory, runF func(context.Context, *installOptions) error) *cobra.Command {
	o := &installOptions{factory: f}
	if runF == nil {
		runF = runInstall
	}
	c := &cobra.Command{
		Use:   "install",
		Short: "Install this program for Terraform, OpenTofu and the shell",
		Long: "Install this program in two places. The provider goes into the directory plugins of ~/.terraform.d, where\n" +
			"Terraform and OpenTofu look for providers that no registry has. The command penstock goes into ~/.local/bin,\n" +
			"or another directory of yours that is on PATH. The installation needs no network and no rights except yours.\n" +
			"It changes none of your settings; if they keep Terraform from looking there, it says so.\n\n" +
			"Releases are kept side by side. A development build replaces the previous one; directories that were\n" +
			"initialised with that one need `terraform init -upgrade`.",
		Args: args(0, 0),
		RunE: func(c *cobra.Command, _ []string) error { return runF(c.Context(), o) },
	}
	c.Flags().StringVar(&o.bin, "bin", "", "the directory for the command")
	return c
}

// installation is the JSON shape of what was installed.
type installation struct {
	install.Installed
	Notes []string `json:"notes"` // what there is to do by hand
}

func runInstall(_ context.Context, o *installOptions) error {
	self, err := os.Executable()
	if err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, "install penstock", "%w", err)
	}
	done, err := install.Install(install.Options{Binary: self, Version: o.version, Bin: o.bin})
	if err != nil {
		return err
	}
	notes := installNotes(done, install.Settings())
	if o.json {
		return o.printJSON(installation{done, append([]string{}, notes...)})
	}
	fmt.Fprintf(o.Out, "Installed penstock %s.\n  provider  %s\n  command   %s\n", done.Version, done.Mirror, done.Command)
	for _, note := range notes {
		fmt.Fprintf(o.Err, "- %s\n", strings.ReplaceAll(note, "\n", "\n  "))
	}
	return nil
}

// installNotes says what there is to do by hand.
func installNotes(done install.Installed, settings []install.Setting) (notes []string) {
	switch dir := filepath.Dir(done.Command); {
	case !done.OnPath:
		notes = append(notes, fmt.Sprintf("%s is not on PATH. Add it, also in the shell's start-up file:\n"+
			"  export PATH=\"%s:$PATH\"", dir, dir))
	case done.Shadowed != "":
		notes = append(notes, fmt.Sprintf("%s comes first on PATH, and is another penstock. Remove it.", done.Shadowed))
	}
	if len(done.Replaced) > 0 {
		notes = append(notes, fmt.Sprintf("It replaces %s. Run `terraform init -upgrade` in directories that use it.", strings.Join(done.Replaced, " and ")))
	}
	if release, _, _ := strings.Cut(done.Version, "+"); strings.Contains(release, "-") {
		notes = append(notes, fmt.Sprintf("Terraform selects a pre-release only if the configuration asks for it: version = %q.", done.Version))
	}
	if done.Newer != "" {
		notes = append(notes, fmt.Sprintf("Terraform selects %s, which is also installed and is newer. Remove it from %s, or ask for this one in the configuration.", done.Newer, done.Mirror))
	}
	for _, s := range settings {
		if s.Override != "" {
			notes = append(notes, fmt.Sprintf("%s has dev_overrides for the provider, so Terraform takes the one in %s. Remove them.", s.File, s.Override))
		}
		if s.Hides {
			notes = append(notes, fmt.Sprintf("%s has a provider_installation block, so Terraform does not look for the provider by itself. Add to the block:\n"+
				"  filesystem_mirror {\n    path    = %q\n    include = [\"penstock-io/penstock\"]\n  }\n"+
				"and, where it has direct or network_mirror, exclude = [\"penstock-io/penstock\"] there.", s.File, done.Mirror))
		}
	}
	return notes
}
