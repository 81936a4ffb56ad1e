// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package platformtest

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func (s *suite) bake(r pipeline.BakeRequest) pipeline.BakedImage {
	s.Helper()
	r.Log = &s.log
	image, err := s.Platform.Bake(s.Context(), r)
	s.must(err)
	if image.ID == "" {
		s.Fatal("the image has no ID")
	}
	return image
}

// An image holds a tree and what commands made of it; another one is made from it.
func testBakeTree(s *suite) {
	tree := s.TempDir()
	s.must(os.MkdirAll(filepath.Join(tree, "etc/empty"), 0o755))
	s.must(os.WriteFile(filepath.Join(tree, "etc/motd"), []byte("hello"), 0o640))
	s.must(os.WriteFile(filepath.Join(tree, "run"), []byte("#!/bin/sh\necho ran\n"), 0o755))
	s.must(os.Symlink("etc/motd", filepath.Join(tree, "link")))
	base := s.bake(pipeline.BakeRequest{Token: "r-1", Name: "base", Tree: tree})
	changed := s.bake(pipeline.BakeRequest{Token: "r-2", Name: "next", Image: base.ID, Commands: []pipeline.Command{
		{Name: "stamp", Line: `printf "%s %s" "$COLOUR" "$TOKEN" >etc/stamp; echo "stamped $TOKEN"`,
			Env: map[string]string{"COLOUR": "red"}, Secrets: pipeline.Secrets{"TOKEN": "hush-1b2c"}},
		{Name: "second", Line: "cat stamp >copy; test -d empty", Dir: "etc"},
	}})
	if changed.ID == base.ID {
		s.Error("a changed tree gives the same image")
	}
	if log := s.log.String(); !strings.Contains(log, "stamped ***\n") {
		s.Errorf("the log is %q", log)
	}
	if _, err := os.Stat(filepath.Join(tree, "etc/stamp")); err == nil {
		s.Error("the bake changed the tree that it was made from")
	}
}

// An image of an environment holds what was installed, and nothing that the
// service wrote.
func testBakeEnvironment(s *suite) {
	tree := s.TempDir()
	s.must(os.WriteFile(filepath.Join(tree, "base"), []byte("base"), 0o644))
	base := s.bake(pipeline.BakeRequest{Token: "r-1", Name: "base", Tree: tree})
	r := s.request("e-1", "f-1", "one")
	r.Image = base.ID
	fleet := s.prepare(r)
	s.put(fleet.Endpoint+"/file/scribble", "x")
	s.put(fleet.Endpoint+"/file/version", "y")
	image := s.bake(pipeline.BakeRequest{Token: "r-2", Name: "app", Environment: "e-1"})
	if again := s.bake(pipeline.BakeRequest{Token: "r-2", Name: "app", Environment: "e-1"}); !same(again, image) {
		s.Errorf("a second bake with one token gives %+v, want %+v", again, image)
	}
	s.must(s.Platform.Destroy(s.Context(), "e-1"))
	next := s.request("e-2", "f-2", "")
	next.Image, next.Artifact = image.ID, ""
	endpoint := s.prepare(next).Endpoint
	s.wantGet(endpoint+"/file/version", "one")
	s.wantGet(endpoint+"/file/base", "base")
	if body, err := fetch(s.Context(), "GET", endpoint+"/file/scribble", ""); err == nil {
		s.Errorf("the image has what the service wrote: %q", body)
	}
	_, err := s.Platform.Bake(s.Context(), pipeline.BakeRequest{Token: "r-3", Environment: "e-none", Log: &s.log})
	s.wantCode(err, pipeline.CodeNotFound)
}

// A bake that fails makes no image, and says why.
func testBakeFails(s *suite) {
	r := pipeline.BakeRequest{Token: "r-1", Tree: s.TempDir(), Log: &s.log, Commands: []pipeline.Command{
		{Name: "packages", Line: "echo no such package; exit 9"},
		{Name: "after", Line: "echo never"},
	}}
	_, err := s.Platform.Bake(s.Context(), r)
	text := s.wantCode(err, pipeline.CodeFailed)
	for _, want := range []string{"packages", "no such package", "exit status 9"} {
		if !strings.Contains(text, want) {
			s.Errorf("the error %q does not say %q", text, want)
		}
	}
	if strings.Contains(s.log.String(), "never") {
		s.Error("a command ran after one that failed")
	}
	r.Image = "img-0000000000000000"
	_, err = s.Platform.Bake(s.Context(), r)
	s.wantCode(err, pipeline.CodeInvalid) // both a tree and an image
	r.Tree = ""
	_, err = s.Platform.Bake(s.Context(), r)
	s.wantCode(err, pipeline.CodeNotFound)
	images, err := s.Platform.Images(s.Context())
	s.must(err)
	if len(images) > 0 {
		s.Errorf("failed bakes left %v", images)
	}
}

// same reports whether two reports are of one image.
func same(a, b pipeline.BakedImage) bool { return a.ID == b.ID && a.Size == b.Size }

// An image is listed until it is removed, and stays while a fleet needs it.
func testImages(s *suite) {
	tree := s.TempDir()
	s.must(os.WriteFile(filepath.Join(tree, "version"), []byte("one"), 0o644))
	image := s.bake(pipeline.BakeRequest{Token: "r-1", Name: "base", Tree: tree})
	images, err := s.Platform.Images(s.Context())
	s.must(err)
	if len(images) != 1 || !same(images[0], image) || image.Size < 3 {
		s.Errorf("the images are %v, want %v", images, image)
	}
	r := s.request("e-1", "f-1", "")
	r.Image, r.Artifact = image.ID, ""
	endpoint := s.serve(r)
	s.wantCode(s.Platform.RemoveImage(s.Context(), image.ID), pipeline.CodeConflict)
	s.must(s.Platform.Resize(s.Context(), "e-1", pipeline.Size{Instances: 2}))
	s.wantGet(endpoint+"/file/version", "one")
	s.must(s.Platform.Destroy(s.Context(), "e-1"))
	for range 2 {
		s.must(s.Platform.RemoveImage(s.Context(), image.ID))
	}
	images, err = s.Platform.Images(s.Context())
	s.must(err)
	if len(images) > 0 {
		s.Errorf("after the removal there are %v", images)
	}
}
