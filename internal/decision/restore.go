// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package decision

import (
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// RestoreOf returns what a rollback to a build restores; nil if it is to restore nothing. It
// refuses what can't be restored.
func RestoreOf(st *pipeline.State, s pipeline.Stage, c Command) (*pipeline.Restore, error) {
	op := c.op()
	refuse := func(format string, args ...any) (*pipeline.Restore, error) {
		return nil, pipeline.Errorf(pipeline.CodeRefused, op, format, args...).
			WithAdvice(pipeline.Advice{Verb: pipeline.VerbListRuns, Pipeline: c.Pipeline})
	}
	switch {
	case !c.RestoreData && c.Backup == "":
		return nil, nil
	case c.Verb != Rollback:
		return refuse("data is not restored, as this is not with a rollback")
	case st.Pipeline.Service.Restore == "":
		return nil, pipeline.Errorf(pipeline.CodeRefused, op, "pipeline %q has no service.restore, by which data is restored", c.Pipeline).
			WithAdvice(pipeline.Set("service.restore", `"…"`, "the pipeline"))
	case !s.Persistent():
		return refuse("the stage has no lasting environment whose data could be restored")
	case c.Backup == "":
		b, ok := pipeline.BackupBefore(st, s.Name, c.Build)
		if !ok {
			return refuse("no backup of stage %q was taken since build %s served there and another replaced it", s.Name, c.Build)
		}
		return pipeline.RestoreOf(b), nil
	}
	for _, b := range slices.Backward(st.BackupsOf(s.Name)) {
		if b.Name == c.Backup {
			return pipeline.RestoreOf(b), nil
		}
	}
	return refuse("stage %q has no backup %q", s.Name, c.Backup)
}
