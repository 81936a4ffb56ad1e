// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package platformtest

import (
	"os"
	"path/filepath"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// A name leads to an image that was placed, and to another one after that; whoever made it
// removes it, and nobody else. While it leads to an image, that stays.
func testChannel(s *suite) {
	images := map[string]map[string]string{}
	for _, version := range []string{"one", "two"} {
		tree := s.TempDir()
		s.must(os.WriteFile(filepath.Join(tree, "version"), []byte(version), 0o644))
		image := s.bake(pipeline.BakeRequest{Token: "r-" + version, Name: "base", Tree: tree})
		placed, err := s.Platform.Publish(s.Context(), pipeline.PublishRequest{Image: image.ID, Log: &s.log})
		s.must(err)
		images[version] = placed
	}
	ours := pipeline.Labels{Pipeline: "shop", Stage: "production"}
	point := func(version, stage string, adopt bool) error {
		return s.Platform.Point(s.Context(), pipeline.PointRequest{
			Name: "stable", Images: images[version], Labels: pipeline.Labels{Pipeline: "shop", Stage: stage, Build: "b-" + version}, Adopt: adopt, Log: &s.log,
		})
	}
	id := func(version string) string {
		for _, id := range images[version] {
			return id
		}
		return ""
	}
	stray := func(stage string) pipeline.Stray {
		led := pipeline.PointRequest{Name: "stable", Images: images["two"], Labels: pipeline.Labels{Pipeline: "shop", Stage: stage, Build: "b-two"}}
		none := pipeline.PointRequest{Name: "none", Images: images["two"], Labels: led.Labels}
		strays, err := s.Platform.Strays(s.Context(), none, led)
		s.must(err)
		if len(strays) != 2 || strays[0].Region == "" || strays[0].Image != "" || strays[0].Foreign {
			s.Fatalf("of a name that there is not, %+v are said", strays)
		}
		return strays[1]
	}
	for range 2 {
		s.must(point("one", "production", false))
	}
	if got := stray("production"); got.Image != id("one") || got.Foreign {
		s.Errorf("of a name that leads to another image, %+v is said", got)
	}
	s.wantCode(s.Platform.RemoveImage(s.Context(), id("one")), pipeline.CodeConflict)
	s.must(point("two", "production", false))
	if got := stray("production"); got != (pipeline.Stray{}) {
		s.Errorf("of a name that leads where it is to, %+v is said", got)
	}
	s.must(s.Platform.RemoveImage(s.Context(), id("one")))
	s.wantCode(point("one", "production", false), pipeline.CodeNotFound)
	s.wantCode(s.Platform.RemoveImage(s.Context(), id("two")), pipeline.CodeConflict)
	s.wantCode(point("two", "acceptance", false), pipeline.CodeConflict)
	theirs := pipeline.UnpointRequest{Name: "stable", Regions: []string{""}, Labels: pipeline.Labels{Pipeline: "shop", Stage: "acceptance"}}
	s.must(s.Platform.Unpoint(s.Context(), theirs))
	s.wantCode(s.Platform.RemoveImage(s.Context(), id("two")), pipeline.CodeConflict)
	s.must(point("two", "acceptance", true))
	s.must(s.Platform.Unpoint(s.Context(), pipeline.UnpointRequest{Name: "stable", Regions: []string{""}, Labels: ours})) // it is theirs now
	s.wantCode(s.Platform.RemoveImage(s.Context(), id("two")), pipeline.CodeConflict)
	for range 2 {
		s.must(s.Platform.Unpoint(s.Context(), theirs))
	}
	s.must(s.Platform.RemoveImage(s.Context(), id("two")))
}

// displacedNames are changes of names by an owner that was displaced.
func (s *suite) displacedNames(first pipeline.Platform) map[string]func() error {
	labels := pipeline.Labels{Pipeline: "shop", Stage: "production"}
	return map[string]func() error{
		"Point": func() error {
			return first.Point(s.Context(), pipeline.PointRequest{Name: "stable", Images: map[string]string{"local": "img-0000000000000000"}, Labels: labels})
		},
		"Unpoint": func() error {
			return first.Unpoint(s.Context(), pipeline.UnpointRequest{Name: "stable", Regions: []string{""}, Labels: labels})
		},
	}
}
