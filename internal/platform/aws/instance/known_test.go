// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package instance_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/awstest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
)

// How soon it is known that an instance runs, and that a command has ended.
func BenchmarkKnown(b *testing.B) {
	b.Run("instance", func(b *testing.B) {
		d := awstest.New(b)
		awstest.Known(b, "instance", d, func(takes time.Duration) time.Time {
			d.Cloud.SetPace(cloudtest.Pace{Boot: takes})
			one, err := d.Instances.Run(d.Context(), instance.Launch{
				Token: takes.String(), Image: cloudtest.BaseImage, Access: d.Stack.Settings.Test, Tags: d.Stack.TagsOf(pipeline.Labels{}, nil),
			})
			d.Must(err)
			id := instance.ID(one)
			d.Cloud.ResetCalls()
			_, err = d.Instances.AwaitState(d.Context(), id, types.InstanceStateNameRunning, instance.StartLimit)
			d.Must(err)
			return d.Cloud.Since(id)
		})
	})
	b.Run("command", func(b *testing.B) {
		d := awstest.New(b)
		id := d.Machine("")
		end := filepath.Join(d.Cloud.Root(id), "end")
		awstest.Known(b, "command", d, func(takes time.Duration) time.Time {
			awstest.After(takes, func() { d.Must(os.WriteFile(end, nil, 0o600)) })
			d.Must(d.Instances.Must(d.Context(), id, instance.Command{
				What: "waiting", Script: instance.Preamble + "while [ ! -e \"$root/end\" ]; do sleep 0.005; done\nrm \"$root/end\"\n", Timeout: time.Hour,
			}))
			return d.Cloud.CommandEnded(id)
		})
	})
}
