// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package stack

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// What AWS has is known soon after, whether it takes 20 seconds or ten minutes, and
// without many requests. The clock is the test's.
func TestKnownInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		var late []time.Duration
		for takes := 20 * time.Second; takes <= 10*time.Minute; takes += 1300 * time.Millisecond {
			began, looks := time.Now(), 0
			err := s.Wait(t.Context(), "it", time.Hour, func(context.Context) (poll.Probe, error) {
				looks++
				return poll.Probe{Done: time.Since(began) >= takes}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			after := time.Since(began) - takes
			late = append(late, after)
			if after > max(3*time.Second, takes/50) {
				t.Errorf("what takes %s is known %s later", takes, after)
			}
			if most := int(takes/(2*time.Second)) + 1; looks > most {
				t.Errorf("what takes %s takes %d looks", takes, looks)
			}
		}
		slices.Sort(late)
		t.Logf("known after: median %s, worst %s", late[len(late)/2], late[len(late)-1])
	})
}

// ARNs are of the partition that the stack's own are of; without one, of that of the region.
func TestPartitionOfStack(t *testing.T) {
	t.Parallel()
	for scheduler, want := range map[string]string{
		"arn:aws-eusc:iam::123456789012:role/penstock-SchedulerRole": "arn:aws-eusc:iam::123456789012:role/aws-service-role/s.example/Role",
		"": "arn:aws-iso-e:iam:::role/aws-service-role/s.example/Role",
	} {
		s := New(Options{Config: aws.Config{Region: "eu-isoe-west-1"}, Settings: Settings{SchedulerRole: scheduler}})
		if got := s.ServiceLinkedRole("s.example", "Role"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
