// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// The packages of an image are some thousands, too many for a record that every reader of the
// ledger reads. So the list is an artifact, and the image's record has its digest.

// packagesFile is the name of such an artifact.
const packagesFile = "packages.json"

// keepPackages stores the packages of a baked image, and returns what the image's record says
// of them. It returns nil if they are not known, or could not be stored: the log says so, and
// that is no reason to lose the image.
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
	if err := os.MkdirAll(a.work, 0o700); err != nil { // a process that finishes the run of another has none
		return pipeline.Artifact{}, err
	}
	path := filepath.Join(a.work, packagesFile)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return pipeline.Artifact{}, err
	}
	return a.artifacts.Put(ctx, path)
}
