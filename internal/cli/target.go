// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// target is what the arguments of a command name. A pipeline can be left out where there
// is one, and a stage where one fits.
type target struct {
	pipeline, stage, build string
}

// read takes arguments apart: PIPELINE, STAGE and BUILD in this order, of which some may be
// missing. A build is known by its form, that of an ID or a number; what the others are,
// resolve finds out.
func (t *target) read(given []string) {
	if n := len(given); n > 0 && n < 3 && pipeline.NamesBuild(given[n-1]) {
		t.build, given = given[n-1], given[:n-1]
	} else {
		t.build = arg(given, 2)
	}
	t.pipeline, t.stage = arg(given, 0), arg(given, 1)
}

// fitting says which stages a command is for: those of the first rule that any fit.
type fitting struct {
	rules []func(*pipeline.State, pipeline.Stage) bool
	none  string // completes "no stage of pipeline shop …"
}

// Which stages the commands on stages are for.
var (
	deciding = &fitting{[]func(*pipeline.State, pipeline.Stage) bool{waitsForDecision, takesDecision}, "takes a decision"}
	manual   = &fitting{[]func(*pipeline.State, pipeline.Stage) bool{unpinned, byHand}, "has a manual trigger"}
	promoted = &fitting{[]func(*pipeline.State, pipeline.Stage) bool{isPromoted}, "has a promotion that waits for an apply"}
	running  = &fitting{[]func(*pipeline.State, pipeline.Stage) bool{lastFailed, hasRun}, "has run"}
	paused   = &fitting{[]func(*pipeline.State, pipeline.Stage) bool{isPaused}, "is paused"}
	latest   = &fitting{[]func(*pipeline.State, pipeline.Stage) bool{ranLast}, "has run"}
	lifting  = &fitting{[]func(*pipeline.State, pipeline.Stage) bool{hasRejection}, "has a rejected build"}
	every    = &fitting{[]func(*pipeline.State, pipeline.Stage) bool{takesBuild}, "takes builds"}
)

// cancelPromotion is what promote --cancel does.
const cancelPromotion = "cancel promotion"

// stagesFor are the stages that the commands are for which take one.
var stagesFor = map[string]*fitting{
	"approve": deciding, "lift": lifting, "reject": deciding, "try": deciding, "promote": manual, "rollback": manual, cancelPromotion: promoted,
	"override": every, "pause": every, "resume": paused, "retry": running, "logs": latest,
}

func takesDecision(_ *pipeline.State, s pipeline.Stage) bool { return s.Approval }

func waitsForDecision(st *pipeline.State, s pipeline.Stage) bool {
	return gate.Now(st).View(s.Name).Undecided != ""
}

func byHand(_ *pipeline.State, s pipeline.Stage) bool { return s.Trigger == pipeline.TriggerManual }

func unpinned(st *pipeline.State, s pipeline.Stage) bool { return byHand(st, s) && s.Pin == "" }

func isPromoted(st *pipeline.State, s pipeline.Stage) bool {
	_, pending := gate.PendingPromotion(st, s)
	return pending
}

func hasRun(st *pipeline.State, s pipeline.Stage) bool { return st.Latest[s.Name].ID != "" }

func lastFailed(st *pipeline.State, s pipeline.Stage) bool {
	return st.Latest[s.Name].Status == pipeline.RunFailed
}

func isPaused(st *pipeline.State, s pipeline.Stage) bool {
	_, ok := st.Pauses[s.Name]
	return ok
}

// hasRejection reports whether a build stands rejected at a stage, which approve --lift lifts.
func hasRejection(st *pipeline.State, s pipeline.Stage) bool {
	for _, d := range st.Decisions {
		if d.Stage == s.Name && d.Result == pipeline.Rejected {
			return true
		}
	}
	return false
}

func takesBuild(_ *pipeline.State, s pipeline.Stage) bool { return s.TakesBuild() }

func ranLast(st *pipeline.State, s pipeline.Stage) bool {
	mine := st.Latest[s.Name]
	if mine.ID == "" {
		return false
	}
	for name := range st.Stages {
		if st.Latest[name].StartedAt.After(mine.StartedAt) {
			return false
		}
	}
	return true
}

// stages lists the names of the stages that fit, in order.
func (fit *fitting) stages(st *pipeline.State) (names []string) {
	for _, rule := range fit.rules {
		for _, s := range st.StagesInOrder() {
			if rule(st, s) {
				names = append(names, s.Name)
			}
		}
		if len(names) > 0 {
			break
		}
	}
	return names
}

// resolve fills in what the arguments leave out: the pipeline and, where a command is for
// stages, the stage. Where there is more than one it is a usage error that lists them. A
// build that is named by its number gets its ID.
func (f *factory) resolve(ctx context.Context, a *app.App, verb string, t *target) error {
	if err := t.fill(ctx, f, a, verb); err != nil {
		return err
	}
	return f.number(ctx, a, t.pipeline, &t.build)
}

// fill fills in the pipeline and the stage that the arguments leave out.
func (t *target) fill(ctx context.Context, f *factory, a *app.App, verb string) error {
	names, err := a.Engine.Reports.Names(ctx)
	if err != nil {
		return err
	}
	fit := stagesFor[verb]
	if t.pipeline, t.stage, err = f.shift(ctx, a, names, fit != nil, t.pipeline, t.stage); err != nil {
		return err
	}
	if t.pipeline == "" {
		if t.pipeline, err = only(verb, "PIPELINE", "there are", names); err != nil {
			return err
		}
	}
	if !slices.Contains(names, t.pipeline) {
		return noPipeline(ctx, a, t.pipeline)
	}
	if fit == nil || t.stage != "" {
		return nil
	}
	st, err := a.Engine.State(ctx, t.pipeline)
	if err != nil {
		return err
	}
	stages := fit.stages(st)
	if len(stages) == 0 {
		return pipeline.Errorf(pipeline.CodeRefused, verb, "no stage of pipeline %s %s", t.pipeline, fit.none).
			WithHint("`penstock status %s` shows where the stages are.", t.pipeline)
	}
	t.stage, err = only(verb, "STAGE", fmt.Sprintf("pipeline %s has", t.pipeline), stages)
	return err
}

// shift finds out whether a single word is the name of a stage, and the only pipeline was
// left out.
func (f *factory) shift(ctx context.Context, a *app.App, names []string, stages bool, first, second string) (string, string, error) {
	if !stages || first == "" || second != "" || len(names) != 1 || names[0] == first {
		return first, second, nil
	}
	st, err := a.Engine.State(ctx, names[0])
	if err != nil {
		return first, second, err
	}
	if _, ok := st.Stages[first]; !ok && !pipeline.IsImageRun(first) {
		return first, second, nil
	}
	return names[0], first, nil
}

// which says what the arguments of a command on environments may leave out.
type which int

const (
	nobody   which = iota // a single argument is the pipeline, and there may be no environment
	theOne                // the environment may be left out where there is one
	theNamed              // it has to be named
)

// place fills in what the arguments leave out.
func (o *envOptions) place(ctx context.Context, a *app.App, verb string, w which) error {
	return o.environment(ctx, a, verb, w, &o.pipeline, &o.name)
}

// environment fills in what the arguments of a command on a person's environment leave out.
// A single one that names no pipeline names an environment of the only pipeline.
func (f *factory) environment(ctx context.Context, a *app.App, verb string, w which, pipelineName, name *string) error {
	names, err := a.Engine.Reports.Names(ctx)
	if err != nil {
		return err
	}
	if *pipelineName != "" && *name == "" && w != nobody && !slices.Contains(names, *pipelineName) {
		*pipelineName, *name = "", *pipelineName
	}
	if *pipelineName == "" {
		if *pipelineName, err = only(verb, "PIPELINE", "there are", names); err != nil {
			return err
		}
	}
	if !slices.Contains(names, *pipelineName) {
		return noPipeline(ctx, a, *pipelineName)
	}
	if w == nobody || *name != "" {
		return nil
	}
	st, err := a.Engine.State(ctx, *pipelineName)
	if err != nil {
		return err
	}
	var theirs []string
	for _, env := range st.Environments {
		if env.Purpose == pipeline.ForPerson {
			theirs = append(theirs, env.Name)
		}
	}
	slices.Sort(theirs)
	switch {
	case len(theirs) == 0:
		return pipeline.Errorf(pipeline.CodeNotFound, verb, "pipeline %q has no self-service environment", *pipelineName).
			WithHint("`penstock env launch %s` launches one; --stage names the environment of a stage instead.", *pipelineName)
	case len(theirs) == 1 && w == theOne:
		*name = theirs[0]
		return nil
	}
	return &usageError{fmt.Errorf("cannot %s: NAME required; pipeline %s has %s", verb, *pipelineName, strings.Join(theirs, ", "))}
}

// only returns the single one of some names, where an argument was left out.
func only(verb, argument, there string, names []string) (string, error) {
	switch len(names) {
	case 0:
		return "", pipeline.Errorf(pipeline.CodeNotFound, verb, "there is no pipeline yet").WithHint("`terraform apply` of a penstock_pipeline makes one.")
	case 1:
		return names[0], nil
	}
	return "", &usageError{fmt.Errorf("cannot %s: %s required; %s %s", verb, argument, there, strings.Join(names, ", "))}
}
