// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/store"
)

var _ pipeline.Platform = (*Platform)(nil)

// Options configure a Platform.
type Options struct {
	Dir        string           // data directory; images/ and environments/ are made below it
	ImagesOf   string           // data directory whose images are launched; empty: Dir
	Work       string           // directory in no repository, where the trees of bakes and fleets are
	Executable []string         // starts a supervisor; nil means this binary with its argument
	Logger     hclog.Logger     // nil discards
	Now        func() time.Time // nil means time.Now
}

// Platform keeps images and environments below a directory of this machine. Any
// number of them, in any number of processes, may work on one directory.
type Platform struct {
	shared
	Options
	store *store.Store
	by    []pipeline.Fence // under which things are changed
}

// New returns the platform of a data directory, which need not exist yet.
func New(o Options) *Platform {
	if abs, err := filepath.Abs(o.Dir); err == nil {
		o.Dir = abs
	}
	if abs, err := filepath.Abs(o.Work); err == nil {
		o.Work = abs
	}
	if abs, err := filepath.Abs(o.ImagesOf); err == nil && o.ImagesOf != "" {
		o.ImagesOf = abs
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Executable == nil {
		self, err := os.Executable()
		o.Executable = []string{cmp.Or(self, os.Args[0]), protocol.SuperviseArgument}
		if err != nil {
			o.Logger.Warn("find this program", "error", err)
		}
	}
	return &Platform{Options: o, store: store.Open(filepath.Join(cmp.Or(o.ImagesOf, o.Dir), protocol.ImagesDir))}
}

func (p *Platform) environments() string { return filepath.Join(p.Dir, protocol.EnvironmentsDir) }

// linkImages lets the supervisors of a directory find the images of another.
func (p Options) linkImages() error {
	if p.ImagesOf == "" {
		return nil
	}
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return err
	}
	err := os.Symlink(filepath.Join(p.ImagesOf, protocol.ImagesDir), filepath.Join(p.Dir, protocol.ImagesDir))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func (p *Platform) dir(environment string) string {
	return filepath.Join(p.environments(), environment)
}

// fleets is where the fleets of an environment are, with the trees of their instances.
func (p *Platform) fleets(environment string) string {
	return filepath.Join(p.Work, protocol.EnvironmentsDir, environment)
}

// name is what an ID of at most nameLength must look like to be the name of a directory.
var name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

const nameLength = 128

func checkID(op, what, id string) error {
	if len(id) > nameLength || !name.MatchString(id) {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%s ID %q is not made of at most %d letters, digits, dots, dashes and underscores", what, id, nameLength)
	}
	return nil
}

func noEnvironment(op, id string) error {
	return pipeline.Errorf(pipeline.CodeNotFound, op, "there is no environment %s on this machine", id)
}

// names lists the entries of a directory that may not exist.
func names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && name.MatchString(e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// Under implements pipeline.Platform. A change is admitted where it is made, and nothing
// comes between.
func (p *Platform) Under(by ...pipeline.Fence) pipeline.Platform {
	under := *p
	under.by = by
	return &under
}

// admit refuses a change under a lease that another has taken over.
func (p *Platform) admit(ctx context.Context, op string) error {
	return protocol.FencesOf(p.Dir).Admit(ctx, op, p.by)
}
