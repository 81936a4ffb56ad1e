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
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/store"
)

var _ pipeline.Platform = (*Platform)(nil)

// Options configure a Platform.
type Options struct {
	Dir        string           // data directory; images/ and environments/ are made below it
	Work       string           // directory in no repository, where the trees of bakes and fleets are
	Executable []string         // starts a supervisor; nil means this binary with its argument
	Logger     hclog.Logger     // nil discards
	Now        func() time.Time // nil means time.Now
}

// Platform keeps images and environments below a directory of this machine. Any
// number of them, in any number of processes, may work on one directory.
type Platform struct {
	Options
	store *store.Store
}

// New gives the platform of a data directory, which need not exist yet.
func New(o Options) *Platform {
	if abs, err := filepath.Abs(o.Dir); err == nil {
		o.Dir = abs
	}
	if abs, err := filepath.Abs(o.Work); err == nil {
		o.Work = abs
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Executable == nil {
		self, err := os.Executable()
		o.Executable = []string{cmp.Or(self, os.Args[0]), superviseArgument}
		if err != nil {
			o.Logger.Warn("find this program", "error", err)
		}
	}
	return &Platform{Options: o, store: store.Open(filepath.Join(o.Dir, imagesDir))}
}

// The directories below the data directory. Fleets have one of the same name as their
// environment's below the work directory.
const (
	imagesDir       = "images"
	environmentsDir = "environments"
)

func (p *Platform) environments() string { return filepath.Join(p.Dir, environmentsDir) }

func (p *Platform) dir(environment string) string {
	return filepath.Join(p.environments(), environment)
}

// fleets is where the fleets of an environment are, with the trees of their instances.
func (p *Platform) fleets(environment string) string {
	return filepath.Join(p.Work, environmentsDir, environment)
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

// coded gives err a code where it has none: cancelled when ctx ended, failed for
// what the system refused, such as a full disk.
func coded(ctx context.Context, op string, err error) error {
	var own *pipeline.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own) && (own.Code == pipeline.CodeCancelled || ctx.Err() == nil):
		return err
	case ctx.Err() != nil:
		return &pipeline.Error{Code: pipeline.CodeCancelled, Op: op, Err: err}
	}
	failed := pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return failed.WithHint("Give this user the right to write there, or set data_dir to another directory.")
	case errors.Is(err, syscall.ENOSPC):
		return failed.WithHint("The disk is full. Free some room, for example with `penstock gc`, and try again.")
	}
	return failed
}
