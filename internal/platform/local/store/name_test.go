// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func allow(*Name) error { return nil }

// Whoever reads a name while it moves finds the image before or the new one, whole.
func TestNameIsReplacedAtOnce(t *testing.T) {
	s := Open(t.TempDir())
	var images [2]Image
	for i := range images {
		var err error
		if images[i], err = s.Ingest(ctx, plant(t, map[string]string{"version": string(rune('a' + i))}), nil); err != nil {
			t.Fatal(err)
		}
	}
	n := Name{Pipeline: "shop", Name: "stable", Owner: "production", Image: images[0].ID}
	if err := s.Point(ctx, n, allow); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if found, err := s.Name(ctx, "shop", "stable"); err != nil || found == nil || found.Image != images[0].ID && found.Image != images[1].ID {
				t.Errorf("a reader finds %+v, %v", found, err)
				return
			}
		}
	})
	for i := range 20 {
		n.Image = images[i%2].ID
		if err := s.Point(ctx, n, allow); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	readers.Wait()
	if err := os.WriteFile(s.namePath("shop", "stable"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := s.Remove(ctx, images[0].ID, nil)
	if own := new(pipeline.Error); !errors.As(err, &own) || own.Code != pipeline.CodeCorrupt || !strings.Contains(own.Hint, s.namePath("shop", "stable")) {
		t.Errorf("with a damaged name, an image is removed: %v", err)
	}
	if err := s.Point(ctx, n, func(before *Name) error {
		if before != nil {
			t.Errorf("of a damaged name, there is %+v", before)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if found, err := s.Name(ctx, "shop", "stable"); err != nil || *found != n {
		t.Errorf("a damaged name becomes %+v, %v", found, err)
	}
	n.Name = "../../x"
	if err := s.Point(ctx, n, allow); pipeline.CodeOf(err) != pipeline.CodeInvalid {
		t.Errorf("a name that leads elsewhere: %v", err)
	}
}
