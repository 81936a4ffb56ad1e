// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"

	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// An end moves to any time, also back to one that it had before, and one that has gone by
// comes soon.
func TestScheduleMoves(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	client := scheduler.NewFromConfig(b.cloud.Own())
	first, gone := time.Now().Add(time.Hour).Truncate(time.Second), time.Now().Add(-time.Hour)
	for n, at := range []time.Time{first, first.Add(time.Hour), first, gone} {
		b.must(b.stack.Schedule(t.Context(), "e-1", at, stack.EndInstances("instances", "s", []string{"i-0123456789abcdef0"})))
		out, err := client.GetSchedule(t.Context(), &scheduler.GetScheduleInput{Name: aws.String("penstock-e-1-instances")})
		b.must(err)
		ends, err := time.Parse("at(2006-01-02T15:04:05)", aws.ToString(out.ScheduleExpression))
		b.must(err)
		if at != gone && !ends.Equal(at) || at == gone && (ends.Before(time.Now()) || ends.After(first)) {
			t.Errorf("schedule %d, of %v, is due at %v", n, at, ends)
		}
	}
}
