// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package aws is the platform of Amazon Web Services: images are AMIs, environments
// are EC2 instances, and persistent ones Auto Scaling groups behind a load balancer.
// Commands run through SSM Run Command: no instance takes a connection from where
// Terraform runs, but for the service's own port.
//
// Everything is tagged when it is created, and found again by its tags: there is no
// other record. Bodies are given client tokens or names that follow from the
// caller's IDs, so that whatever is repeated after a crash or a lost answer has its
// effect once.
//
// The package puts the parts together: image makes the images, fleet the two kinds of
// environments, both on what instance and stack have for all.
//
//	p := aws.New(aws.Options{Config: cfg, Settings: settings})
//	image, err := p.Bake(ctx, request)
package aws

import (
	"context"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/fleet"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/image"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

var _ pipeline.Platform = (*Platform)(nil)

// What a Platform is made of.
type (
	Options  = stack.Options
	Settings = stack.Settings
	Access   = stack.Access
)

// Platform keeps images and environments in an account and region.
type Platform struct {
	stack     *stack.Stack
	by        []pipeline.Fence // under which things are changed
	instances *instance.Instances
	images    *image.Images
	fleets    *fleet.Fleets
}

// New returns the platform of an account and region.
func New(o Options) *Platform {
	s := stack.New(o)
	instances := instance.New(s)
	return &Platform{stack: s, instances: instances, images: image.New(s, instances), fleets: fleet.New(s, instances)}
}

// Under implements pipeline.Platform. How near to a change the look at the lease is,
// stack.Under says.
func (p *Platform) Under(by ...pipeline.Fence) pipeline.Platform {
	under := *p
	under.by = by
	return &under
}

// fenced makes the requests of ctx carry the platform's fences.
func (p *Platform) fenced(ctx context.Context) (context.Context, error) {
	return p.stack.Under(ctx, p.by...)
}
