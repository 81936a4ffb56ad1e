// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package audit

import (
	"context"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/codebuild/types"
)

// buildQuotas are the codes of the quotas of builds that run at the same time, by the size of
// their Linux machines.
var buildQuotas = map[types.ComputeType]string{
	types.ComputeTypeBuildGeneral1Small: "L-9D07B6EF", types.ComputeTypeBuildGeneral1Medium: "L-2DC20C30", types.ComputeTypeBuildGeneral1Large: "L-4DDC4A99",
}

// concurrency asks how many builds of the stack's projects may run at the same time. An apply
// in CodeBuild waits for its steps there, which need a machine beside its own. New accounts
// may have a quota of none.
func (a *Audit) concurrency(ctx context.Context) {
	names := slices.DeleteFunc([]string{a.made.ApplyProject, a.made.RunnerProject}, func(name string) bool { return name == "" })
	if len(names) == 0 {
		return
	}
	out, err := a.builds.BatchGetProjects(ctx, &codebuild.BatchGetProjectsInput{Names: names})
	if err != nil {
		a.unasked(quotas, "codebuild:BatchGetProjects", err)
		return
	}
	needed := map[types.ComputeType]float64{}
	for _, p := range out.Projects {
		if p.Environment != nil {
			needed[p.Environment.ComputeType]++
		}
	}
	for _, size := range slices.Sorted(maps.Keys(needed)) {
		code, known := buildQuotas[size]
		if !known {
			continue // somebody changed the project
		}
		most, ok := a.quota(ctx, "codebuild", code)
		switch {
		case !ok:
			return
		case most < 1:
			a.say(quotas, Bad, higher, "CodeBuild may run no build on machines of the size %s", size)
		case most < needed[size]:
			a.say(quotas, Bad, "Give steps and applies machines of different sizes, or ask AWS for a higher quota, in the console of Service Quotas.",
				"CodeBuild may run builds on machines of the size %s, at most %v at a time: a step there would wait for the apply that waits for it", size, most)
		default:
			a.say(quotas, Good, "", "CodeBuild may run builds on machines of the size %s, at most %v at a time", size, most)
		}
	}
}
