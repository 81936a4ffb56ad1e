// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// packages returns the packages that differ between the images at the heads of two lineages.
func (r *Reports) packages(ctx context.Context, st *pipeline.State, l Lineage) ([]pipeline.PackageChange, error) {
	none := []pipeline.PackageChange{}
	if len(l.From) == 0 || len(l.To) == 0 || l.From[0] == l.To[0] {
		return none, nil
	}
	from, err := r.packagesOf(ctx, st, l.From)
	if err != nil || from == nil {
		return none, err
	}
	to, err := r.packagesOf(ctx, st, l.To)
	if err != nil || to == nil {
		return none, err
	}
	return pipeline.ComparePackages(from, to), nil
}

// packagesOf returns the packages of an image, or of the image that it was baked from; nil if
// no record has them.
func (r *Reports) packagesOf(ctx context.Context, st *pipeline.State, lineage []string) ([]pipeline.Package, error) {
	for _, id := range lineage {
		kept := st.Images[id].Packages
		if kept == nil {
			continue
		}
		list, err := readPackages(ctx, r, *kept)
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

func readPackages(ctx context.Context, r *Reports, kept pipeline.Artifact) (list []pipeline.Package, err error) {
	path, err := r.artifacts.Get(ctx, kept)
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
