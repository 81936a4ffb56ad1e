// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/fleet"
)

// Resolve implements pipeline.Images.
func (p *Platform) Resolve(ctx context.Context, from pipeline.ImageFrom) (string, error) {
	return p.images.Resolve(ctx, from)
}

// Bake implements pipeline.Images: from an image by commands on a builder, or of the first
// instance of an environment, which does not serve afterwards.
func (p *Platform) Bake(ctx context.Context, r pipeline.BakeRequest) (pipeline.BakedImage, error) {
	ctx, err := p.fenced(ctx)
	if err != nil {
		return pipeline.BakedImage{}, err
	}
	if r.Environment == "" || r.Tree != "" {
		return p.images.Bake(ctx, r)
	}
	list, err := p.fleets.Instances(ctx, r.Environment)
	switch {
	case err != nil:
		return pipeline.BakedImage{}, err
	case len(list) == 0:
		return p.images.Finish(ctx, r)
	case !fleet.Installed(list[0]): // the installed state is the image that it was launched from
		return p.images.Get(ctx, aws.ToString(list[0].ImageId))
	}
	return p.images.Capture(ctx, list[0], r)
}

// Abandon implements pipeline.Images.
func (p *Platform) Abandon(ctx context.Context, token string) error {
	ctx, err := p.fenced(ctx)
	if err != nil {
		return err
	}
	return p.images.Abandon(ctx, token)
}

// Orphans implements pipeline.Images.
func (p *Platform) Orphans(ctx context.Context) (bakes, images []string, err error) {
	return p.images.Orphans(ctx)
}

// Images implements pipeline.Images.
func (p *Platform) Images(ctx context.Context) ([]pipeline.BakedImage, error) {
	return p.images.List(ctx)
}

// CheckImage implements pipeline.Images.
func (p *Platform) CheckImage(r pipeline.ImageDefinition) error { return p.images.Check(r) }

// CheckTargets implements pipeline.Images, with three requests at most for an image.
func (p *Platform) CheckTargets(ctx context.Context, r pipeline.PublishRequest, key string) error {
	return p.images.CheckTargets(ctx, r, key)
}

// CheckPublication implements pipeline.Images.
func (p *Platform) CheckPublication(w pipeline.Publication) error {
	return p.images.CheckPublication(w)
}

// Publish implements pipeline.Images.
func (p *Platform) Publish(ctx context.Context, r pipeline.PublishRequest) (map[string]string, error) {
	ctx, err := p.fenced(ctx)
	if err != nil {
		return nil, err
	}
	return p.images.Publish(ctx, r)
}

// Point implements pipeline.Images: the name is that of a parameter of SSM.
func (p *Platform) Point(ctx context.Context, r pipeline.PointRequest) error {
	ctx, err := p.fenced(ctx)
	if err != nil {
		return err
	}
	return p.images.Point(ctx, r)
}

// Strays implements pipeline.Images, with one request to each region for ten names, and one more
// for each name that leads elsewhere there.
func (p *Platform) Strays(ctx context.Context, pointed ...pipeline.PointRequest) ([]pipeline.Stray, error) {
	return p.images.Strays(ctx, pointed...)
}

// Unpoint implements pipeline.Images.
func (p *Platform) Unpoint(ctx context.Context, r pipeline.UnpointRequest) error {
	ctx, err := p.fenced(ctx)
	if err != nil {
		return err
	}
	return p.images.Unpoint(ctx, r)
}

// RemoveImage implements pipeline.Images.
func (p *Platform) RemoveImage(ctx context.Context, id string) error {
	ctx, err := p.fenced(ctx)
	if err != nil {
		return err
	}
	return p.images.Remove(ctx, id)
}
