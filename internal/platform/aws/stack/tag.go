// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package stack

import (
	"context"
	"maps"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// The keys of the tags that images and fleets have in common.
const (
	TagStack    = "penstock:stack"
	TagPipeline = "penstock:pipeline"
	TagStage    = "penstock:stage"
	TagBuild    = "penstock:build"
	TagRun      = "penstock:run"
	TagKey      = "penstock:key"     // of what it was made from
	TagRole     = "penstock:role"    // of an instance: builder, or instance of a fleet
	TagExpires  = "penstock:expires" // RFC 3339
)

// TagsOf returns the tags of a thing, sorted by key: the user's, Penstock's labels, and more.
func (s *Stack) TagsOf(l pipeline.Labels, more map[string]string) []types.Tag {
	all := map[string]string{}
	maps.Copy(all, s.Tags)
	for k, v := range map[string]string{TagStack: s.Settings.Stack, TagPipeline: l.Pipeline, TagStage: l.Stage, TagBuild: l.Build, TagRun: l.Run} {
		if v != "" {
			all[k] = v
		}
	}
	maps.Copy(all, more)
	return tagList(all)
}

func tagList(tags map[string]string) []types.Tag {
	list := make([]types.Tag, 0, len(tags))
	for _, k := range Sorted(tags) {
		list = append(list, types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return list
}

// SetTags sets tags of things of EC2; none is no error.
func SetTags(ctx context.Context, client *ec2.Client, op string, ids []string, tags map[string]string) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := client.CreateTags(ctx, &ec2.CreateTagsInput{Resources: ids, Tags: tagList(tags)})
	return cloud.Fault(ctx, op, err)
}

// Tag returns the value of one of a thing's tags; empty for none.
func Tag(tags []types.Tag, key string) string {
	for _, t := range tags {
		if aws.ToString(t.Key) == key {
			return aws.ToString(t.Value)
		}
	}
	return ""
}

// Filter returns a filter of EC2.
func Filter(name string, values ...string) types.Filter {
	return types.Filter{Name: aws.String(name), Values: values}
}

// Mine is the filter of the things of this installation.
func (s *Stack) Mine() types.Filter { return Filter("tag:"+TagStack, s.Settings.Stack) }

// Timestamp formats a time for a tag; empty for none.
func Timestamp(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}
