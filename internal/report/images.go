// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

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
	Channels    []Leads  `json:"channels,omitempty"`     // that lead to it
}

// Leads is a channel that leads to an image.
type Leads struct {
	Name        string            `json:"name"`
	Pipeline    string            `json:"pipeline"`
	Stage       string            `json:"stage"`                                    // that publishes; image/NAME for a baked image
	Build       string            `json:"build,omitempty"`                          // whose image it is; absent for a baked image
	BuildNumber int64             `json:"build_number,omitempty"`                   // absent where it is not known
	Images      map[string]string `json:"images,omitempty" shape:"image_by_region"` // IDs of the image and its copies
	Since       time.Time         `json:"since"`
}

// LeadsOf returns the channels that lead to an image, by pipeline and name.
func LeadsOf(all map[string]*pipeline.State, image string) (list []Leads) {
	for _, st := range all {
		for _, c := range st.Channels {
			if c.Image == image && c.Name != "" {
				list = append(list, Leads{c.Name, c.Pipeline, c.Stage, c.Build, st.Builds[c.Build].Number, c.Images, c.At})
			}
		}
	}
	slices.SortFunc(list, func(a, b Leads) int { return cmp.Or(cmp.Compare(a.Pipeline, b.Pipeline), cmp.Compare(a.Name, b.Name)) })
	return list
}

// ImagesOf lists the images to which a channel leads, each with that channel only: one, if
// pipelines have none of the same name. It returns CodeNotFound if there is no such channel, or if it leads nowhere.
func (r *Reports) ImagesOf(ctx context.Context, pipelineName, channel string) ([]ImageUse, error) {
	all, err := r.Images(ctx, pipelineName)
	if err != nil {
		return nil, err
	}
	list := leading(all, pipelineName, channel)
	if len(list) == 0 {
		return nil, pipeline.Errorf(pipeline.CodeNotFound, "find channel", "no channel %q leads to an image", channel).
			WithHint("A channel begins to lead to an image when a build passes a stage with publish, and ends when none is left that passed.")
	}
	return list, nil
}

// leading returns the images to which channels of a name lead. Pipelines may have the same image,
// and a channel may lead to one of another pipeline: each is with the image of its own pipeline, or
// else with the first one.
func leading(all []ImageUse, pipelineName, channel string) (list []ImageUse) {
	own, told := map[string]bool{}, map[string]bool{}
	for _, i := range all {
		own[i.ID+"/"+i.Pipeline] = true
	}
	for _, i := range all {
		var channels []Leads
		for _, c := range i.Channels {
			others := c.Pipeline != i.Pipeline && own[i.ID+"/"+c.Pipeline]
			if key := c.Pipeline + "/" + c.Stage; c.Name == channel && (pipelineName == "" || c.Pipeline == pipelineName) && !others && !told[key] {
				channels, told[key] = append(channels, c), true
			}
		}
		if i.Channels = channels; len(channels) > 0 {
			list = append(list, i)
		}
	}
	return list
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
				list = append(list, ImageUse{image, st.Builds[image.Build].Number, append([]string{}, uses[id]...), is, LeadsOf(all, id)})
			}
		}
	}
	for id, size := range there {
		if !known[id] && pipelineName == "" {
			list = append(list, ImageUse{pipeline.Image{ID: id, Size: size}, 0, append([]string{}, uses[id]...), true, LeadsOf(all, id)})
		}
	}
	slices.SortFunc(list, func(a, b ImageUse) int {
		return cmp.Or(cmp.Compare(a.Pipeline, b.Pipeline), cmp.Compare(a.Name, b.Name), cmp.Compare(b.Order, a.Order), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}
