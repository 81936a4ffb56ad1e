// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package install puts the provider where Terraform and OpenTofu look for one that no
// registry has, and the penstock command where the shell finds it. It knows what a
// user's own settings of the two make of that. It downloads nothing and removes nothing
// but the development builds that it installed itself.
//
//	done, err := install.Install(install.Options{Binary: self, Version: version})
package install

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/hashicorp/go-version"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// provider is the provider's address without a registry, and registries are those whose
// name it has: Terraform's and OpenTofu's.
const provider = "penstock-io/penstock"

var registries = []string{"registry.terraform.io", "registry.opentofu.org"}

// Options say what to install, and where. Zero fields mean what a user expects.
type Options struct {
	Binary  string // the program, which is provider and command in one
	Version string // as it was built: a release, or what `git describe` says
	Bin     string // the directory for the command; empty: one of the user's that is on PATH, if there is
}

// Installed is what an installation has done.
type Installed struct {
	Version  string   `json:"version"` // that Terraform sees
	Mirror   string   `json:"mirror"`  // the directory that Terraform looks in
	Command  string   `json:"command"` // the path of the penstock command
	OnPath   bool     `json:"on_path"` // the shell finds it by its name
	Shadowed string   `json:"shadowed_by,omitempty"`
	Replaced []string `json:"replaced"`        // development builds that were removed
	Newer    string   `json:"newer,omitempty"` // the version that Terraform selects instead
}

// Install installs the program. It may be repeated, and be killed anywhere: what is in its
// place is complete.
func Install(o Options) (Installed, error) {
	const op = "install penstock"
	sum, err := digest(o.Binary)
	if err != nil {
		return Installed{}, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	done := Installed{Version: Version(o.Version, sum), Replaced: []string{}}
	home, err := os.UserHomeDir()
	if err != nil {
		return done, pipeline.Errorf(pipeline.CodeInvalid, op, "%w", err).WithHint("Set HOME to your home directory, in which Terraform looks for providers.")
	}
	done.Mirror = mirror(home)
	if err := done.provide(o.Binary); err != nil {
		return done, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	bin := o.Bin
	if bin == "" {
		bin = binDir(home)
	}
	if done.Command, err = filepath.Abs(filepath.Join(bin, "penstock"+executable)); err == nil {
		err = put(o.Binary, done.Command, filepath.Dir(done.Command))
	}
	if err != nil {
		return done, pipeline.Errorf(pipeline.CodeFailed, op, "the provider is installed in %s, but the command is not: %w", done.Mirror, err).
			WithHint("Name another directory with --bin.")
	}
	done.OnPath = onPath(filepath.Dir(done.Command))
	if found, err := exec.LookPath("penstock"); err == nil && !same(found, done.Command) {
		done.Shadowed = found
	}
	return done, nil
}

// provide installs the provider, and removes the development builds before it.
func (done *Installed) provide(binary string) error {
	name := "terraform-provider-penstock_v" + done.Version + executable
	first := ""
	for _, registry := range registries {
		all := filepath.Join(done.Mirror, registry, filepath.FromSlash(provider))
		file := filepath.Join(all, done.Version, runtime.GOOS+"_"+runtime.GOARCH, name)
		if first == "" || os.MkdirAll(filepath.Dir(file), 0o755) != nil || os.Link(first, file) != nil {
			if err := put(binary, file, done.Mirror); err != nil {
				return err
			}
		}
		first = file
		gone, err := replace(all, done.Version)
		if err != nil {
			return err
		}
		for _, v := range gone {
			if !slices.Contains(done.Replaced, v) {
				done.Replaced = append(done.Replaced, v)
			}
		}
		done.Newer = newer(all, done.Version)
	}
	return nil
}

// executable ends the name of a program.
var executable = map[bool]string{true: ".exe"}[runtime.GOOS == "windows"]

// described is what `git describe --tags --always --dirty` prints, and what it prints for a
// commit that has a version for a tag.
var described = regexp.MustCompile(`^v?(\d+\.\d+\.\d+)(-[0-9A-Za-z.]+)??(-\d+-g[0-9a-f]+)?(-dirty)?$`)

// Version returns the version by which Terraform knows a program that was built as built,
// and whose content has the given SHA-256. A release and a pre-release are themselves. Of
// any other build it is that of the release before it with a higher patch number, or 0.0.0,
// and the beginning of the digest as build metadata: Terraform takes it for a release, so
// that constraints match it, and never has two programs under one version, which its lock
// file would take for an attack.
func Version(built, sum string) string {
	m := described.FindStringSubmatch(built)
	if m != nil && m[3]+m[4] == "" {
		return m[1] + m[2]
	}
	base := "0.0.0"
	if m != nil {
		v := version.Must(version.NewVersion(m[1]))
		parts := v.Segments()
		if m[2] == "" {
			parts[2]++
		}
		base = fmt.Sprintf("%d.%d.%d", parts[0], parts[1], parts[2])
	}
	return base + development + sum[:min(12, len(sum))]
}

// development marks the versions of development builds.
const development = "+dev."

// mirror returns the directory in which Terraform and OpenTofu look by default.
// Where OpenTofu keeps its settings elsewhere as long as there is no ~/.terraform.d, none is
// made: the directory that both share in the user's data does as well.
func mirror(home string) string {
	if runtime.GOOS == "windows" {
		return filepath.Join(os.Getenv("APPDATA"), "terraform.d", "plugins")
	}
	own := filepath.Join(home, ".terraform.d")
	if _, err := os.Stat(own); err == nil || os.Getenv("XDG_CONFIG_HOME") == "" && os.Getenv("XDG_DATA_HOME") == "" {
		return filepath.Join(own, "plugins")
	}
	if runtime.GOOS == "darwin" {
		return filepath.Join(home, "Library", "Application Support", "io.terraform", "plugins")
	}
	data := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(data) { // as the specification has it
		data = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(data, "terraform", "plugins")
}

// binDir chooses the directory for the command.
func binDir(home string) string {
	usual := []string{filepath.Join(home, ".local", "bin"), filepath.Join(home, "bin")}
	for _, dir := range usual {
		if onPath(dir) {
			return dir
		}
	}
	return filepath.Join(home, ".local", "bin")
}

func onPath(dir string) bool {
	return slices.ContainsFunc(filepath.SplitList(os.Getenv("PATH")), func(p string) bool { return p != "" && filepath.Clean(p) == filepath.Clean(dir) })
}

func same(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// put copies a program into its place, which holds a complete one at any time. What is
// incomplete is in another directory of the same file system: Terraform takes all files
// beside a provider for part of it.
func put(from, to, beside string) error {
	if same(from, to) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.CreateTemp(beside, ".penstock-install-")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Chmod(0o755), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), to)
}

// replace removes the development builds in a provider's directory of a mirror but one, and
// returns their versions.
func replace(all, keep string) ([]string, error) {
	entries, err := os.ReadDir(all)
	if err != nil {
		return nil, err
	}
	var gone []string
	for _, e := range entries {
		if strings.Contains(e.Name(), development) && e.Name() != keep {
			if err := os.RemoveAll(filepath.Join(all, e.Name())); err != nil {
				return gone, err
			}
			gone = append(gone, e.Name())
		}
	}
	return gone, nil
}

// newer returns the newest release in a provider's directory of a mirror that is newer than
// a version; empty for none.
func newer(all, than string) string {
	newest, err := version.NewVersion(than)
	entries, readErr := os.ReadDir(all)
	if err != nil || readErr != nil {
		return ""
	}
	found := ""
	for _, e := range entries {
		if v, err := version.NewVersion(e.Name()); err == nil && v.Prerelease() == "" && v.GreaterThan(newest) {
			newest, found = v, e.Name()
		}
	}
	return found
}

func digest(file string) (string, error) {
	in, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer in.Close()
	h := sha256.New()
	if _, err := io.Copy(h, in); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
