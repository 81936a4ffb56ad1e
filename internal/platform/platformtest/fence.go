// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package platformtest

import (
	"maps"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// A displaced owner no longer has an effect, whatever it asks for: not on what
// whoever took over has changed since, nor on what that one has removed.
func testFence(s *suite) {
	under := func(token int64) pipeline.Platform {
		return s.Platform.Under(pipeline.Fence{Key: "shop/stage/production", Token: token})
	}
	first, second, all := under(1), under(2), s.Platform
	image := s.Base
	if image == "" {
		baked, err := first.Bake(s.Context(), pipeline.BakeRequest{Token: "r-1", Name: "base", Tree: s.TempDir(), Log: &s.log})
		s.must(err)
		image = baked.ID
	}
	s.Platform = first
	s.serve(s.request("e-1", "f-1", "one"))
	s.prepare(s.request("e-1", "f-2", "two"))
	s.Platform = second
	s.serve(s.request("e-1", "f-3", "three"))
	s.Platform = all
	before := s.describe("e-1")
	if before.Serving != "f-3" {
		s.Fatalf("the second serves %+v", before)
	}
	displaced := map[string]func() error{
		"Prepare": func() error {
			_, err := first.Prepare(s.Context(), s.request("e-1", "f-4", "four"))
			return err
		},
		"Shift":  func() error { _, err := first.Shift(s.Context(), "e-1", "f-2", pipeline.Traffic{}); return err },
		"Again":  func() error { _, err := first.Shift(s.Context(), "e-1", "f-3", pipeline.Traffic{}); return err },
		"Resize": func() error { return first.Resize(s.Context(), "e-1", pipeline.Size{Instances: 2}) },
		"Extend": func() error { return first.Extend(s.Context(), "e-1", time.Now()) },
		"Bake": func() error {
			_, err := first.Bake(s.Context(), pipeline.BakeRequest{Token: "r-2", Name: "own", Environment: "e-1", Log: &s.log})
			return err
		},
		"Discard":     func() error { return first.Discard(s.Context(), "e-1", "f-3") },
		"Destroy":     func() error { return first.Destroy(s.Context(), "e-1") },
		"RemoveImage": func() error { return first.RemoveImage(s.Context(), image) },
		"Two leases": func() error {
			return all.Under(pipeline.Fence{Key: "shop/image/base", Token: 9}, pipeline.Fence{Key: "shop/stage/production", Token: 1}).RemoveImage(s.Context(), image)
		},
	}
	maps.Copy(displaced, s.displacedNames(first))
	for what, ask := range displaced {
		if err := ask(); pipeline.CodeOf(err) != pipeline.CodeLeaseLost {
			s.Errorf("%s by who was displaced: %v", what, err)
		}
	}
	if now := s.describe("e-1"); now.Serving != before.Serving || now.Pending != "" || now.Instances != before.Instances || !now.ExpiresAt.Equal(before.ExpiresAt) {
		s.Errorf("who was displaced changed %+v to %+v", before, now)
	}
	images, err := all.Images(s.Context())
	s.must(err)
	for _, i := range images {
		if i.ID == image {
			image = ""
		}
	}
	if image != "" && s.Base == "" { // the base belongs to nobody, and may not be listed
		s.Errorf("who was displaced removed image %s", image)
	}
	s.must(all.Under(pipeline.Fence{Key: "shop/stage/acceptance", Token: 1}).Extend(s.Context(), "e-1", time.Now().Add(time.Hour))) // another lease
	s.must(second.Destroy(s.Context(), "e-1"))
	if _, err := first.Prepare(s.Context(), s.request("e-1", "f-5", "five")); pipeline.CodeOf(err) != pipeline.CodeLeaseLost {
		s.Errorf("Prepare by who was displaced, of what is gone: %v", err)
	}
	reports, err := all.Describe(s.Context())
	s.must(err)
	if _, there := reports["e-1"]; there {
		s.Error("who was displaced made anew what whoever took over had removed")
	}
}
