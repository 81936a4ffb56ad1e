// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"slices"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Where pipelines have the same image, and channels of one name, each channel is said once, with
// the image of its own pipeline. One that leads to another pipeline's image is said with that.
func TestLeading(t *testing.T) {
	leads := []Leads{{Name: "one", Pipeline: "a", Stage: "s"}, {Name: "one", Pipeline: "b", Stage: "s"}, {Name: "one", Pipeline: "c", Stage: "s"}, {Name: "two", Pipeline: "a", Stage: "t"}}
	var all []ImageUse
	for _, name := range []string{"a", "b"} {
		all = append(all, ImageUse{Image: pipeline.Image{ID: "img-1", Pipeline: name}, Channels: leads})
	}
	all = append(all, ImageUse{Image: pipeline.Image{ID: "img-2", Pipeline: "a"}})
	for of, want := range map[string][]string{"": {"a a", "a c", "b b"}, "b": {"b b"}} {
		var got []string
		for _, i := range leading(all, of, "one") {
			for _, c := range i.Channels {
				got = append(got, i.Pipeline+" "+c.Pipeline)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("of pipeline %q: %v, want %v", of, got, want)
		}
	}
}
