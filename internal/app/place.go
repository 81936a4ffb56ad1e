// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// defaultWorkspace is Terraform's name for the workspace that there always is.
const defaultWorkspace = "default"

// owner names the configuration in a directory: the directory, and Terraform's workspace
// where it is not the default one.
func owner(dir string) string {
	if name := workspace(); name != defaultWorkspace {
		return dir + ", workspace " + name
	}
	return dir
}

// workspace is the workspace that Terraform works in, as far as its plugins can see.
func workspace() string {
	if name := os.Getenv("TF_WORKSPACE"); name != "" {
		return name
	}
	chosen, err := os.ReadFile(filepath.Join(cmp.Or(os.Getenv("TF_DATA_DIR"), ".terraform"), "environment"))
	if err != nil {
		return defaultWorkspace // nobody has chosen one
	}
	return cmp.Or(strings.TrimSpace(string(chosen)), defaultWorkspace)
}

// workingDir is the directory that Terraform runs in.
func workingDir() string {
	dir, err := os.Getwd()
	if err != nil {
		return "unknown"
	}
	return dir
}

// sharedDir names a directory in the same way on every machine of a team: by its
// repository and its place there; one that is in no repository with a remote, by itself.
func sharedDir(dir string) string {
	git := func(args ...string) ([]byte, error) {
		cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
		cmd.Env = process.Environ(nil) // without those of a hook that started this
		return cmd.Output()
	}
	remote, err := git("config", "--get", "remote.origin.url")
	if err != nil {
		return dir
	}
	prefix, err := git("rev-parse", "--show-prefix")
	if err != nil {
		return dir
	}
	return strings.TrimSpace(string(remote)) + "//" + strings.Trim(strings.TrimSpace(string(prefix)), "/")
}

// place is where a data directory is.
type place struct {
	Host string `json:"host"`
	Dir  string `json:"dir"`
}

// identify finds out which ledger this is. A data directory may be moved: then its ledger is
// the one that it was. A copy beside the original is refused, as CodeConflict: the two would
// know of the same processes, and each would end those of the other.
func (a *App) identify(ctx context.Context, l *ledger.SQLite) error {
	id, recorded, err := l.Identity(ctx)
	if err != nil {
		return err
	}
	here := place{Host: a.holder.Host, Dir: a.Dir}
	if dir, err := filepath.EvalSymlinks(a.Dir); err == nil {
		here.Dir = dir
	}
	a.Identity, a.Place = id, "data directory "+here.Dir+" on "+here.Host
	var before place
	_ = json.Unmarshal([]byte(recorded), &before) // empty at first
	if before == here {
		return nil
	}
	if before.Host == here.Host {
		other, err := ledger.IdentityIn(ctx, filepath.Join(before.Dir, ledgerFile))
		switch {
		case err != nil && pipeline.CodeOf(err) != pipeline.CodeNotFound:
			return err
		case other == id:
			return pipeline.Errorf(pipeline.CodeConflict, "open data directory", "%s is a copy of %s, which still exists", here.Dir, before.Dir).
				WithHint("Work with the original, or remove the copy. To move it, remove the original after the copy was made.")
		}
	}
	text, err := json.Marshal(here)
	if err != nil {
		return pipeline.Errorf(pipeline.CodeInternal, "open data directory", "%w", err)
	}
	return l.SetPlace(ctx, string(text))
}
