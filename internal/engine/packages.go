// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// The packages of an image are some thousands, too many for a record that every reader of
// the ledger reads. So the list is an artifact, and the image's record has its digest.

// packagesFile is the name of such an artifact.
const packagesFile = "packages.json"

// keepPackages stores the packages of an image that was baked, and returns what the image's
// record says of them: nil where they are not known, or could not be stored, which the
// log says and which is no reason to lose the image.
func (a *attempt) keepPackages(ctx context.Context, baked pipeline.BakedImage) *pipeline.Artifact {
	if baked.Packages == nil {
		return nil
	}
	kept, err := a.storePackages(ctx, baked.Packages)
	if err != nil {
		a.logf("the packages of image %s could not be stored: %v", baked.ID, err)
		return nil
	}
	a.logf("packages in image %s: %d", baked.ID, len(baked.Packages))
	return &kept
}

func (a *attempt) storePackages(ctx context.Context, list []pipeline.Package) (pipeline.Artifact, error) {
	data, err := json.Marshal(list)
	if err != nil {
		return pipeline.Artifact{}, err
	}
	if err := os.MkdirAll(a.work, 0o700); err != nil { // none is there in a process that finishes the run of another
		return pipeline.Artifact{}, err
	}
	path := filepath.Join(a.work, packagesFile)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return pipeline.Artifact{}, err
	}
	return a.Artifacts.Put(ctx, path)
}

// packages returns the packages that differ between the images at the heads of two lineages.
func (e *Engine) packages(ctx context.Context, st *pipeline.State, l Lineage) ([]pipeline.PackageChange, error) {
	none := []pipeline.PackageChange{}
	if len(l.From) == 0 || len(l.To) == 0 || l.From[0] == l.To[0] {
		return none, nil
	}
	from, err := e.packagesOf(ctx, st, l.From)
	if err != nil || from == nil {
		return none, err
	}
	to, err := e.packagesOf(ctx, st, l.To)
	if err != nil || to == nil {
		return none, err
	}
	return pipeline.ComparePackages(from, to), nil
}

// packagesOf returns the packages of an image, or of what it was baked from; nil where no
// record says.
func (e *Engine) packagesOf(ctx context.Context, st *pipeline.State, lineage []string) ([]pipeline.Package, error) {
	for _, id := range lineage {
		kept := st.Images[id].Packages
		if kept == nil {
			continue
		}
		list, err := e.readPackages(ctx, *kept)
		if pipeline.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read packages of image %s: %w", id, err)
		}
		return list, nil
	}
	return nil, nil
}

func (e *Engine) readPackages(ctx context.Context, kept pipeline.Artifact) (list []pipeline.Package, err error) {
	path, err := e.Artifacts.Get(ctx, kept)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(json.NewDecoder(file).Decode(&list), file.Close()); err != nil {
		return nil, pipeline.Errorf(pipeline.CodeCorrupt, "read packages", "%w", err)
	}
	return pipeline.Packages(list), nil
}
