// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package poll_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

var schedule = poll.Schedule{First: time.Second, Max: 4 * time.Second, Factor: 2, What: "the kettle to boil"}

func TestUntilDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, probes := time.Now(), 0
		err := poll.Until(t.Context(), schedule, func(context.Context) (poll.Probe, error) {
			probes++
			return poll.Probe{Done: probes == 5}, nil
		})
		// Pauses of 1, 2, 4 and 4 seconds, each with at most 20 % of jitter.
		took := time.Since(began)
		if err != nil || probes != 5 || took < 8800*time.Millisecond || took > 13200*time.Millisecond {
			t.Errorf("%d probes in %s, %v", probes, took, err)
		}
	})
}

func TestErrors(t *testing.T) {
	broken := errors.New("broken")
	tests := map[string]struct {
		limit  time.Duration
		probe  func(n int) (poll.Probe, error)
		probes int
		want   []error
		says   []string
	}{
		"an error ends the wait": {
			probe: func(int) (poll.Probe, error) { return poll.Probe{}, broken }, probes: 1, want: []error{broken}, says: []string{"broken"},
		},
		"a retryable error does not": {
			probe: func(n int) (poll.Probe, error) {
				if n < 3 {
					return poll.Probe{}, poll.Retryable(broken)
				}
				return poll.Probe{Done: true}, nil
			}, probes: 3,
		},
		"the limit keeps the last state and error": {
			limit: 2300 * time.Millisecond, // before the third probe, however the jitter falls
			probe: func(int) (poll.Probe, error) { return poll.Probe{State: "lukewarm"}, poll.Retryable(broken) }, probes: 2,
			want: []error{broken, context.DeadlineExceeded}, says: []string{"the kettle to boil", "lukewarm", "broken"},
		},
		"a limit in the middle of a probe": {
			limit: 1500 * time.Millisecond,
			probe: func(n int) (poll.Probe, error) {
				if n == 1 {
					return poll.Probe{State: "cold"}, nil
				}
				time.Sleep(time.Second)
				return poll.Probe{}, fmt.Errorf("look: %w", context.DeadlineExceeded)
			}, probes: 2,
			want: []error{context.DeadlineExceeded}, says: []string{"the kettle to boil", "cold"},
		},
		"a limit without an error": {
			limit: 1500 * time.Millisecond, probe: func(int) (poll.Probe, error) { return poll.Probe{State: "cold"}, nil }, probes: 2,
			want: []error{context.DeadlineExceeded}, says: []string{"cold"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				probes := 0
				s := schedule
				s.Limit = tt.limit
				err := poll.Until(t.Context(), s, func(context.Context) (poll.Probe, error) {
					probes++
					return tt.probe(probes)
				})
				if (err == nil) != (tt.want == nil) || probes != tt.probes {
					t.Fatalf("%d probes, %v; want %d", probes, err, tt.probes)
				}
				for _, want := range tt.want {
					if !errors.Is(err, want) {
						t.Errorf("%v does not wrap %v", err, want)
					}
				}
				for _, want := range tt.says {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%v does not say %q", err, want)
					}
				}
			})
		})
	}
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(1500*time.Millisecond, cancel)
		began := time.Now()
		err := poll.Until(ctx, schedule, func(context.Context) (poll.Probe, error) { return poll.Probe{}, nil })
		if !errors.Is(err, context.Canceled) || time.Since(began) != 1500*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
	if poll.Retryable(nil) != nil {
		t.Error("no error became one")
	}
}

func TestShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, last := time.Now(), time.Now()
		err := poll.Until(t.Context(), poll.Schedule{First: time.Second, Share: 0.1, What: "the tide"}, func(context.Context) (poll.Probe, error) {
			waited, paused := time.Since(began), time.Since(last)
			last = time.Now()
			if most := max(time.Second, (waited-paused)/10) * 6 / 5; paused > most+time.Millisecond {
				t.Errorf("after %s it paused for %s", waited, paused)
			}
			return poll.Probe{Done: waited > 10*time.Minute}, nil
		})
		if err != nil || time.Since(last) > 0 {
			t.Error(err)
		}
	})
}
