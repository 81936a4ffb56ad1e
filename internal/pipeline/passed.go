// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"fmt"
	"slices"
	"strings"
)

// Launch says what a stage's environment is made from.
type Launch struct {
	Image    string // image ID; empty for an empty root
	Install  bool   // install the artifact on it
	Artifact *Artifact
}

// Passed reports whether a build passed a stage. Its run under the stage's present
// definition, or else its latest run, passed; it is not rejected there or above; and if the
// stage needs approval, that run was approved.
func (s *State) Passed(stage, build string) bool {
	up, ok := s.Stages[stage]
	if !ok {
		return false
	}
	if !up.TakesBuild() {
		build = ""
	}
	v, ok := s.ResultOf(up, build)
	switch {
	case build != "" && s.RejectedAbove(up, build) != "":
		return false
	case s.Overridden(up, build):
		return true
	case !ok || v.Status != RunPassed:
		return false
	case up.Approval && build != "":
		return s.DecisionOn(up, build) == Approved
	}
	return true
}

// NewestPassed returns the newest build that passed the stage, or "".
func (s *State) NewestPassed(stage string) string {
	if !s.Stages[stage].TakesBuild() {
		return ""
	}
	for b := range s.NewestBuilds() {
		if s.Passed(stage, b.ID) {
			return b.ID
		}
	}
	return ""
}

// ResultOf returns the run that a build's result at the stage is from.
func (s *State) ResultOf(stage Stage, build string) (RunSummary, bool) {
	all := s.Results[StageBuild(stage.Name, build)]
	if len(all) == 0 {
		return RunSummary{}, false
	}
	if len(all) == 1 {
		return all[0], true
	}
	digest := stage.Digest(s.Pipeline)
	for _, v := range all {
		if v.Digest == digest {
			return v, true
		}
	}
	return all[len(all)-1], true
}

// Missing lists the stages upstream that the build has not passed.
func (s *State) Missing(stage Stage, build string) []string {
	var names []string
	for _, up := range stage.Upstream() {
		if !s.Passed(up, build) {
			names = append(names, up)
		}
	}
	return names
}

// Launch says what an environment of the stage is made from for a build: the application
// image that a stage above baked, else the base image with the artifact installed on it. The
// zero Stage is for a person's environment.
func (s *State) Launch(stage Stage, build string) Launch {
	b := s.Builds[build]
	above := stage.Name == "" || slices.Contains(s.Ancestors(stage.After), b.BakedBy)
	if b.Image != "" && !stage.Bake && above {
		return Launch{Image: b.Image}
	}
	return Launch{Image: b.BaseImage, Install: b.Artifact != nil && s.Pipeline.Service.Install != "", Artifact: b.Artifact}
}

// Inputs returns what a run of the stage for the build consumes.
func (s *State) Inputs(stage Stage, build string) Inputs {
	var in Inputs
	if a := s.Builds[build].Artifact; a != nil && stage.Type != TypeCommit {
		in.Artifact = a.Digest
	}
	if stage.Env != nil {
		in.Image = s.Launch(stage, build).Image
		if m := s.Builds[build].Module; m != nil && s.Pipeline.Module != nil {
			in.Module = m.Digest
		}
	}
	return in
}

func quoteList(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " and " + quoted[len(quoted)-1]
}
