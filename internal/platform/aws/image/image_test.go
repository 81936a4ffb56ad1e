// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package image

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/awstest"
)

func TestMain(m *testing.M) { os.Exit(cloudtest.Main(m)) }

func request(token string) pipeline.BakeRequest {
	return pipeline.BakeRequest{Token: token, Inputs: "k-1", Name: "base", Labels: pipeline.Labels{Pipeline: "shop", Stage: "image/base", Run: token}}
}

// A request for an image whose answer was lost is found again by its name.
func TestCreateTwice(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	m := New(b.Stack, b.Instances)
	id := b.Machine("")
	image, err := m.create(t.Context(), id, request("r-1"))
	b.Must(err)
	if again, err := m.create(t.Context(), id, request("r-1")); err != nil || again != image {
		t.Errorf("a repeated request gave %s, %v, want %s", again, err, image)
	}
}

// Bakes with long names have distinct names, and a bake never returns another's
// image.
func TestImageName(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	m := New(b.Stack, b.Instances)
	r := request("r-0123456789")
	r.Name, r.Labels.Pipeline = strings.Repeat("n", 100), strings.Repeat("p", 100)
	other := r
	other.Token = "r-9876543210"
	for _, q := range []pipeline.BakeRequest{r, other} {
		if name := imageName(m, q); len(name) > 128 || !strings.HasSuffix(name, " "+q.Token) || !strings.HasPrefix(name, "penstock p") {
			t.Errorf("the image of %s has the name %q", q.Token, name)
		}
	}
	id := b.Machine("")
	_, err := ec2.NewFromConfig(b.Cloud.Own()).CreateImage(t.Context(), &ec2.CreateImageInput{InstanceId: aws.String(id), Name: aws.String(imageName(m, r))})
	b.Must(err)
	if got, err := m.create(t.Context(), id, r); err == nil {
		t.Errorf("an image of another's that has the name was taken for ours: %s", got)
	}
}

// How soon it is known that an image is made.
func BenchmarkKnown(b *testing.B) {
	d := awstest.New(b)
	m := New(d.Stack, d.Instances)
	id := d.Machine("")
	awstest.Known(b, "image", d, func(takes time.Duration) time.Time {
		d.Cloud.SetPace(cloudtest.Pace{Image: takes})
		image, err := m.create(d.Context(), id, request("r-"+takes.String()))
		d.Must(err)
		d.Cloud.ResetCalls()
		_, err = m.await(d.Context(), image)
		d.Must(err)
		return d.Cloud.Since(image)
	})
}
