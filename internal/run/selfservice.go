// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// LaunchRequest asks for a person's environment.
type LaunchRequest struct {
	Pipeline string
	Name     string
	Owner    string   // empty means the person who asks
	Build    string   // empty means the newest that passed the stages in After
	Tree     *Tree    // runs instead of a build; nil for a build
	After    []string // empty means the pipeline's acceptance stages
	TTL      time.Duration
	Spec     pipeline.EnvironmentSpec
	Secrets  pipeline.Secrets // nil: the caller does not know them
	// ModuleSecrets are write-only variables of the module: values in JSON. Nil: the caller
	// does not know them.
	ModuleSecrets map[string]pipeline.Secret
	Create        bool // the caller knows of no such environment yet
	// Renew restarts the TTL; otherwise it counts from the launch.
	Renew bool
	// SameTTL says that the configuration has not changed the TTL. An environment that
	// somebody extended then stays extended.
	SameTTL    bool
	Configured string    // the configuration that asks, to distinguish two
	Log        io.Writer // gets what is written to the log of the launch, too, as it is written; may be nil
	creation   *pipeline.Creation
}

// Tree is what was built from a working tree.
type Tree struct {
	Artifact string // a file of this machine to install; empty for none
	Image    string // that instances start from; empty for an empty root
	Dir      string // the tree, in which the module of the pipeline is; empty: it is not known
}

// content is what an environment is to run.
type content struct {
	build    string // empty for that of a working tree
	launch   pipeline.Launch
	artifact string                  // a file of this machine; empty for that of launch
	module   *pipeline.ModulePackage // nil for none
}

// content chooses what the environment is to run.
func (r LaunchRequest) content(st *pipeline.State) (content, error) {
	if r.Tree != nil {
		return content{launch: pipeline.Launch{Image: r.Tree.Image}, artifact: r.Tree.Artifact}, nil
	}
	build, err := ChooseBuild(st, r)
	return content{build: build, launch: st.Launch(pipeline.Stage{}, build), module: st.Builds[build].Module}, err
}

// asStage returns the gate that the request's build has to pass.
func (r LaunchRequest) asStage(st *pipeline.State) pipeline.Stage {
	s := pipeline.Stage{Pipeline: r.Pipeline, After: r.After, Type: pipeline.TypeCustom, Trigger: pipeline.TriggerAutomatic}
	if len(s.After) > 0 {
		return s
	}
	var begun []string // stages that no apply ever finished, and that may not even be in a configuration
	for _, stage := range st.StagesInOrder() {
		switch {
		case stage.Type != pipeline.TypeAcceptance:
		case stage.Applied:
			s.After = append(s.After, stage.Name)
		default:
			begun = append(begun, stage.Name)
		}
	}
	if len(s.After) == 0 {
		s.After = begun
	}
	return s
}

// ChooseBuild returns the build that an environment gets: the requested one, if it may be
// launched, else the newest that may.
func ChooseBuild(st *pipeline.State, r LaunchRequest) (string, error) {
	entry, op := r.asStage(st), r.launch()
	if r.Build != "" {
		if err := gate.CheckID(entry, r.Build); err != nil {
			return "", pipeline.During(op, err)
		}
		if o, found := gate.ObstacleTo(st, r.entryFor(st, entry, r.Build), r.Build); found {
			return "", o.Err(op)
		}
		return r.Build, nil
	}
	var newest string
	for b := range st.NewestBuilds() {
		if gate.MayEnter(st, r.entryFor(st, entry, b.ID), b.ID) {
			return b.ID, nil
		}
		if newest == "" {
			newest = b.ID
		}
	}
	if o, found := gate.ObstacleTo(st, r.entryFor(st, entry, newest), newest); newest != "" && found && o.Comes {
		return "", o.Err(op)
	}
	return "", pipeline.Errorf(pipeline.CodeRefused, op, "no build has passed %s", stagesOr(entry.After, "the commit stage")).
		WithHint("Let a build pass first.").WithAdvice(pipeline.Advice{Verb: pipeline.VerbLookAtStages, Pipeline: r.Pipeline})
}

// entryFor removes from a default entry the acceptance stages that builds of another commit
// stage pass: if two commit stages share a pipeline, each has its own.
func (r LaunchRequest) entryFor(st *pipeline.State, entry pipeline.Stage, build string) pipeline.Stage {
	if len(r.After) == 0 {
		entry.After = slices.DeleteFunc(slices.Clone(entry.After), func(up string) bool { return !pipeline.Concerns(st, up, build) })
	}
	return entry
}

// stagesOr names stages for a message, or returns none if there are none.
func stagesOr(names []string, instead string) string {
	if len(names) == 0 {
		return instead
	}
	return fmt.Sprintf("%q", names)
}

// launch says what is done, for errors.
func (r LaunchRequest) launch() string {
	return fmt.Sprintf("launch environment %q of pipeline %q", r.Name, r.Pipeline)
}

// LongestTTL returns how long a person's environment of the pipeline may live from a launch
// or a renewal: what self_service.max_ttl says, else DefaultMaxTTL.
func LongestTTL(st *pipeline.State) time.Duration {
	return cmp.Or(st.Pipeline.SelfService.MaxTTL, DefaultMaxTTL)
}

// CheckTTL refuses, with CodeRefused, a time to live that is longer than the pipeline allows.
func CheckTTL(st *pipeline.State, r LaunchRequest) error {
	longest := LongestTTL(st)
	if r.TTL > longest {
		return pipeline.Errorf(pipeline.CodeRefused, r.launch(), "a ttl of %s is longer than the %s that pipeline %q allows", pipeline.Period(r.TTL), pipeline.Period(longest), r.Pipeline).
			WithHint("Ask for a ttl of %s or less; it can be extended. self_service.max_ttl of the penstock_pipeline sets the limit.", pipeline.Period(longest))
	}
	if r.TTL == 0 && st.Pipeline.SelfService.MaxTTL > 0 {
		return pipeline.Errorf(pipeline.CodeRefused, r.launch(), "without a ttl it would never end, and pipeline %q allows %s", r.Pipeline, pipeline.Period(longest)).
			WithHint("Ask for a ttl of %s or less; it can be extended.", pipeline.Period(longest))
	}
	return nil
}

// CheckLaunch refuses an environment that the person may not have. It returns CodeNotAllowed
// without the right to launch, or for somebody else without the right to deploy; CodeRefused
// beyond what the pipeline allows to each person; and CodeInvalid for what the platform can't
// provide.
func (e *Environments) CheckLaunch(st *pipeline.State, r LaunchRequest) error {
	op := r.launch()
	if err := st.Pipeline.Authorize(pipeline.RightLaunch, e.person, op); err != nil {
		return err
	}
	who := st.Pipeline.Authorization
	owner := cmp.Or(r.Owner, e.person.Name)
	if env, _ := st.PersonEnvironment(r.Name); env.Owner != owner && !who.Owns(owner, e.person) {
		if err := st.Pipeline.Authorize(pipeline.RightDeploy, e.person, op+" for "+owner); err != nil {
			return err
		}
	}
	if err := CheckTTL(st, r); err != nil {
		return err
	}
	var theirs []string
	for _, env := range st.Environments {
		if env.Purpose == pipeline.ForPerson && who.Owns(env.Owner, pipeline.Person{Name: owner}) && env.Name != r.Name && env.Alive() {
			theirs = append(theirs, env.Name)
		}
	}
	if most := st.Pipeline.SelfService.MaxPerOwner; most > 0 && len(theirs) >= most {
		slices.Sort(theirs)
		return pipeline.Errorf(pipeline.CodeRefused, op, "%s has %d environments already (%s), and pipeline %q allows %d for each person", owner, len(theirs), strings.Join(theirs, ", "), r.Pipeline, most).
			WithAdvice(pipeline.Advice{Verb: pipeline.VerbDestroy, Pipeline: r.Pipeline, Environment: theirs[0]})
	}
	return e.CheckSpec(r.Spec)
}

// CheckSpec refuses an environment that the platform can't provide.
func (e *Environments) CheckSpec(spec pipeline.EnvironmentSpec) error { return e.platform.Check(spec) }

// Launch launches an environment for a person, or changes the one of that name to the wanted
// build or working tree, size and time to live, without failing a request. If it fails, what
// served before keeps serving.
func (e *Environments) Launch(ctx context.Context, r LaunchRequest) (pipeline.Environment, error) {
	leased, h, err := e.locks.Lock(ctx, lock.Personal(r.Pipeline, r.Name), "launch of self-service environment "+r.Name)
	if err != nil {
		return pipeline.Environment{}, err
	}
	defer e.locks.Unlock(ctx, h)
	st, err := e.states.Fresh(leased, r.Pipeline)
	if err != nil {
		return pipeline.Environment{}, err
	}
	if !st.Exists() {
		return pipeline.Environment{}, state.NoPipeline(r.Pipeline)
	}
	if st.Pipeline.Service.Start == "" && st.Pipeline.Module == nil {
		ways := []pipeline.Advice{pipeline.Set("service.start", `"…"`, "the pipeline")}
		if r.Tree != nil {
			ways = append(ways, pipeline.Advice{Verb: pipeline.VerbStart})
		}
		return pipeline.Environment{}, pipeline.Errorf(pipeline.CodeInvalid, r.launch(), "pipeline %q has no service.start", r.Pipeline).WithAdvice(ways...)
	}
	env, exists := st.PersonEnvironment(r.Name)
	if exists {
		if env, err = e.tracedModule(leased, env); err != nil {
			return pipeline.Environment{}, err
		}
		if r.Owner, err = e.takeOver(leased, st, &env, r); err != nil {
			return pipeline.Environment{}, err
		}
	}
	if err := e.CheckLaunch(st, r); err != nil {
		return pipeline.Environment{}, err
	}
	runs, err := r.content(st)
	if err != nil {
		return pipeline.Environment{}, err
	}
	if !exists {
		env = e.newPersonEnvironment(r)
	}
	if r.Create && r.Configured != LaunchedByHand {
		if r.creation, err = e.creations.creation(leased, r.Pipeline, pipeline.RecordEnvironment, r.Name, env.ID); err != nil {
			return pipeline.Environment{}, err
		}
	}
	if exists && env.Serves() && r.Tree == nil && env.Build == runs.build && env.Digest == specDigest(st, r.Spec) {
		env, err = e.adjust(leased, h, env, r)
	} else {
		env, err = e.relaunch(leased, h, st, env, runs, r)
	}
	if err == nil && r.creation != nil {
		e.creations.created(r.Pipeline, pipeline.RecordEnvironment, r.Name, env.ID)
	}
	return env, lock.LostOr(leased, err)
}

// takeOver refuses to change an environment into another one, and returns whose it is. What a
// dead launch left belongs to whoever asks for it.
func (e *Environments) takeOver(ctx context.Context, st *pipeline.State, env *pipeline.Environment, r LaunchRequest) (owner string, err error) {
	op := r.launch()
	switch {
	case r.Tree != nil:
		if env.Configured != r.Configured {
			err = e.creations.Check(ctx, st, CreateRequest{Kind: pipeline.RecordEnvironment, Name: r.Name})
		}
		env.Configured = r.Configured
		return r.Owner, err
	case r.Create && env.Status == pipeline.EnvLaunching:
		env.Owner, env.Configured = cmp.Or(r.Owner, e.person.Name), r.Configured
	case r.Create && (env.Configured != r.Configured || r.Configured != LaunchedByHand):
		err := e.creations.Check(ctx, st, CreateRequest{Kind: pipeline.RecordEnvironment, Name: r.Name})
		if err != nil {
			return "", err
		}
		env.Owner, env.Configured = cmp.Or(r.Owner, e.person.Name), r.Configured
	case r.Create && r.Configured == LaunchedByHand && !st.Pipeline.Authorization.Owns(env.Owner, e.person):
		return "", pipeline.Errorf(pipeline.CodeConflict, op, "an environment of that name belongs to %s", env.Owner).
			WithHint("Choose another name.").WithAdvice(pipeline.Advice{Verb: pipeline.VerbListEnvironments, Pipeline: r.Pipeline})
	case env.Build == "" && r.Build == "":
		return "", pipeline.Errorf(pipeline.CodeRefused, op, "it runs a working tree and no build").
			WithHint("Choose another name.").WithAdvice(pipeline.Advice{Verb: pipeline.VerbDevelop})
	}
	return env.Owner, nil
}

func (e *Environments) newPersonEnvironment(r LaunchRequest) pipeline.Environment {
	return pipeline.Environment{
		ID: e.states.NewID(pipeline.OwnPrefix), Pipeline: r.Pipeline, Name: r.Name, Purpose: pipeline.ForPerson, Owner: cmp.Or(r.Owner, e.person.Name),
		Configured: r.Configured, Status: pipeline.EnvLaunching, CreatedAt: e.now().UTC(), Made: e.creations.stamp(),
	}
}

// specDigest is equal for environments whose service would run the same way.
func specDigest(st *pipeline.State, spec pipeline.EnvironmentSpec) string {
	return pipeline.Stage{Type: pipeline.TypeCustom, Env: &spec}.Digest(pipeline.Pipeline{Module: st.Pipeline.Module})
}

// adjust changes size, trusted proxies and time to live of an environment that runs the right build.
func (e *Environments) adjust(ctx context.Context, h *lock.Lock, env pipeline.Environment, r LaunchRequest) (pipeline.Environment, error) {
	if err := e.discardPending(ctx, h, env); err != nil {
		return env, err
	}
	env, err := e.adjusted(ctx, h, env, r.Spec, max(r.Spec.Instances, 1))
	if err != nil {
		return env, err
	}
	env.TTL = r.TTL
	expires := e.expiry(env, r)
	if !expires.Equal(env.ExpiresAt) {
		env.ExpiresAt = expires
		if err := e.of(env, h.Lease, nil).Extend(ctx, env.ID, expires); err != nil {
			return env, fmt.Errorf("extend %s: %w", env.Describe(), err)
		}
	}
	return env, e.recordLaunch(ctx, h, env, r)
}

// expiry returns when the environment ends: its TTL after its launch, or after now if it is
// renewed, or later if it was extended since. Zero means never.
func (e *Environments) expiry(env pipeline.Environment, r LaunchRequest) time.Time {
	configured := env.CreatedAt.Add(r.TTL)
	switch {
	case r.TTL == 0:
		return time.Time{}
	case r.Renew:
		return e.now().UTC().Add(r.TTL)
	case r.SameTTL && env.ExpiresAt.After(configured):
		return env.ExpiresAt
	default:
		return configured
	}
}

// relaunch brings up a fleet of the content and sends the environment's traffic to it. If
// that fails, what served before keeps serving, and a new environment is removed.
func (e *Environments) relaunch(ctx context.Context, h *lock.Lock, st *pipeline.State, env pipeline.Environment, runs content, r LaunchRequest) (_ pipeline.Environment, err error) {
	if r.Spec.SecretsVersion > 0 && r.Secrets == nil || r.Spec.VariablesVersion > 0 && r.ModuleSecrets == nil {
		return env, pipeline.Errorf(pipeline.CodeRefused, "launch "+env.Describe(), "it is %s, and the secrets that its configuration sets are not stored", env.Status).
			WithHint("Apply the configuration in %s with a longer ttl.", env.Configured)
	}
	if m := st.Pipeline.Module; r.Tree != nil && m != nil {
		log := r.Log
		if log == nil {
			log = io.Discard
		}
		if runs.module, err = e.packTree(ctx, h.Lease, *m, *r.Tree, log); err != nil {
			return env, err
		}
	}
	fresh := !env.Serves()
	if fresh {
		env.CreatedAt = e.now().UTC()
	}
	was := env
	env.Build, env.Image, env.Spec, env.TTL, env.Instances = runs.build, runs.launch.Image, r.Spec, r.TTL, max(r.Spec.Instances, 1)
	env.ExpiresAt = e.expiry(env, r)
	module, err := checkModule(st, env, runs.module, !fresh)
	if err != nil {
		return was, err
	}
	if fresh {
		if err := e.of(was, h.Lease, nil).Destroy(ctx, env.ID); err != nil {
			return env, fmt.Errorf("clear %s: %w", env.Describe(), err)
		}
		env.Module = nil
	}
	if module != nil && env.Module == nil {
		env.Module = &pipeline.EnvironmentModule{Instead: module.Instead}
		if !fresh { // what is recorded can be removed
			was.Module = env.Module
			if err := e.recordEnvironment(ctx, h, was); err != nil {
				return was, err
			}
		}
	}
	if fresh {
		env.Status, env.Endpoint, env.Reason = pipeline.EnvLaunching, "", ""
		if err := e.reserve(ctx, h, st, env, r); err != nil {
			return env, err
		}
	}
	fleet, endpoint, err := e.bringUp(ctx, h, st, env, runs, r, fresh)
	if err != nil {
		return env, e.abandonLaunch(ctx, h, env, fleet, fresh, err)
	}
	ctx, cancel := lock.CleanUp(ctx) // what serves is recorded, whoever gave up waiting
	defer cancel()
	if !fresh {
		if err := e.of(env, h.Lease, nil).Extend(ctx, env.ID, env.ExpiresAt); err != nil {
			return env, err
		}
	}
	env.Status, env.Endpoint, env.Fleet = pipeline.EnvRunning, endpoint, fleet
	env.Digest = specDigest(st, r.Spec)
	e.served(ctx, runs.module, &env)
	return env, e.recordLaunch(ctx, h, env, r)
}

// bringUp prepares a fleet of the content and sends it the traffic. It returns the fleet,
// even if that failed, and the endpoint of the environment.
func (e *Environments) bringUp(ctx context.Context, h *lock.Lock, st *pipeline.State, env pipeline.Environment, runs content, r LaunchRequest, seed bool) (fleet, endpoint string, err error) {
	log, err := e.launchLog(ctx, env, r)
	if err != nil {
		return "", "", err
	}
	defer log.Close()
	log.Note("launch of %s with %s", env.Describe(), orElse(env.Build, "a working tree", "build "))
	req, err := e.fleetRequest(ctx, env, runs.launch, r.Secrets, log)
	if err != nil {
		return "", "", err
	}
	req.Artifact, req.Fleet, req.Hooks = cmp.Or(runs.artifact, req.Artifact), e.states.NewID(pipeline.OwnPrefix), launchHooks(req.Service, seed)
	if env.Module != nil {
		log.Note("module of %s: apply", orElse(env.Build, "the working tree", "build "))
		out, err := e.applyModule(ctx, st, h.Lease, env, moduleInputs{module: runs.module, fleet: req.Fleet, image: runs.launch.Image, secrets: r.ModuleSecrets, log: log})
		if err != nil {
			return req.Fleet, "", err
		}
		furnish(&req, out)
		log = e.hiding(log, append(r.Secrets.Values(), out.SecretEnv.Values()...)...)
		req.Log = log
	}
	prepared, err := e.of(env, h.Lease, log).Prepare(ctx, req)
	if err != nil {
		return req.Fleet, "", err
	}
	log.Note("it is ready, and gets the traffic")
	report, err := e.sendTraffic(ctx, h.Lease, env, prepared.ID, env.Spec.Traffic())
	return prepared.ID, report.Endpoint, err
}

// launchLog opens the log of a launch, which is also written to the person who asked for it.
func (e *Environments) launchLog(ctx context.Context, env pipeline.Environment, r LaunchRequest) (*runLog, error) {
	log, err := e.createLog(ctx, env.Pipeline, env.ID, r.Secrets.Values()...)
	if err == nil && r.Log != nil {
		log.raw.to = io.MultiWriter(log.raw.to, r.Log)
	}
	return log, err
}

// abandonLaunch clears away a launch that failed and returns the cause.
func (e *Environments) abandonLaunch(ctx context.Context, h *lock.Lock, env pipeline.Environment, fleet string, fresh bool, cause error) error {
	ctx, cancel := lock.CleanUp(ctx)
	defer cancel()
	var err error
	switch {
	case fresh:
		err = e.collector.EndEnvironment(ctx, env.Pipeline, h.Lease, env)
	case fleet != "":
		err = e.of(env, h.Lease, nil).Discard(ctx, env.ID, fleet)
	}
	if err != nil {
		e.logger.Warn("clear away failed launch", "environment", env.ID, "error", err)
	}
	return fmt.Errorf("launch %s: %w", env.Describe(), cause)
}

// reserve records an environment that is about to be launched. If the pipeline limits how
// many each person may have, the launches of one person count and record one after the other,
// whatever the names and the machines.
func (e *Environments) reserve(ctx context.Context, h *lock.Lock, st *pipeline.State, env pipeline.Environment, r LaunchRequest) error {
	if st.Pipeline.SelfService.MaxPerOwner == 0 {
		return e.recordLaunch(ctx, h, env, r)
	}
	person := st.Pipeline.Authorization.Person(pipeline.Person{Name: env.Owner})
	leased, own, err := e.locks.Lock(ctx, lock.Owner(env.Pipeline, person), "launch of self-service environment "+env.Name)
	if err != nil {
		return err
	}
	defer e.locks.Unlock(ctx, own)
	if st, err = e.states.Fresh(leased, env.Pipeline); err != nil {
		return err
	}
	if err = e.CheckLaunch(st, r); err == nil {
		err = e.recordLaunch(leased, h, env, r)
	}
	return lock.LostOr(leased, err)
}

// recordLaunch is recordEnvironment with the creation that the launch is part of.
func (e *Environments) recordLaunch(ctx context.Context, h *lock.Lock, env pipeline.Environment, r LaunchRequest) error {
	return e.states.Append(ctx, env.Pipeline, &h.Lease, pipeline.Event{Kind: pipeline.EnvironmentChanged, Facts: pipeline.Facts{Environment: &env, Creation: r.creation}})
}

// Configure records that a configuration has an environment that was launched by hand and
// imported into a state.
func (e *Environments) Configure(ctx context.Context, st *pipeline.State, env pipeline.Environment, configured string) error {
	recorded, err := e.ledger.State(ctx, st.Pipeline.Name)
	if err != nil {
		return err
	}
	now, ok := recorded.Environments[env.ID]
	if !ok || !ByHand(now) {
		return nil
	}
	now.Configured = configured
	key := pipeline.Key{Kind: pipeline.RecordEnvironment, ID: env.ID}
	return e.states.AppendExpecting(ctx, st.Pipeline.Name, nil, map[pipeline.Key]int64{key: recorded.Version(key.Kind, key.ID)},
		pipeline.Event{Kind: pipeline.EnvironmentChanged, Facts: pipeline.Facts{Environment: &now}})
}

// End destroys a person's environment: that of an ID, or any of that name if id is "". An
// environment that does not exist is no error. One of another ID has taken the name over: it
// stays, without an error.
func (e *Environments) End(ctx context.Context, pipelineName, name, id string) error {
	leased, h, err := e.locks.Lock(ctx, lock.Personal(pipelineName, name), "end of self-service environment "+name)
	if err != nil {
		return err
	}
	defer e.locks.Unlock(ctx, h)
	st, err := e.states.Fresh(leased, pipelineName)
	if err != nil {
		return err
	}
	env, ok := st.PersonEnvironment(name)
	if !ok || id != "" && env.ID != id {
		return nil
	}
	if !st.Pipeline.Authorization.Owns(env.Owner, e.person) {
		if err := st.Pipeline.Authorize(pipeline.RightLaunch, e.person, fmt.Sprintf("end environment %q of %s", name, env.Owner)); err != nil {
			return err
		}
	}
	if err := e.collector.EndEnvironment(leased, pipelineName, h.Lease, env); err != nil {
		return err
	}
	return e.logs.Remove(leased, pipelineName, env.ID)
}

// Unreachable returns an environment, by its ID or the name of its stage, whose place can't be
// opened, and why not: nothing else can be forgotten. It returns CodeRefused for any other.
func (e *Environments) Unreachable(ctx context.Context, pipelineName, name string) (env pipeline.Environment, why, err error) {
	const op = "forget environment"
	st, err := e.states.Existing(ctx, pipelineName)
	if err != nil {
		return env, nil, err
	}
	env, known := st.Environments[name]
	for _, other := range st.EnvironmentsInOrder() {
		if !known && name != "" && other.Stage == name {
			env, known = other, true
		}
	}
	if !known {
		return env, nil, pipeline.Errorf(pipeline.CodeNotFound, op, "pipeline %q has no environment %q", pipelineName, name).
			WithAdvice(pipeline.Advice{Verb: pipeline.VerbListEnvironments, Pipeline: pipelineName})
	}
	if err := st.Pipeline.Authorize(pipeline.RightDeploy, e.person, op+" "+env.ID); err != nil {
		return env, nil, err
	}
	if why = e.places.Check(ctx, env.Target); why == nil {
		return env, nil, pipeline.Errorf(pipeline.CodeRefused, op, "%s can be ended, as its place can be reached", env.Describe()).
			WithHint("Remove it from the configuration, and apply.")
	}
	return env, why, nil
}

// Forget removes the record of an environment whose place can't be opened, and returns it. What
// there is of it stays, for somebody else to remove.
func (e *Environments) Forget(ctx context.Context, pipelineName, name string) (pipeline.Environment, error) {
	env, _, err := e.Unreachable(ctx, pipelineName, name)
	if err != nil {
		return env, err
	}
	leased, h, err := e.locks.Lock(ctx, lock.Environment(env), "removal of the record of "+env.Describe())
	if err != nil {
		return env, err
	}
	defer e.locks.Unlock(ctx, h)
	env, why, err := e.Unreachable(leased, pipelineName, env.ID)
	if err != nil {
		return env, err
	}
	return env, lock.LostOr(leased, e.collector.ForgetEnvironment(leased, h.Lease, env, why))
}

const (
	// LaunchedByHand marks environments that no configuration launched. A configuration that
	// wants one of that name has to import it.
	LaunchedByHand = "penstock env"
	// DefaultTTL is how long they live if nobody sets a time.
	DefaultTTL = 8 * time.Hour
	// DefaultMaxTTL is how long they may live at most from a launch or a renewal, if the
	// pipeline sets no other limit: a week. A person who needs one longer extends it, or
	// deploys it.
	DefaultMaxTTL = 7 * 24 * time.Hour
)

// OwnName makes the name of an environment from that of its owner, such as
// "assumed-role/launcher/ada".
func OwnName(actor string) string {
	return pipeline.Slug(actor[strings.LastIndexAny(actor, `/\`)+1:], "env")
}
