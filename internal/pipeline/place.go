// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"fmt"
	"maps"
	"slices"
)

// CheckStage reports why a stage's place in the pipeline is impossible: a stage upstream that
// does not exist, a cycle, stages upstream that never pass the same build, or an environment
// without a service to start. The stage need not be in the state.
func CheckStage(s *State, stage Stage) error {
	op := placing(stage)
	if stage.Env != nil && s.Pipeline.Service.Start == "" && s.Pipeline.Module == nil {
		return Errorf(CodeInvalid, op, "a stage of type %s has an environment, and pipeline %q has no service.start to start in it", stage.Type, stage.Pipeline).
			WithHint("Only a stage of type custom can do without an environment.").
			WithAdvice(Set("service.start", `"…"`, "the pipeline"))
	}
	if stage.Env != nil && s.Pipeline.Module == nil && (len(stage.Env.Variables) > 0 || stage.Env.VariablesVersion > 0 || stage.Env.AllowDestroy) {
		return Errorf(CodeInvalid, op, "its environment sets variables or allow_destroy, and pipeline %q has no module that could take them", stage.Pipeline).
			WithHint("Set module on the penstock_pipeline, or remove the arguments.")
	}
	for _, up := range stage.Upstream() {
		if up == stage.Name {
			return Errorf(CodeInvalid, op, "the stage comes after itself").
				WithHint("Remove %q from its after.", up)
		}
		if _, ok := s.Stages[up]; !ok {
			return Errorf(CodeInvalid, op, "pipeline %q has no stage %q to come after", stage.Pipeline, up).
				WithAdvice(Advice{Verb: VerbRefer, Stage: up})
		}
		if slices.Contains(s.Ancestors([]string{up}), stage.Name) {
			return Errorf(CodeInvalid, op, "stages %q and %q come after each other", stage.Name, up).
				WithHint("Remove one of the two from the other's after.")
		}
	}
	for _, e := range stage.Elsewhere {
		for _, seen := range s.Stages[stage.Name].Elsewhere {
			if err := e.Follows(seen); err != nil {
				return err
			}
		}
	}
	if taker := takesFrom(s, stage); taker != "" {
		return Errorf(CodeInvalid, op, "the stage makes the builds that stage %q, which it comes after, takes", taker).
			WithHint("Remove %q from its after, or let %q come after another commit stage.", taker, taker)
	}
	if err := CheckChannel(s, stage.Name, stage.Publish); err != nil {
		return err
	}
	return checkMeeting(s, stage)
}

// placing says what is checked, for errors.
func placing(s Stage) string { return fmt.Sprintf("place stage %q of pipeline %q", s.Name, s.Pipeline) }

// takesFrom returns a stage above a commit stage that can take only the builds that the
// commit stage makes, or "".
func takesFrom(s *State, stage Stage) string {
	others := func(name string) bool { return name != stage.Name && s.Stages[name].Type == TypeCommit }
	if stage.Type != TypeCommit || slices.ContainsFunc(slices.Collect(maps.Keys(s.Stages)), others) {
		return ""
	}
	for _, name := range s.Ancestors(stage.After) {
		if s.Stages[name].TakesBuild() {
			return name
		}
	}
	return ""
}

// CheckData reports why a stage's environment can't begin with the data of the stage that it
// names, or that it begins with unmasked data of production. A stage that does not exist yet
// may be created in the same apply, often below this one.
func CheckData(s *State, stage Stage) error {
	if err := CheckMask(s, stage); err != nil {
		return err
	}
	if stage.Env == nil || stage.Env.DataFrom == "" {
		return nil
	}
	from, exists := s.Stages[stage.Env.DataFrom]
	if stage.Env.DataFrom != stage.Name && (!exists || from.Persistent()) {
		return nil
	}
	why := "which keeps no environment that data could be copied from"
	if stage.Env.DataFrom == stage.Name {
		why = "the stage itself"
	}
	return Errorf(CodeInvalid, placing(stage), "environment.data_from names %q, %s", stage.Env.DataFrom, why).
		WithHint("Name a stage of type production or one whose environment.keep is true, or remove data_from.")
}

// checkMeeting refuses a stage that comes after stages of which no build can ever pass all,
// because they get their builds from different commit stages.
func checkMeeting(s *State, stage Stage) error {
	a, b, never := neverMeet(s, stage)
	if !never {
		return nil
	}
	return Errorf(CodeInvalid, placing(stage),
		"no build can ever pass both %s and %s, and the stage comes after both: a build is made by one commit stage, and the sources of %s and %s are not the same",
		a.words(), b.words(), quoteList(a.commits), quoteList(b.commits)).
		WithHint("Give each its own stages down to the end, or let one commit stage build both: a penstock_source may have files of several services.")
}

// branch is a stage that another stage comes after, with the commit stages whose builds it
// can pass.
type branch struct {
	stage   string
	commits []string
}

// words names a branch, and the source of its builds if it is no commit stage itself.
func (b branch) words() string {
	if slices.Contains(b.commits, b.stage) {
		return fmt.Sprintf("%q", b.stage)
	}
	return fmt.Sprintf("%q (whose builds %s makes)", b.stage, quoteList(b.commits))
}

// NeverMeet names two stages upstream of a stage of which no build can ever pass both; false
// if there are none.
func NeverMeet(s *State, stage Stage) (a, b string, never bool) {
	x, y, never := neverMeet(s, stage)
	return x.stage, y.stage, never
}

// neverMeet returns two stages upstream of a stage of which no build can pass both, if there
// are two. It knows this only of commit stages whose sources are known.
func neverMeet(s *State, stage Stage) (a, b branch, never bool) {
	known := map[string][]string{}
	for _, up := range stage.Upstream() {
		from, limited := feeds(s, up, known, []string{stage.Name})
		if !limited || len(from) == 0 { // of the second, the stage above says it
			continue
		}
		at := branch{up, from}
		if a.stage == "" {
			a = at
			continue
		}
		both := common(s, a.commits, from)
		if len(both) == 0 {
			return a, at, true
		}
		a = branch{up, both}
	}
	if stage.Type == TypeCommit && stage.Source != nil && a.stage != "" {
		with := s.Clone()
		with.Stages[stage.Name] = stage
		if len(common(with, []string{stage.Name}, a.commits)) == 0 {
			return a, branch{stage.Name, []string{stage.Name}}, true
		}
	}
	return a, b, false
}

// feeds returns the commit stages whose builds can pass a stage. It reports false if any
// build can: the stage takes no build, comes after none that does, or is not known yet.
func feeds(s *State, name string, known map[string][]string, seen []string) (commits []string, limited bool) {
	stage, exists := s.Stages[name]
	if !exists || !stage.TakesBuild() || slices.Contains(seen, name) {
		return nil, false
	}
	if from, ok := known[name]; ok {
		return from, from != nil
	}
	if stage.Type == TypeCommit {
		if stage.Source == nil {
			return nil, false
		}
		commits, limited = []string{name}, true
	}
	for _, up := range stage.Upstream() {
		from, only := feeds(s, up, known, append(seen, name))
		switch {
		case !only:
		case !limited:
			commits, limited = from, true
		default:
			commits = common(s, commits, from)
		}
	}
	if limited && commits == nil {
		commits = []string{}
	}
	known[name] = commits
	return commits, limited
}

// Concerns reports whether a build may ever pass a stage: the commit stage that made it feeds
// the stage, or makes the same builds as one that does.
func Concerns(s *State, stage, build string) bool {
	from, limited := feeds(s, stage, map[string][]string{}, nil)
	maker := s.Builds[build].Stage
	if _, exists := s.Stages[maker]; !limited || !exists {
		return true
	}
	return len(common(s, []string{maker}, from)) > 0
}

// common returns the commit stages of two lists that also make a build of the other list,
// because they have the same source and base image.
func common(s *State, a, b []string) []string {
	both := []string{}
	makesOneOf := func(name string, others []string) bool {
		return slices.ContainsFunc(others, func(other string) bool { return name == other || SameBuilds(s.Stages[name], s.Stages[other]) })
	}
	for _, name := range a {
		if makesOneOf(name, b) {
			both = append(both, name)
		}
	}
	for _, name := range b {
		if makesOneOf(name, a) && !slices.Contains(both, name) {
			both = append(both, name)
		}
	}
	return both
}

// SameBuilds reports whether two commit stages can make the same build: of the same files
// of one repository, on the same base image. They may stand at different commits now.
func SameBuilds(a, b Stage) bool {
	if a.Source == nil || b.Source == nil {
		return true
	}
	one, other := *a.Source, *b.Source
	if one.Digest == other.Digest && a.BaseImage == b.BaseImage {
		return true
	}
	otherFiles := one.Commit == other.Commit && one.Digest != other.Digest
	return one.Repository == other.Repository && !otherFiles && a.BaseImage == b.BaseImage && hashJSON(one.Paths) == hashJSON(other.Paths)
}
