// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
)

// retryer tries again what was throttled or lost. AWS limits the rate of each API
// for itself, and so does this: once AWS throttles one, further requests to it are
// held back to the rate that it bears, and those to others are not.
type retryer struct {
	aws.RetryerV2 // what is the same for all: which errors, how often, after how long
	attempts      int

	mu   sync.Mutex
	apis map[string]*retry.AdaptiveMode
}

func newRetryer(attempts int) *retryer {
	return &retryer{RetryerV2: adaptive(attempts), attempts: attempts, apis: map[string]*retry.AdaptiveMode{}}
}

func adaptive(attempts int) *retry.AdaptiveMode {
	return retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
		o.StandardOptions = append(o.StandardOptions, func(s *retry.StandardOptions) { s.MaxAttempts = attempts })
	})
}

// api returns the retryer of the API that is called in a context.
func (r *retryer) api(ctx context.Context) *retry.AdaptiveMode {
	name := middleware.GetServiceID(ctx) + "." + middleware.GetOperationName(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.apis[name] == nil {
		r.apis[name] = adaptive(r.attempts)
	}
	return r.apis[name]
}

// GetAttemptToken implements aws.RetryerV2: it waits until the API may be called.
func (r *retryer) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	return r.api(ctx).GetAttemptToken(ctx)
}

// GetRetryToken implements aws.RetryerV2: it bounds the repetitions of an API.
func (r *retryer) GetRetryToken(ctx context.Context, err error) (func(error) error, error) {
	return r.api(ctx).GetRetryToken(ctx, err)
}
