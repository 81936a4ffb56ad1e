// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
)

// A collection after a kill leaves what the killed run made, and the next apply finishes
// that: at every call, no build has an image or an artifact that is gone.
func TestCollectBeforeRunIsFinished(t *testing.T) {
	for n := 1; ; n++ {
		d := open(t)
		d.limit, d.after = n, true
		ended := d.apply(route("1")[:2]) == nil
		d = d.again()
		if _, err := d.Collector.Collect(context.Background(), collect.Request{}); err != nil {
			t.Fatal(err)
		}
		d.images["img-base"] = 1 // that somebody else bakes
		d.mustApply(route("1")[:2])
		st := d.seen()
		for id, b := range st.Builds {
			if _, there := d.images[b.Image]; b.Image != "" && !there {
				t.Errorf("killed at call %d: the image %s of build %s is gone", n, b.Image, id)
			}
			if b.Artifact == nil {
				t.Errorf("killed at call %d: build %s has no artifact", n, id)
			} else if _, there := d.artifacts[b.Artifact.Digest]; !there {
				t.Errorf("killed at call %d: the artifact of build %s is gone", n, id)
			}
		}
		if ended {
			return
		}
	}
}
