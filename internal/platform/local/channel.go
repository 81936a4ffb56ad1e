// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"context"
	"errors"
	"io/fs"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/store"
)

// Place is the only region of this platform.
const Place = "local"

// CheckPublication implements pipeline.Platform: of a publication there is only the name.
func (shared) CheckPublication(w pipeline.Publication) error {
	const op = "check publication"
	for _, set := range []struct {
		name string
		is   bool
	}{
		{"regions", len(w.Regions) > 0}, {"kms_keys", len(w.KMSKeys) > 0}, {"copy_within", w.CopyWithin > 0}, {"share_with", w.Shared()},
		{"deprecate_after", w.DeprecateAfter > 0}, {"deregistration_protection", w.Protected}, {"keep_shared", w.KeepShared},
	} {
		if set.is {
			return pipeline.Errorf(pipeline.CodeInvalid, op, "publish.%s has no meaning on the local platform", set.name).
				WithAdvice(pipeline.Unset("publish."+set.name), pipeline.Set("aws", "{ … }", "the provider"))
		}
	}
	if w.Channel != "" && !store.ValidName(w.Channel) {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "publish.channel %q is no name", w.Channel).
			WithHint("On the local platform it is at most 100 letters, digits, dots, dashes and underscores, and begins with a letter or digit.")
	}
	return nil
}

// shared says of the images of this platform that they are there for everybody here.
type shared struct{}

// CheckTargets implements pipeline.Images.
func (shared) CheckTargets(context.Context, pipeline.PublishRequest, string) error { return nil }

// Publish implements pipeline.Platform: the image is where it is, for everybody here.
func (p *Platform) Publish(ctx context.Context, r pipeline.PublishRequest) (map[string]string, error) {
	const op = "publish image"
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

// Strays implements pipeline.Platform.
func (p *Platform) Strays(ctx context.Context, pointed ...pipeline.PointRequest) ([]pipeline.Stray, error) {
	const op = "look at channels"
	strays := make([]pipeline.Stray, len(pointed))
	for i, r := range pointed {
		n, err := p.store.Name(ctx, r.Labels.Pipeline, r.Name)
		switch {
		case errors.Is(err, fs.ErrPermission):
		case err == nil && n == nil, pipeline.CodeOf(err) == pipeline.CodeCorrupt:
			strays[i] = pipeline.Stray{Region: Place}
		case err != nil:
			return nil, protocol.Coded(ctx, op, err)
		case n.Owner != r.Labels.Stage:
			strays[i] = pipeline.Stray{Region: Place, Image: n.Image, Foreign: true}
		case n.Image != r.Images[Place]:
			strays[i] = pipeline.Stray{Region: Place, Image: n.Image}
		}
	}
	return strays, nil
}

// Unpoint implements pipeline.Platform.
func (p *Platform) Unpoint(ctx context.Context, r pipeline.UnpointRequest) error {
	const op = "remove channel"
	return protocol.Coded(ctx, op, p.store.Unpoint(ctx, r.Labels.Pipeline, r.Name, func(before *store.Name) (leave bool, err error) {
		return before != nil && before.Owner != r.Labels.Stage, p.admit(ctx, op)
	}))
}
