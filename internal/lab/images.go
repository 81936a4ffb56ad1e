// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package lab

import (
	"context"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// noImages is a platform without images: no stage of the lab bakes, so that another process
// finds all that the record says there is.
type noImages struct{}

var _ pipeline.Images = noImages{}

func none(op string) error {
	return pipeline.Errorf(pipeline.CodeInvalid, op, "the lab has no images")
}

// Resolve implements pipeline.Images.
func (noImages) Resolve(context.Context, pipeline.ImageFrom) (string, error) {
	return "", none("resolve image")
}

// Bake implements pipeline.Images.
func (noImages) Bake(context.Context, pipeline.BakeRequest) (pipeline.BakedImage, error) {
	return pipeline.BakedImage{}, none("bake")
}

// Abandon implements pipeline.Images.
func (noImages) Abandon(context.Context, string) error { return nil }

// Orphans implements pipeline.Images.
func (noImages) Orphans(context.Context) (bakes, images []string, err error) { return nil, nil, nil }

// Images implements pipeline.Images.
func (noImages) Images(context.Context) ([]pipeline.BakedImage, error) { return nil, nil }

// CheckImage implements pipeline.Images.
func (noImages) CheckImage(pipeline.ImageDefinition) error { return none("check image") }

// CheckPublication implements pipeline.Images.
func (noImages) CheckPublication(pipeline.Publication) error { return none("check publication") }

// CheckTargets implements pipeline.Images.
func (noImages) CheckTargets(context.Context, pipeline.PublishRequest, string) error { return nil }

// Publish implements pipeline.Images.
func (noImages) Publish(context.Context, pipeline.PublishRequest) (map[string]string, error) {
	return nil, none("publish")
}

// Point implements pipeline.Images.
func (noImages) Point(context.Context, pipeline.PointRequest) error { return none("point channel") }

// Strays implements pipeline.Images.
func (noImages) Strays(_ context.Context, pointed ...pipeline.PointRequest) ([]pipeline.Stray, error) {
	return make([]pipeline.Stray, len(pointed)), nil
}

// Unpoint implements pipeline.Images.
func (noImages) Unpoint(context.Context, pipeline.UnpointRequest) error { return nil }

// RemoveImage implements pipeline.Images.
func (noImages) RemoveImage(context.Context, string) error { return nil }
