// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// hookRow is a hook of a run, which worked on the data of an environment.
type hookRow struct {
	Name   string // of the argument, such as service.migrate
	Status string // "passed", "failed", or "to come" of a finish that is not done
	Error  string
	Took   time.Duration // 0 where that is not recorded
	DueAt  time.Time     // of a finish that is to come
	InLog  bool          // the log has a part of it
}

// hooksOf returns the hooks of a run in the order in which they ran, and the finish of its
// deployment, which may run long after it.
func hooksOf(st *pipeline.State, run pipeline.Run) (rows []hookRow) {
	for _, h := range run.Hooks {
		row := hookRow{Name: h.Name, Status: string(pipeline.RunPassed), Error: h.Error, Took: h.Duration, InLog: h.Log != nil}
		if h.Error != "" {
			row.Status = string(pipeline.RunFailed)
		}
		rows = append(rows, row)
	}
	f, ok := st.Finishes[run.Stage]
	if !ok || f.Run != run.ID {
		return rows
	}
	row := hookRow{Name: "service.finish", Status: string(pipeline.RunPassed), Error: f.Error}
	switch {
	case f.Done():
	case f.Error != "":
		row.Status = string(pipeline.RunFailed)
	case st.Pipeline.Service.Finish == "": // it is not set any more, and will not run
		return rows
	default:
		row.Status, row.DueAt = stepToCome, f.DueAt
	}
	return append(rows, row)
}

// hookPart returns the part of a run's log that a hook has.
func hookPart(run pipeline.Run, name string) (pipeline.LogPart, bool) {
	for _, h := range run.Hooks {
		if h.Name == name && h.Log != nil {
			return *h.Log, true
		}
	}
	return pipeline.LogPart{}, false
}
