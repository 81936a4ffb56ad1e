// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package gate

import (
	"fmt"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// RefusalKind says why something is refused.
type RefusalKind string

// The kinds of refusal.
const (
	RefusedMalformed RefusalKind = "malformed"   // it is no ID of a build
	RefusedObstacle  RefusalKind = "obstacle"    // an obstacle keeps the build
	RefusedPaused    RefusalKind = "paused"      // somebody has paused the stage
	RefusedPerson    RefusalKind = "not_allowed" // the person lacks the right
)

// Refusal is why a build may not enter a stage, or why a stage may not go on. It is the cause
// in an error with the code of its kind.
type Refusal struct {
	Kind            RefusalKind
	Pipeline, Stage string // the stage is empty for an environment
	Build           string
	Obstacle        Obstacle       // of RefusedObstacle
	Pause           pipeline.Pause // of RefusedPaused
	Person          error          // of RefusedPerson: its hint names the people who have the right
}

// Error says why, but not what to do about it.
func (r *Refusal) Error() string {
	switch r.Kind {
	case RefusedMalformed:
		return fmt.Sprintf("%q is not a build ID", r.Build)
	case RefusedPaused:
		text := fmt.Sprintf("%s paused the stage at %s", r.Pause.Actor, pipeline.Moment(r.Pause.At.UTC()))
		if r.Pause.Reason != "" {
			text += ": " + r.Pause.Reason
		}
		return text
	case RefusedPerson:
		return r.Person.Error()
	}
	return r.Obstacle.Cause()
}

// Code returns the code of the refusal's kind.
func (r *Refusal) Code() pipeline.Code {
	switch {
	case r.Kind == RefusedMalformed:
		return pipeline.CodeInvalid
	case r.Kind == RefusedPerson:
		return pipeline.CodeNotAllowed
	case r.Kind == RefusedObstacle && r.Obstacle.Kind == ObstacleNoBuild:
		return pipeline.CodeNotFound
	}
	return pipeline.CodeRefused
}

// During returns the refusal as an error of an operation, with what to do about it; nil for
// none.
func (r *Refusal) During(op string) error {
	switch {
	case r == nil:
		return nil
	case r.Kind == RefusedPerson:
		return r.Person
	}
	err := &pipeline.Error{Code: r.Code(), Op: op, Err: r}
	switch r.Kind {
	case RefusedMalformed:
		return err.WithHint("A build ID is \"b-\" and ten hexadecimal digits.").WithAdvice(pipeline.Advice{Verb: pipeline.VerbListBuilds, Pipeline: r.Pipeline})
	case RefusedPaused:
		return err.WithAdvice(pipeline.Advice{Verb: pipeline.VerbResume, Pipeline: r.Pipeline, Stage: r.Stage})
	}
	return err.WithAdvice(r.Obstacle.Advice())
}

// describe names a stage, with its pipeline. One without a name is the gate of an environment.
func describe(s pipeline.Stage) string {
	if s.Name == "" {
		return fmt.Sprintf("an environment of pipeline %q", s.Pipeline)
	}
	return fmt.Sprintf("stage %q of pipeline %q", s.Name, s.Pipeline)
}

func malformed(stage pipeline.Stage, build string) *Refusal {
	return &Refusal{Kind: RefusedMalformed, Pipeline: stage.Pipeline, Stage: stage.Name, Build: build}
}

func pausedRefusal(stage pipeline.Stage, p pipeline.Pause) *Refusal {
	return &Refusal{Kind: RefusedPaused, Pipeline: stage.Pipeline, Stage: stage.Name, Pause: p}
}

// refuse returns why a build may not enter a stage; nil if it may.
func (r *rules) refuse(stage pipeline.Stage, build string) *Refusal {
	o, found := r.before(stage, build)
	if !found {
		return nil
	}
	return &Refusal{Kind: RefusedObstacle, Pipeline: stage.Pipeline, Stage: stage.Name, Build: build, Obstacle: o}
}

// checkPin returns why a stage may not be pinned to a build. A pin to the stage's current
// build opens no gate, so that build only must not be rejected.
func (r *rules) checkPin(stage pipeline.Stage, build string) *Refusal {
	if !pipeline.ValidBuildID(build) {
		return malformed(stage, build)
	}
	if r.Current[stage.Name].Build == build && r.RejectedAbove(stage, build) == "" {
		return nil
	}
	return r.refuse(stage, build)
}

// mayPin refuses a pin that moves a stage which needs the deploy right, if the person lacks
// that right. A pin that leaves the stage where it is needs no right.
func (r *rules) mayPin(stage pipeline.Stage, who pipeline.Person) *Refusal {
	if stage.Pin == "" || !stage.RequiresDeployRight() || r.Current[stage.Name].Build == stage.Pin {
		return nil
	}
	err := r.Pipeline.Authorize(pipeline.RightDeploy, who, fmt.Sprintf("move %s to build %s", describe(stage), stage.Pin))
	if err == nil {
		return nil
	}
	return &Refusal{Kind: RefusedPerson, Pipeline: stage.Pipeline, Stage: stage.Name, Build: stage.Pin, Person: err}
}

// CheckID refuses, with CodeInvalid, a text that is not the ID of a build.
func CheckID(stage pipeline.Stage, build string) error {
	if pipeline.ValidBuildID(build) {
		return nil
	}
	return malformed(stage, build).During("move " + describe(stage))
}

// CheckPin refuses a pin of a stage to a build.
func CheckPin(st *pipeline.State, stage pipeline.Stage, build string) error {
	r := newRules(st).checkPin(stage, build)
	if r == nil {
		return nil
	}
	return r.During(fmt.Sprintf("enter build %s into %s", build, describe(stage)))
}

// CheckPerson refuses, with CodeNotAllowed, a pin that moves a stage if the person may not
// deploy.
func CheckPerson(st *pipeline.State, stage pipeline.Stage, who pipeline.Person) error {
	return newRules(st).mayPin(stage, who).During("")
}

// CheckPaused refuses, with CodeRefused, a move of a paused stage.
func CheckPaused(st *pipeline.State, stage pipeline.Stage, op string) error {
	p, paused := st.Pauses[stage.Name]
	if !paused {
		return nil
	}
	return pausedRefusal(stage, p).During(op)
}

// Eligible returns why a build may not enter a stage: CodeNotFound for a build that does not
// exist, CodeRefused for the rest; nil if it may. The zero Stage with an After is the gate of
// an environment.
func Eligible(st *pipeline.State, stage pipeline.Stage, build string) error {
	r := newRules(st).refuse(stage, build)
	if r == nil {
		return nil
	}
	return r.During(fmt.Sprintf("enter build %s into %s", build, describe(stage)))
}

// MayEnter reports whether a build may enter a stage. It is quicker than Eligible.
func MayEnter(st *pipeline.State, stage pipeline.Stage, build string) bool {
	return newRules(st).mayEnter(stage, build)
}

// NewestEligible returns the newest build above the given order that may enter the stage.
func NewestEligible(st *pipeline.State, stage pipeline.Stage, above int64) (string, bool) {
	return newRules(st).newestEligible(stage, above)
}

// ObstacleTo returns the first obstacle that keeps a build from entering a stage; false if it
// may.
func ObstacleTo(st *pipeline.State, stage pipeline.Stage, build string) (Obstacle, bool) {
	return newRules(st).before(stage, build)
}

// ObstaclePast returns the first obstacle that keeps a build from having passed a stage, the
// way there included; false if it has passed.
func ObstaclePast(st *pipeline.State, stage pipeline.Stage, build string) (Obstacle, bool) {
	r := newRules(st)
	if o, found := r.before(stage, build); found || r.Passed(stage.Name, build) {
		return o, found
	}
	return r.at(stage.Name, build), true
}

// Err returns the obstacle as an error of an operation.
func (o Obstacle) Err(op string) error {
	return (&Refusal{Kind: RefusedObstacle, Pipeline: o.Pipeline, Build: o.Build, Obstacle: o}).During(op)
}
