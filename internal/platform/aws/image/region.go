// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package image

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// regional is the part of a region that images need.
type regional struct {
	stack  *stack.Stack
	region string
	ec2    *ec2.Client
	ssm    *ssm.Client
	kms    *kms.Client
	groups *autoscaling.Client

	limits
}

// limits say how long what AWS does is waited for.
type limits struct {
	images     time.Duration // an image, or a copy of one
	reports    time.Duration // a report on other accounts
	parameters time.Duration // a parameter that says an image
}

// in returns another region.
func (m *Images) in(region string) regional {
	c := m.stack.Config
	return regional{
		stack: m.stack, region: region,
		ec2:    ec2.NewFromConfig(c, func(o *ec2.Options) { o.Region = region }),
		ssm:    ssm.NewFromConfig(c, func(o *ssm.Options) { o.Region = region }),
		kms:    kms.NewFromConfig(c, func(o *kms.Options) { o.Region = region }),
		groups: autoscaling.NewFromConfig(c, func(o *autoscaling.Options) { o.Region = region }),
		limits: m.limits,
	}
}

// home returns the installation's own region.
func (m *Images) home() regional { return m.in(m.stack.Config.Region) }

// tag sets tags of an image.
func (r regional) tag(ctx context.Context, op, id string, tags map[string]string) error {
	return stack.SetTags(ctx, r.ec2, op, []string{id}, tags)
}
