// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"context"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/store"
)

// Place is the only region of this platform.
const Place = "local"

// Publish implements pipeline.Platform: there is nowhere else, so that there is only
// nothing to take back.
func (p *Platform) Publish(ctx context.Context, r pipeline.PublishRequest) (map[string]string, error) {
	const op = "publish image"
	want := r.Publication
	if want.Digest() != (&pipeline.Publication{}).Digest() {
		return nil, p.CheckImage(pipeline.ImageDefinition{Name: r.Image, Publish: &want})
	}
	image, err := p.store.Image(ctx, r.Image)
	if err != nil {
		return nil, protocol.Coded(ctx, op, err)
	}
	return map[string]string{Place: image.ID}, nil
}

// Point implements pipeline.Platform: the name is that of a file of the store, which leads to
// the image.
func (p *Platform) Point(ctx context.Context, r pipeline.PointRequest) error {
	const op = "point channel"
	n := store.Name{Pipeline: r.Labels.Pipeline, Name: r.Name, Owner: r.Labels.Stage, Image: r.Images[Place], Build: r.Labels.Build}
	return protocol.Coded(ctx, op, p.store.Point(ctx, n, func(before *store.Name) error {
		if before != nil && before.Owner != n.Owner && !r.Adopt {
			return pipeline.Errorf(pipeline.CodeConflict, op, "channel %q exists, and belongs to %q", r.Name, before.Owner).
				WithHint("Choose another name for the channel, or set adopt = true to take it over.")
		}
		return p.admit(ctx, op)
	}))
}

// Unpoint implements pipeline.Platform.
func (p *Platform) Unpoint(ctx context.Context, r pipeline.UnpointRequest) error {
	const op = "remove channel"
	return protocol.Coded(ctx, op, p.store.Unpoint(ctx, r.Labels.Pipeline, r.Name, func(before *store.Name) (leave bool, err error) {
		return before == nil || before.Owner != r.Labels.Stage, p.admit(ctx, op)
	}))
}
