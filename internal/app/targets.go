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

// Check implements pipeline.Targets. All targets are on this machine, so that a port is that of
// one endpoint.
func (l localTargets) Check(s pipeline.Siting) error {
	const op = "check targets"
	for _, t := range s.At {
		if err := onlyNamed(op, t); err != nil {
			return err
		}
	}
	port := s.Spec.Port
	if port == 0 {
		return nil
	}
	if len(s.At) > 1 {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "environment.port = %d is that of one endpoint, and all %d targets are on this machine", port, len(s.At)).
			WithHint("Each target then gets a port of its own, which stays.").WithAdvice(pipeline.Unset("environment.port"))
	}
	for _, env := range s.Beside {
		if env.Spec.Port == port {
			return pipeline.Errorf(pipeline.CodeInvalid, op, "environment.port = %d is that of %s, which ends only once the new one serves, and both are on this machine", port, env.Describe()).
				WithHint("Choose another port.").WithAdvice(pipeline.Unset("environment.port"))
		}
	}
	return nil
}

// onlyNamed refuses a target with what only one on AWS has.
func onlyNamed(op string, t pipeline.Target) error {
	of := "target " + t.Name
	if t.Name == "" {
		of = "aws"
	}
	for _, set := range []struct{ name, value string }{{"role_arn", t.RoleARN}, {"reader_role_arn", t.ReaderRoleARN}, {"external_id", t.ExternalID}, {"region", t.Region}, {"stack", t.Stack}, {"kms_key", t.KMSKey}} {
		if set.value != "" {
			return pipeline.Errorf(pipeline.CodeInvalid, op, "%s %q of %s has no meaning on the local platform", set.name, set.value, of).
				WithAdvice(pipeline.Unset(set.name), pipeline.Set("aws", "{ … }", "the provider"))
		}
	}
	return nil
}

// Open implements pipeline.Targets.
func (l localTargets) Open(_ context.Context, t pipeline.Target) (pipeline.Platform, error) {
	if err := onlyNamed("open "+t.Describe(), t); err != nil {
		return nil, err
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
