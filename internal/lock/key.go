// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package lock

import (
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// The keys of leases: one for each thing that one process at a time may change.

// Pipeline is the key of a pipeline as a whole.
func Pipeline(name string) pipeline.LeaseKey {
	return pipeline.LeaseKey{Pipeline: name, Kind: pipeline.LeasePipeline}
}

// Stage is the key of a stage, its runs and its environments.
func Stage(pipelineName, stage string) pipeline.LeaseKey {
	return pipeline.LeaseKey{Pipeline: pipelineName, Kind: pipeline.LeaseStage, Name: stage}
}

// Drift is the key of a check of a stage for drift.
func Drift(pipelineName, stage string) pipeline.LeaseKey {
	return pipeline.LeaseKey{Pipeline: pipelineName, Kind: pipeline.LeaseDrift, Name: stage}
}

// Image is the key of a baked image.
func Image(pipelineName, image string) pipeline.LeaseKey {
	return pipeline.LeaseKey{Pipeline: pipelineName, Kind: pipeline.LeaseImage, Name: image}
}

// Personal is the key of a person's environment.
func Personal(pipelineName, environment string) pipeline.LeaseKey {
	return pipeline.LeaseKey{Pipeline: pipelineName, Kind: pipeline.LeaseEnvironment, Name: environment}
}

// Owner is the key of the environments of a person, under which they are counted.
func Owner(pipelineName, person string) pipeline.LeaseKey {
	return pipeline.LeaseKey{Pipeline: pipelineName, Kind: pipeline.LeaseOwner, Name: person}
}

// Session is the key that says that a process which creates something is alive.
func Session(pipelineName, id string) pipeline.LeaseKey {
	return pipeline.LeaseKey{Pipeline: pipelineName, Kind: pipeline.LeaseCreation, Name: id}
}

// Environment is the key under which an environment is changed.
func Environment(env pipeline.Environment) pipeline.LeaseKey {
	if env.Purpose == pipeline.ForPerson {
		return Personal(env.Pipeline, env.Name)
	}
	return Stage(env.Pipeline, env.Stage)
}

// Run is the key under which a run is made.
func Run(pipelineName string, run pipeline.RunSummary) pipeline.LeaseKey {
	if run.Kind == pipeline.KindBake {
		return Image(pipelineName, strings.TrimPrefix(run.Stage, pipeline.ImageRun("")))
	}
	return Stage(pipelineName, run.Stage)
}
