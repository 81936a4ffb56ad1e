// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// What EC2 made it may not find for a while. A bake and a launch wait for it.
func TestEventualConsistency(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.cloud.SetPace(cloudtest.Pace{Visible: 400 * time.Millisecond, Agent: 800 * time.Millisecond}) // what has registered is found
	baked, err := b.Bake(t.Context(), b.bakeRequest("r-1"))
	b.must(err)
	if _, err := b.ec2.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{baked.ID}}); err != nil {
		t.Errorf("the image that was baked: %v", err)
	}
	r := b.request("e-1", "f-1", b.app())
	b.must(b.deploy(r))
	b.must(b.Destroy(t.Context(), "e-1"))
	b.must(b.RemoveImage(t.Context(), baked.ID))
}

// What fails right after an instance was launched ends it, though EC2 may not find it yet.
func TestFailureBeforeVisible(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	base := b.base()
	b.cloud.SetPace(cloudtest.Pace{Visible: 3 * time.Second})
	b.cloud.Fail(cloudtest.Fault{Action: "SendCommand", Code: "AccessDeniedException", Times: 9})
	r := b.bakeRequest("r-1")
	r.Inputs = "k-2"
	_, err := b.Bake(t.Context(), r)
	b.wantError(err, pipeline.CodeNotAllowed, "AccessDeniedException")
	b.wantNothing()
	b.cloud.Mend()
	b.cloud.Fail(cloudtest.Fault{Service: "scheduler", Code: "AccessDeniedException"})
	q := b.request("e-1", "f-1", base)
	q.ExpiresAt = time.Now().Add(time.Hour)
	_, err = b.Prepare(t.Context(), q)
	b.wantError(err, pipeline.CodeNotAllowed, "AccessDeniedException")
	b.wantNothing()
}
