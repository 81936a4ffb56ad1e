// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package filetree

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/store"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace"
)

// MakeRoot makes the tree that an instance works in, a copy of the fleet's, unless
// it is there.
func MakeRoot(ctx context.Context, images *store.Store, fleetDir string, rec protocol.FleetRecord, name string) (string, error) {
	root := filepath.Join(fleetDir, name, protocol.InstanceRoot)
	if _, err := os.Lstat(root); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return root, err
	}
	next := root + ".tmp"
	if err := workplace.RemoveTree(next); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(next), 0o700); err != nil {
		return "", err
	}
	var err error
	switch {
	case rec.Installed:
		err = Copy(ctx, filepath.Join(fleetDir, protocol.InstalledDir), next)
	default:
		err = Make(ctx, images, rec.Image, next, store.Options{ReadOnly: rec.Service.ReadOnlyRoot})
	}
	if err != nil {
		return "", errors.Join(err, workplace.RemoveTree(next))
	}
	return root, os.Rename(next, root)
}

// Make makes a tree of an image, or an empty one.
func Make(ctx context.Context, images *store.Store, image, dest string, o store.Options) error {
	if image == "" {
		return os.Mkdir(dest, 0o755)
	}
	return images.Materialize(ctx, image, dest, o)
}
