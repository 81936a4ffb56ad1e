// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// ImageUse is an image with what keeps it.
type ImageUse struct {
	pipeline.Image
	BuildNumber int64    `json:"build_number,omitempty"` // absent where it is not known
	Uses        []string `json:"uses"`                   // in words; empty: a collection removes it
	There       bool     `json:"there"`                  // the platform has it
}

// Images lists the images of a pipeline, or of all, by name and the newest first, and the
// images of the platform that no record names, which have no pipeline.
func (r *Reports) Images(ctx context.Context, pipelineName string) ([]ImageUse, error) {
	existing, err := r.platform.Images(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	all, err := r.states.All(ctx)
	if err != nil {
		return nil, err
	}
	if _, ok := all[pipelineName]; pipelineName != "" && !ok {
		return nil, state.NoPipeline(pipelineName)
	}
	there, known, uses := map[string]int64{}, map[string]bool{}, collect.Uses(all)
	for _, image := range existing {
		there[image.ID] = image.Size
	}
	list := []ImageUse{}
	for name, st := range all {
		for id, image := range st.Images {
			known[id] = true
			if pipelineName == "" || name == pipelineName {
				_, is := there[id]
				list = append(list, ImageUse{image, st.Builds[image.Build].Number, append([]string{}, uses[id]...), is})
			}
		}
	}
	for id, size := range there {
		if !known[id] && pipelineName == "" {
			list = append(list, ImageUse{pipeline.Image{ID: id, Size: size}, 0, append([]string{}, uses[id]...), true})
		}
	}
	slices.SortFunc(list, func(a, b ImageUse) int {
		return cmp.Or(cmp.Compare(a.Pipeline, b.Pipeline), cmp.Compare(a.Name, b.Name), cmp.Compare(b.Order, a.Order), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}
