// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"context"
	"path/filepath"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local"
)

// targetsDir has a data directory for each target of stages on the local platform.
const targetsDir = "targets"

var _ pipeline.Targets = localTargets{}

// localTargets opens the targets of the local platform: each has its environments in a
// directory of its own, and launches the images of the data directory.
type localTargets struct{ home local.Options }

// Open implements pipeline.Targets.
func (l localTargets) Open(_ context.Context, t pipeline.Target) (pipeline.Platform, error) {
	for _, set := range []struct{ name, value string }{{"role_arn", t.RoleARN}, {"reader_role_arn", t.ReaderRoleARN}, {"external_id", t.ExternalID}, {"region", t.Region}, {"stack", t.Stack}, {"kms_key", t.KMSKey}} {
		if set.value != "" {
			return nil, pipeline.Errorf(pipeline.CodeInvalid, "open "+t.Describe(), "%s has no meaning on the local platform", set.name).
				WithAdvice(pipeline.Unset(set.name), pipeline.Set("aws", "{ … }", "the provider"))
		}
	}
	if t.Name == "" {
		return local.New(l.home), nil
	}
	there := l.home
	there.Dir, there.Work, there.ImagesOf = filepath.Join(l.home.Dir, targetsDir, t.Name), filepath.Join(l.home.Work, targetsDir, t.Name), l.home.Dir
	return local.New(there), nil
}

// Look implements pipeline.Targets. Who may look at a data directory may change it.
func (l localTargets) Look(ctx context.Context, t pipeline.Target) (pipeline.Platform, error) {
	return l.Open(ctx, t)
}
