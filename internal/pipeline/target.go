// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"
)

// Target is where environments of a stage are, if not where the ledger is: an account and a
// region of AWS, or a directory of its own on the local platform. The zero Target is where the
// ledger is.
type Target struct {
	Name    string `json:"name,omitempty"`     // unique in the stage; empty for the only one
	RoleARN string `json:"role_arn,omitempty"` // to be assumed there; empty: the caller's own
	// ReaderRoleARN is the role to be assumed there by who only looks; empty: RoleARN.
	ReaderRoleARN string `json:"reader_role_arn,omitempty"`
	ExternalID    string `json:"external_id,omitempty"` // that the roles ask for
	Region        string `json:"region,omitempty"`      // empty: that of the ledger
	Stack         string `json:"stack,omitempty"`       // that made the network and the roles there; empty: of the name of the ledger's
	KMSKey        string `json:"kms_key,omitempty"`     // of the ledger's account in that region, that encrypts the copies of images; empty: the account's own
}

// Home reports whether the target is where the ledger is.
func (t Target) Home() bool { return t.Place() == Target{} }

// Place returns the target without its name, without what concerns images and without who
// looks at it: two targets of one place are in the same account and region.
func (t Target) Place() Target {
	p := Target{RoleARN: t.RoleARN, ExternalID: t.ExternalID, Region: t.Region, Stack: t.Stack}
	if p == (Target{}) { // the local platform keeps targets apart by their names
		p.Name = t.Name
	}
	return p
}

// Account returns the ID of the account of the target's role; empty without one.
func (t Target) Account() string {
	if parts := strings.Split(t.RoleARN, ":"); len(parts) > 4 {
		return parts[4]
	}
	return ""
}

// Describe says in words where the target is.
func (t Target) Describe() string {
	where := cmp.Or(t.Region, "the ledger's region")
	if a := t.Account(); a != "" {
		where = "account " + a + ", " + where
	}
	switch {
	case t.Name == "":
		return where
	case t.RoleARN == "" && t.Region == "":
		return "target " + t.Name
	default:
		return "target " + t.Name + " (" + where + ")"
	}
}

// Targets opens the platforms of targets.
type Targets interface {
	// Check refuses, by what the configuration says alone, a target that can't be here, and an
	// environment that can't be at several, or beside those that end once it serves: CodeInvalid,
	// with the argument and its value. There never is anything at a target that it refuses by
	// itself. It asks for nothing.
	Check(s Siting) error
	// Open returns the platform of a target. It asks for nothing that it knows already, and a
	// target that has only a name is where the ledger is, unless names are places here. Errors
	// name the target: CodeInvalid where a target of that kind can't be here, or where its stack
	// has a ledger of its own, whose garbage collection would end what this ledger knows of;
	// CodeFailed where its role can't be assumed or its stack is not there.
	Open(ctx context.Context, t Target) (Platform, error)
	// Look returns the platform of a target for who only looks at its environments: with the
	// rights of its reader role, if it has one that the caller may take, else as Open.
	Look(ctx context.Context, t Target) (Platform, error)
}

// Siting is where environments are to be.
type Siting struct {
	At     []Target
	Spec   EnvironmentSpec // of each
	Beside []Environment   // that end once those serve
}

// StageTarget is one of the places that a stage deploys to.
type StageTarget struct {
	Target
	Wave      int `json:"wave"`                // targets of a lower one go first; those of one go side by side
	Instances int `json:"instances,omitempty"` // 0 means as many as the stage has
}

// Rollout says how a build goes from one wave of targets to the next.
type Rollout struct {
	Pause     time.Duration    `json:"pause,omitempty"`      // in which what has moved is watched
	OnFailure RolloutOnFailure `json:"on_failure,omitempty"` // empty means RolloutRestore
}

// RolloutOnFailure says what becomes of targets that have moved if another fails.
type RolloutOnFailure string

// The choices.
const (
	RolloutRestore RolloutOnFailure = "restore" // they go back to the build that all targets had
	RolloutKeep    RolloutOnFailure = "keep"    // they keep the new build
)

// targetMark stands between the names of a stage and of its target. No name has it.
const targetMark = "@"

// AtTarget returns the name by which a stage is recorded at one of its targets: its runs, its
// environment and its current build there.
func AtTarget(stage, target string) string {
	if target == "" {
		return stage
	}
	return stage + targetMark + target
}

// CutTarget returns the stage and the target that a recorded name is of.
func CutTarget(name string) (stage, target string) {
	stage, target, _ = strings.Cut(name, targetMark)
	return stage, target
}

// Spread reports whether the stage deploys to several targets. It has no environment of its
// own then: each target has one.
func (s Stage) Spread() bool { return len(s.Targets) > 0 }

// ForTarget returns the stage as it is at one of its targets. Gates, approvals and pins are
// the affair of the whole.
func (s Stage) ForTarget(t StageTarget) Stage {
	s.Name, s.At, s.Targets, s.Rollout = AtTarget(s.Name, t.Name), t.Target, nil, Rollout{}
	s.Pin, s.Approval, s.Bake, s.Publish = "", false, false, nil
	if s.Env != nil {
		env := *s.Env
		env.Instances = cmp.Or(t.Instances, env.Instances)
		s.Env = &env
	}
	return s
}

// AtTargets returns the stage as it is at each of its targets, those of a lower wave first.
func (s Stage) AtTargets() []Stage {
	targets := slices.Clone(s.Targets)
	slices.SortStableFunc(targets, func(a, b StageTarget) int { return cmp.Compare(a.Wave, b.Wave) })
	var all []Stage
	for _, t := range targets {
		all = append(all, s.ForTarget(t))
	}
	return all
}

// AtPlaces returns the stage as it is wherever its environments are: at each of its targets, or
// itself if it has none.
func (s Stage) AtPlaces() []Stage {
	if !s.Spread() {
		return []Stage{s}
	}
	return s.AtTargets()
}

// Waves returns the stage as it is at each of its targets, wave by wave.
func (s Stage) Waves() [][]Stage {
	waves := map[int][]Stage{}
	for _, t := range s.Targets {
		waves[t.Wave] = append(waves[t.Wave], s.ForTarget(t))
	}
	var all [][]Stage
	for _, wave := range slices.Sorted(maps.Keys(waves)) {
		all = append(all, waves[wave])
	}
	return all
}

// StageOf returns the stage of a recorded name, which may be that of a stage at a target.
func StageOf(s *State, name string) (Stage, bool) {
	if stage, ok := s.Stages[name]; ok {
		return stage, true
	}
	of, target := CutTarget(name)
	for _, t := range s.Stages[of].Targets {
		if target != "" && t.Name == target {
			return s.Stages[of].ForTarget(t), true
		}
	}
	return Stage{}, false
}

// EnvironmentOf is RunEnvironment for any stage: of one with several targets it returns the
// environment that is worst off, of those the first.
func EnvironmentOf(s *State, stage Stage, purpose EnvironmentPurpose) (Environment, bool) {
	if !stage.Spread() {
		return s.RunEnvironment(stage.Name, purpose)
	}
	var found Environment
	for _, at := range stage.AtTargets() {
		env, ok := s.RunEnvironment(at.Name, purpose)
		if !ok {
			return env, false
		}
		if found.ID == "" || found.Status == EnvRunning && env.Status != EnvRunning {
			found = env
		}
	}
	return found, true
}

// LookedAt returns the target of an environment, with the reader role that its stage has by
// now: who may look is not a property of what runs.
func LookedAt(s *State, env Environment) Target {
	if stage, ok := StageOf(s, env.Stage); ok && stage.At.Place() == env.Target.Place() {
		env.Target.ReaderRoleARN = stage.At.ReaderRoleARN
	}
	return env.Target
}

// LeftPlaces returns the recorded names of a stage under which it has persistent environments
// where its definition has none: at targets that it no longer has, or beside its targets the one
// that it had before.
func LeftPlaces(s *State, stage Stage) (names []string) {
	for _, env := range s.EnvironmentsInOrder() {
		of, _ := CutTarget(env.Stage)
		wanted := slices.ContainsFunc(stage.AtPlaces(), func(at Stage) bool { return at.Name == env.Stage })
		if of == stage.Name && env.Purpose == ForStage && !wanted && !slices.Contains(names, env.Stage) {
			names = append(names, env.Stage)
		}
	}
	return names
}

// MayLeave reports whether what a stage has at places that it has left may end: everything
// answers where the stage is now.
func MayLeave(s *State, stage Stage) bool {
	return !stage.Persistent() || !slices.ContainsFunc(stage.AtPlaces(), func(at Stage) bool {
		env, _ := s.RunEnvironment(at.Name, ForStage)
		return !env.Serves()
	})
}

// Places returns where environments of the pipeline are or may be, beside where the ledger is,
// each once.
func Places(s *State) (all []Target) {
	seen := map[Target]bool{{}: true}
	add := func(t Target) {
		if !seen[t.Place()] {
			seen[t.Place()] = true
			all = append(all, t)
		}
	}
	for _, stage := range s.StagesInOrder() {
		add(stage.At)
		for _, t := range stage.Targets {
			add(t.Target)
		}
	}
	for _, env := range s.EnvironmentsInOrder() {
		add(env.Target)
	}
	return all
}

// TargetsOf returns the targets whose environments run from an image, of all pipelines.
func TargetsOf(all map[string]*State, image string) (targets []Target) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, env := range all[name].EnvironmentsInOrder() {
			if env.Image == image && env.Alive() && !env.Target.Home() && !slices.Contains(targets, env.Target) {
				targets = append(targets, env.Target)
			}
		}
	}
	return targets
}

// CheckTargets reports why the environments of a stage can't be where it says.
func CheckTargets(s *State, stage Stage) error {
	op := placing(stage)
	elsewhere := !stage.At.Home() || stage.Spread()
	switch {
	case !elsewhere:
	case stage.Env == nil:
		return Errorf(CodeInvalid, op, "it says where its environments are, but has none").WithHint("Set environment, or remove aws and targets.")
	case stage.Spread() && !stage.Persistent():
		return Errorf(CodeInvalid, op, "only a persistent environment can be at several targets").WithHint("Set keep on its environment, or remove targets.")
	case stage.Bake:
		return Errorf(CodeInvalid, op, "it bakes the image of a build, which is made where the pipeline is").WithHint("Set bake to false, or remove aws and targets.")
	}
	for _, at := range append([]Stage{stage}, stage.AtTargets()...) {
		if env, ok := s.RunEnvironment(at.Name, ForStage); ok && env.Serves() && env.Target.Place() != at.At.Place() && !at.Spread() {
			return Errorf(CodeInvalid, op, "environment %s of target %q is in %s, and can't move to %s", env.ID, at.At.Name, env.Target.Describe(), at.At.Describe()).
				WithHint("Give the new place another name: its target is deployed to, and the old one ends.")
		}
	}
	from, ok := DataSource(s, stage)
	switch {
	case !ok || from.Name == stage.Name:
	case from.Spread():
		return Errorf(CodeInvalid, op, "stage %q has data at each of its targets, and data_from does not say which", from.Name).WithHint("Set data_from to a stage with one environment.")
	case s.Pipeline.Service.Copy == "" && (stage.Spread() || from.At.Place() != stage.At.Place()):
		return Errorf(CodeInvalid, op, "the data of stage %q is at another place, and only service.copy can bring it from there", from.Name).
			WithHint("Set service.copy on the penstock_pipeline, or data_from to a stage at the same place.")
	}
	return nil
}
