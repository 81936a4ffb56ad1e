// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package collect

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Uses returns, in words, what keeps images and artifacts, by their IDs and digests.
func Uses(all map[string]*pipeline.State) map[string][]string {
	uses := map[string][]string{}
	for _, st := range all {
		needs(st, uses)
	}
	for _, st := range all {
		for id, image := range st.Images { // the list goes with its image
			if image.Packages != nil && len(uses[id]) > 0 {
				uses[image.Packages.Digest] = append(uses[image.Packages.Digest], "packages of image "+id)
			}
		}
	}
	return uses
}

// needs adds what keeps the images and artifacts that a pipeline needs: its builds, its
// unfinished runs, its environments, its stages, and the newest images of its image
// definitions.
func needs(st *pipeline.State, uses map[string][]string) {
	use := func(id, format string, args ...any) {
		if id != "" {
			uses[id] = append(uses[id], fmt.Sprintf(format, args...))
		}
	}
	based := map[string]int{}
	for _, b := range st.BuildsNewestFirst() {
		based[b.BaseImage]++
		use(b.Image, "build %s", b.ID)
		if b.Artifact != nil {
			use(b.Artifact.Digest, "build %s", b.ID)
		}
		if b.Module != nil {
			use(b.Module.Digest, "build %s", b.ID)
		}
	}
	for id, n := range based {
		use(id, "base of %s", pipeline.Count(n, "build"))
	}
	for _, run := range st.Latest {
		if run.Status == pipeline.RunRunning { // whoever finds its process dead may finish it
			use(run.Made.Image, "run %s", run.ID)
			use(run.Made.Artifact, "run %s", run.ID)
			use(run.Made.Module, "run %s", run.ID)
		}
	}
	for _, env := range st.Environments {
		use(env.Image, "%s", env.Describe())
	}
	for _, c := range st.Channels {
		use(c.Image, "channel %s", c.Describe())
		if c.Moving != nil {
			use(c.Moving.Image, "channel %s", c.Describe())
		}
		for _, before := range c.Previous {
			use(before.Image, "channel %s, before", c.Describe())
		}
	}
	for _, s := range st.Stages {
		use(s.BaseImage, "base image of stage %q", s.Name)
	}
	for _, r := range st.ImageDefinitions {
		use(r.Image, "present image of %q", r.Name)
		use(r.Base, "what %q is baked from", r.Name)
		var baked []pipeline.Image
		for _, image := range st.Images {
			if image.Name == r.Name && image.Build == "" {
				baked = append(baked, image)
			}
		}
		slices.SortFunc(baked, func(a, b pipeline.Image) int { return cmp.Compare(b.Order, a.Order) })
		for i, image := range baked {
			if i <= r.Keep {
				use(image.ID, "one of the last %d of %q", r.Keep+1, r.Name)
			}
		}
	}
	for id, users := range uses {
		slices.Sort(users)
		uses[id] = slices.Compact(users)
	}
}
