// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// The keys of the tags of fleets: of their instances, and of the groups that launch these.
const (
	TagEnvironment = "penstock:environment" // its ID
	TagFleet       = "penstock:fleet"       // its ID
	TagServing     = "penstock:serving"     // true on the instances of the fleet that serves
	TagEndpoint    = "penstock:endpoint"    // of the environment
	TagKept        = "penstock:kept"        // RFC 3339: until when a fleet is kept for a rollback; empty where it is not
	TagInstalled   = "penstock:installed"   // true on an instance on which an artifact was installed

	tagScaling  = "penstock:scaling"  // on a group: the bounds of its number of instances that were defined, and whether its warm pool was
	tagDeclared = "penstock:declared" // on a group: which attributes of its target group were declared, as declaredTag says
	tagHeld     = "penstock:held"     // on a group whose traffic goes over: its least number of instances before, and the one that it has meanwhile

	tagPort  = "penstock:port"  // that the service listens on
	tagFence = "penstock:fence" // token of the lease under which a fleet was made, or got its traffic
	tagReady = "penstock:ready" // true on an instance on which what comes before the service has been done
)

// RoleInstance is the role of a fleet's instances.
const RoleInstance = "instance"

// tagsOf are the tags of a fleet's instances.
func tagsOf(ctx context.Context, r pipeline.FleetRequest) map[string]string {
	tags := map[string]string{
		stack.TagRole: RoleInstance, TagEnvironment: r.Environment, TagFleet: r.Fleet, tagPort: fmt.Sprint(port(r.Service)),
		"Name": cmp.Or(r.Labels.Pipeline, "penstock") + " " + cmp.Or(r.Labels.Stage, r.Environment),
	}
	if r.Artifact != "" {
		tags[TagInstalled] = "true"
	}
	if token := stack.Token(ctx); token != "" {
		tags[tagFence] = token
	}
	if !r.ExpiresAt.IsZero() {
		tags[stack.TagExpires] = stack.Timestamp(r.ExpiresAt)
	}
	return tags
}

// serving are the tags of a fleet that serves.
func serving(ctx context.Context, endpoint string) map[string]string {
	tags := map[string]string{TagServing: "true", TagEndpoint: endpoint, TagKept: ""}
	if token := stack.Token(ctx); token != "" {
		tags[tagFence] = token
	}
	return tags
}

// Installed reports whether an artifact was installed on an instance, which its image has
// not.
func Installed(i types.Instance) bool { return stack.Tag(i.Tags, TagInstalled) == "true" }

// number reads a number from a tag; 0 for none.
func number(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}
