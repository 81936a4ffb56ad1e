// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// endsPrefix is where STACK-look finds when the environments end that modules made. Their names
// say it: the ID of the environment, "@", and Unix seconds.
const endsPrefix = "ci/ends/"

// endsLimit bounds the wait for the bucket. The build that is due a day after the last one finds
// an environment whose end could not be written.
const endsLimit = 10 * time.Second

// ends lets STACK-look know when environments end that modules made, so that a build of
// STACK-apply destroys the module although nobody runs Penstock by then. A mark that is left
// over, as of an environment that got more time, starts one build for nothing, which removes it.
type ends struct {
	objects *s3.Client
	bucket  string
	now     func() time.Time
	logger  hclog.Logger

	mu    sync.Mutex
	known map[string]string // key of the mark by environment
}

// keep follows what is recorded of environments. It is called before a module makes anything.
func (n *ends) keep(e pipeline.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), endsLimit)
	defer cancel()
	for _, gone := range e.Facts.Gone {
		if gone.Kind == pipeline.RecordEnvironment {
			n.set(ctx, gone.ID, "", false)
		}
	}
	env := e.Facts.Environment
	switch {
	case env == nil:
	case env.Module == nil || env.ExpiresAt.IsZero() || !env.Alive():
		n.set(ctx, env.ID, "", false)
	default: // one that is being destroyed has its mark, and so has one that is tried again
		n.set(ctx, env.ID, fmt.Sprintf("%s%s@%d", endsPrefix, env.ID, env.ExpiresAt.Unix()), env.Status != pipeline.EnvEnding && env.ExpiresAt.After(n.now()))
	}
}

// set makes a mark that of an environment; an empty one is none. Only what is wanted is written.
func (n *ends) set(ctx context.Context, environment, key string, wanted bool) {
	before := n.known[environment]
	if key == before {
		return
	}
	if before != "" {
		n.remove(ctx, before)
	}
	delete(n.known, environment)
	if key == "" {
		return
	}
	n.known[environment] = key
	if !wanted {
		return
	}
	if _, err := n.objects.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(n.bucket), Key: aws.String(key), Body: strings.NewReader("")}); err != nil {
		n.logger.Warn("write when an environment ends", "environment", environment, "error", err)
	}
}

func (n *ends) remove(ctx context.Context, key string) {
	if _, err := n.objects.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(n.bucket), Key: aws.String(key)}); err != nil {
		n.logger.Warn("remove when an environment ends", "object", key, "error", err)
	}
}

// EndExpired ends what modules have made for environments whose time is over, as a build of
// STACK-apply does. It returns when the time of the next one is; zero if none has a time. What
// can't be ended is an error, and is to be tried again.
func (a *App) EndExpired(ctx context.Context) (next time.Time, err error) {
	due, unlisted := a.ends.due(ctx)
	next, err = a.Engine.Collector.EndExpired(ctx)
	for _, key := range due { // the build notes until when nothing else is due
		a.ends.remove(ctx, key)
	}
	return next, errors.Join(unlisted, err)
}

// due returns the marks whose time is over, and those that are none.
func (n *ends) due(ctx context.Context) (keys []string, err error) {
	if n == nil {
		return nil, nil
	}
	pages := s3.NewListObjectsV2Paginator(n.objects, &s3.ListObjectsV2Input{Bucket: aws.String(n.bucket), Prefix: aws.String(endsPrefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list when environments end: %w", err)
		}
		for _, o := range page.Contents {
			_, text, _ := strings.Cut(aws.ToString(o.Key), "@")
			if at, err := strconv.ParseInt(text, 10, 64); err != nil || n.now().Unix() >= at {
				keys = append(keys, aws.ToString(o.Key))
			}
		}
	}
	return keys, nil
}
