// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package reason

import (
	"cmp"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Note returns what is worth knowing of a stage, by its plan and its latest run: why it
// failed, what it waits for, or what the next apply does. how adds the command that ends a
// wait. The note is empty if there is nothing to say.
func Note(m gate.Move, latest pipeline.RunSummary, how bool) string {
	wait := Wait
	if how {
		wait = Waiting
	}
	switch err := m.Err(); {
	case latest.Status == pipeline.RunRunning:
		return ""
	case gate.Fails(m, latest):
		return pipeline.FirstLine(latest.Error)
	case err != nil:
		return err.Error()
	case m.Wait.Waits():
		return "waits for " + wait(m.Wait)
	case m.Action != gate.ActionNone:
		return cmp.Or(m.Why.String(), string(m.Action))
	}
	return ""
}
