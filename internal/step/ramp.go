// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"math"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// ramp leads up to a load's rate, evenly from nothing, so that what is in front of the service
// has grown when the load begins. Its requests are counted, and their latencies are not.
func ramp(ctx context.Context, attacker *vegeta.Attacker, targeter vegeta.Targeter, l pipeline.Load, say func(string, ...any)) *pipeline.LoadRamp {
	if l.Ramp <= 0 {
		return nil
	}
	say("ramp of %s to %.4g requests per second, which no figure counts", l.Ramp, l.Rate)
	did := &pipeline.LoadRamp{Duration: l.Ramp}
	for r := range attacker.Attack(targeter, ascent{ctx, l.Rate, l.Ramp}, l.Ramp, "") {
		did.Requests++
		if r.Error != "" {
			did.Errors++
		}
	}
	say("ramp: %s", describeRamp(did))
	return did
}

// ascent sends request n when as many have become due, of a rate that grows evenly.
type ascent struct {
	ctx  context.Context
	rate float64 // requests per second, at the end
	over time.Duration
}

var _ vegeta.Pacer = ascent{}

// Pace waits until the next request is due, or says that there is none.
func (a ascent) Pace(elapsed time.Duration, sent uint64) (time.Duration, bool) {
	all := a.rate * a.over.Seconds() / 2
	if float64(sent) >= all || a.ctx.Err() != nil {
		return 0, true
	}
	due := time.Duration(math.Sqrt(float64(sent)/all) * float64(a.over))
	if due <= elapsed {
		return 0, false
	}
	return 0, pause(a.ctx, due-elapsed) != nil
}

// Rate returns the rate at a time, in requests per second.
func (a ascent) Rate(elapsed time.Duration) float64 {
	return a.rate * min(elapsed.Seconds()/a.over.Seconds(), 1)
}
