// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Names of the arguments that set hooks.
const (
	hookBackup  = "service.backup"
	hookRestore = "service.restore"
	hookCopy    = "service.copy"
	hookMask    = "service.mask"
	hookMigrate = "service.migrate"
	hookSeed    = "service.seed"
	hookFinish  = "service.finish"
)

// longestBackup is how many characters the name of a backup has at most: enough for a path or
// an address.
const longestBackup = 400

// dataWork is what a run does with the data of its environment.
type dataWork struct{ *attempt }

func (a *attempt) data() dataWork { return dataWork{a} }

// hooks puts together what a launch does with the data, in order. A hook without a line is
// none.
type hooks []pipeline.Hook

func (hs *hooks) add(h pipeline.Hook, v pipeline.Service) {
	if h.Line != "" {
		h.Timeout = v.HookTimeout
		*hs = append(*hs, h)
	}
}

// launchHooks returns what a launch of a person's environment does with its data.
func launchHooks(v pipeline.Service, seed bool) (all hooks) {
	all.add(pipeline.Hook{Name: hookMigrate, Line: v.Migrate}, v)
	if seed {
		all.add(pipeline.Hook{Name: hookSeed, Line: v.Seed, Once: true}, v)
	}
	return all
}

// plan fills in what the run does with the data of its environment: a backup of what is
// there, the restore that a rollback asks for, the copy for a new environment, and the
// migration. from is the environment whose data is copied; zero for none. An environment that
// is a module has no instance in which a command could run.
func (a dataWork) plan(ctx context.Context, req *pipeline.FleetRequest, env, from pipeline.Environment) error {
	if env.IsModule() {
		return nil
	}
	v := a.state.Pipeline.Service
	lasting, isNew, copies := env.Purpose == pipeline.ForStage, env.Fleet == "", from.ID != ""
	restore, restores := a.restores()
	var all hooks
	if lasting && !isNew {
		all.add(pipeline.Hook{Name: hookBackup, Line: v.Backup, Again: restores, Around: a.backUp}, v)
	}
	if restores {
		if v.Restore == "" {
			return pipeline.Errorf(pipeline.CodeInvalid, "restore data of "+env.Describe(), "pipeline %q no longer has service.restore", a.run.Pipeline).
				WithHint("Set it again, or cancel the rollback.").WithAdvice(pipeline.Set("service.restore", `"…"`, "the pipeline"))
		}
		all.add(pipeline.Hook{Name: hookRestore, Line: v.Restore, Env: map[string]string{"PENSTOCK_BACKUP": restore.Name}, Again: true, Around: a.restored(restore)}, v)
	}
	switch {
	case copies && v.Copy == "":
		req.DataFrom = from.ID
	case copies && isNew:
		h := pipeline.Hook{Name: hookCopy, Line: v.Copy, From: from.ID, Once: true}
		var err error
		if h.Env, h.Secrets, err = a.fromVariables(ctx, from); err != nil {
			return err
		}
		all.add(h, v)
	}
	if copies && (v.Copy == "" || isNew) {
		all.add(pipeline.Hook{Name: hookMask, Line: v.Mask, Once: true}, v)
	}
	all.add(pipeline.Hook{Name: hookMigrate, Line: v.Migrate}, v)
	if !lasting && !copies {
		all.add(pipeline.Hook{Name: hookSeed, Line: v.Seed, Once: true}, v)
	}
	for i, h := range all {
		all[i].Around = a.recorded(h)
	}
	req.Hooks, req.Log = all, a.log // which hides the other environment's secrets, too
	return nil
}

// source returns the environment whose data is copied into the run's new one; the zero one
// for none. It refuses
// what CheckMask refuses, which may not have known the other stage.
func (a dataWork) source() (pipeline.Environment, error) {
	if err := pipeline.CheckMask(a.state, a.stage); err != nil {
		return pipeline.Environment{}, err
	}
	from, ok := pipeline.DataSource(a.state, a.stage)
	if env, exists := a.state.RunEnvironment(from.Name, pipeline.ForStage); ok && exists && env.Serves() {
		return env, nil
	}
	if name := from.Name; ok || a.stage.Env.DataFrom != "" {
		if !ok {
			name = a.stage.Env.DataFrom
		}
		a.logf("stage %q has no environment yet to copy data from", name)
	}
	return pipeline.Environment{}, nil
}

// fromVariables returns the variables of another environment, and of the module that made its
// infrastructure, under names of their own.
func (a dataWork) fromVariables(ctx context.Context, env pipeline.Environment) (vars map[string]string, secrets pipeline.Secrets, err error) {
	const from = "PENSTOCK_FROM_"
	vars, secrets = map[string]string{
		"PENSTOCK_FROM_ENDPOINT": env.Endpoint, "PENSTOCK_FROM_ENVIRONMENT": env.ID, "PENSTOCK_FROM_STAGE": env.Stage, "PENSTOCK_FROM_BUILD": env.Build,
	}, pipeline.Secrets{}
	if env.Module != nil {
		site, err := a.modules.Site(ctx, env.ID)
		if err != nil {
			return nil, nil, fmt.Errorf("read the outputs of the module of %s: %w", env.Describe(), err)
		}
		for name, value := range site.Outputs.Env {
			vars[from+name] = value
		}
		for name, value := range site.Outputs.SecretEnv {
			secrets[from+name] = value
		}
		a.log = a.hiding(a.log, append(a.secrets.all(), slices.Concat(a.outputs.SecretEnv.Values(), secrets.Values())...)...)
	}
	for name, value := range env.Spec.Env {
		vars[from+name] = value
		delete(secrets, from+name) // the environment's own come last
	}
	return vars, secrets, nil
}

// recorded returns what runs a hook with a part of its own in the log and in the record of
// the run.
func (a dataWork) recorded(h pipeline.Hook) func(context.Context, pipeline.HookFunc) error {
	return func(ctx context.Context, run pipeline.HookFunc) error {
		began := a.now().UTC()
		result := pipeline.HookResult{Name: h.Name, StartedAt: began, Log: &pipeline.LogPart{From: a.log.size()}}
		a.log.Mark(pipeline.HookHeader(h.Name), pipeline.FirstLine(h.Line))
		err := h.Run(ctx, run)
		result.Duration = a.now().Sub(began)
		if err != nil {
			result.Error = pipeline.FirstLine(err.Error())
			a.log.Mark(pipeline.HookFooter(h.Name), "failed after "+pipeline.Period(result.Duration.Round(time.Millisecond)))
		} else {
			a.log.Mark(pipeline.HookFooter(h.Name), "passed in "+pipeline.Period(result.Duration.Round(time.Millisecond)))
		}
		result.Log.To = a.log.size()
		a.run.Hooks = append(a.run.Hooks, result)
		return err
	}
}

// backUp runs service.backup, and records the name of the backup before anything changes
// the data.
func (a dataWork) backUp(ctx context.Context, run pipeline.HookFunc) error {
	name, err := run(ctx)
	if err != nil {
		return err
	}
	if name, err = a.backupName(name); err != nil {
		return err
	}
	a.run.Backup = name
	backup := pipeline.Backup{
		Pipeline: a.run.Pipeline, Stage: a.stage.Name, Build: a.run.Build, Run: a.run.ID, Environment: a.env.ID, Name: name, At: a.now().UTC(),
	}
	a.logf("the backup is %s", name)
	r := a.run
	return a.states.Append(ctx, a.run.Pipeline, &a.lease, pipeline.Event{Kind: pipeline.DataBackedUp, Facts: pipeline.Facts{Run: &r, Backup: &backup}})
}

// backupName refuses what is no name of a backup.
func (a dataWork) backupName(name string) (string, error) {
	fails := func(why string) error {
		return pipeline.Errorf(pipeline.CodeFailed, "run "+hookBackup, "%s", why).
			WithHint("Let service.backup print the name of the backup last, in a line of its own, such as the path or the address of its file.")
	}
	switch {
	case name == "":
		return "", fails("it printed no name of a backup")
	case utf8.RuneCountInString(name) > longestBackup:
		return "", fails(fmt.Sprintf("the name of the backup has more than %d characters", longestBackup))
	case strings.ContainsFunc(name, unicode.IsControl) || !utf8.ValidString(name):
		return "", fails(fmt.Sprintf("the name %q of the backup has characters that can't be printed", name))
	case pipeline.Masked(name): // by the platform, as its output is
		return "", fails(fmt.Sprintf("the name %q of the backup contains a secret, which can't be recorded", name))
	case pipeline.NewRedactor(append(a.secrets.all(), a.outputs.SecretEnv.Values()...)...).Text(name) != name:
		return "", fails("the name of the backup contains a secret, and would be recorded")
	}
	return name, nil
}

// restores returns the backup that the promotion which the run takes up wants restored.
func (a dataWork) restores() (pipeline.Backup, bool) {
	if a.takes == nil {
		return pipeline.Backup{}, false
	}
	return a.state.Restores(a.state.Promotions[a.stage.Name])
}

// restored returns what runs service.restore, and records that it was done for the promotion:
// it isn't done again then, whatever becomes of the run.
func (a dataWork) restored(backup pipeline.Backup) func(context.Context, pipeline.HookFunc) error {
	return func(ctx context.Context, run pipeline.HookFunc) error {
		a.logf("the data goes back to %s, when build %s was about to be deployed: backup %s", pipeline.Moment(backup.At), backup.Build, backup.Name)
		if _, err := run(ctx); err != nil {
			return err
		}
		a.run.Restored = backup.Name
		backup.Restored = a.state.Version(pipeline.RecordPromotion, a.stage.Name)
		r := a.run
		return a.states.Append(ctx, a.run.Pipeline, &a.lease, pipeline.Event{Kind: pipeline.DataRestored, Facts: pipeline.Facts{Run: &r, Backup: &backup}})
	}
}

// deployed adds to the facts of a run that passed what that means for the data: the backup
// belongs to a build that served, and service.finish is to run some time.
func (a dataWork) deployed(ctx context.Context, facts *pipeline.Facts) error {
	if a.env == nil || a.env.Purpose != pipeline.ForStage || a.env.IsModule() {
		return nil
	}
	st, err := a.states.State(ctx, a.run.Pipeline)
	if err != nil {
		return err
	}
	taken := pipeline.Backup{Stage: a.stage.Name, Build: a.run.Build, Run: a.run.ID}
	if b, ok := st.Backups[taken.ID()]; ok {
		b.Served = true
		facts.Backup = &b
	}
	before, exists := st.Finishes[a.stage.Name]
	switch v := st.Pipeline.Service; {
	case v.Finish == "" && exists:
		facts.Gone = append(facts.Gone, pipeline.Key{Kind: pipeline.RecordFinish, ID: a.stage.Name})
	case v.Finish == "":
	case exists && before.Build == a.run.Build && before.Environment == a.env.ID: // deployed again
		before.Run = a.run.ID
		facts.Finish = &before
	default:
		facts.Finish = &pipeline.Finish{
			Pipeline: a.run.Pipeline, Stage: a.stage.Name, Build: a.run.Build, Run: a.run.ID, Environment: a.env.ID,
			DueAt: a.now().UTC().Add(max(a.stage.Env.KeepPrevious, v.FinishAfter)), Skipped: skipped(st, before, a.run.Build),
		}
	}
	return nil
}

// skipped says why the finish of the build before is not done any more; nil where it was
// done.
func skipped(st *pipeline.State, before pipeline.Finish, build string) *pipeline.Skipped {
	if before.Build == "" || before.Done() {
		return nil
	}
	s := &pipeline.Skipped{Build: before.Build}
	switch {
	case st.Builds[build].Order < st.Builds[before.Build].Order:
		s.Reason = "the stage went back to an older build"
	case before.Error != "":
		s.Reason = fmt.Sprintf("it failed (%s), and the finish of a newer build has taken its place", before.Error)
	default:
		s.Reason = "a newer build was deployed before it was due, whose finish takes its place"
	}
	return s
}

// hooksLimit is how much longer the hooks of a run may take than runMargin has room for.
func hooksLimit(v pipeline.Service) time.Duration { return 4 * v.HookTimeout }
