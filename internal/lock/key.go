// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package lock

import "github.com/penstock-io/terraform-provider-penstock/internal/pipeline"

// Lease keys: one per thing that one process at a time may change.

// Pipeline is the key of a pipeline as a whole.
func Pipeline(name string) string { return name + "/pipeline" }

// Stage is the key of a stage, its runs and its environments.
func Stage(pipelineName, stage string) string { return pipelineName + "/stage/" + stage }

// Image is the key of a baked image.
func Image(pipelineName, image string) string {
	return pipelineName + "/" + pipeline.ImageRun(image)
}

// Personal is the key of a person's environment.
func Personal(pipelineName, environment string) string {
	return pipelineName + "/environment/" + environment
}

// Owner is the key of the environments that a person has, where they are counted.
func Owner(pipelineName, person string) string { return pipelineName + "/owner/" + person }

// Session is the key that says that a process lives that creates something.
func Session(pipelineName, id string) string { return pipelineName + "/creation/" + id }

// Environment is the key under which an environment is changed.
func Environment(env pipeline.Environment) string {
	if env.Purpose == pipeline.ForPerson {
		return Personal(env.Pipeline, env.Name)
	}
	return Stage(env.Pipeline, env.Stage)
}

// Run is the key under which a run is made.
func Run(pipelineName string, run pipeline.RunSummary) string {
	if run.Kind == pipeline.KindBake {
		return pipelineName + "/" + run.Stage
	}
	return Stage(pipelineName, run.Stage)
}

// What watchers take leases for, after the name of their pipeline: others see in the first
// that it is watched, and in the purpose of the second, while there is one, what its watcher
// does.
const (
	Watching = "watch"
	Doing    = "watch/doing"
)
