// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"os"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// With the roles of the template's version 2, of which nobody knew that AWS refuses them
// what they are for, a deployer bakes nothing and copies nothing: a command that stores its
// output in a bucket is judged on the bucket, too, and a copy on the image that it is of,
// whose tags are none of its condition keys. The test cloud finds that, as AWS would.
func TestRightsOfVersion2(t *testing.T) {
	t.Parallel()
	template, err := os.ReadFile("../../bootstrap/testdata/template-2.yaml")
	if err != nil {
		t.Fatal(err)
	}
	b := newBed(t)
	id := b.base()
	b.cloud.SetTemplate(string(template))
	r := b.bakeRequest("r-1")
	r.Inputs = "k-2" // else it is the image that is there
	_, err = b.Bake(t.Context(), r)
	b.wantError(err, pipeline.CodeNotAllowed, "ssm:SendCommand", "arn:aws:s3:::penstock-"+b.cloud.ID)
	_, err = b.Publish(t.Context(), pipeline.PublishRequest{
		Image: id, Labels: pipeline.Labels{Pipeline: "shop", Stage: "image/base", Run: "r-1"}, Log: b.log, Publication: pipeline.Publication{Regions: []string{"us-east-1"}},
	})
	b.wantError(err, pipeline.CodeNotAllowed, "ec2:CopyImage", "arn:aws:ec2:"+cloudtest.Region+"::image/"+id)
}
