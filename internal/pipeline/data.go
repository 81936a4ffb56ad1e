// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Hook is a command of the service that works on the data of an environment. It runs once
// for a deployment, in the first instance of the new fleet, after install and before the
// service starts.
type Hook struct {
	Name    string            // the argument that sets it, for messages: "service.migrate"
	Line    string            // run by a shell
	Env     map[string]string // beside the variables of the service
	Secrets Secrets           // likewise
	Timeout time.Duration     // 0 means DefaultStepTimeout
	// From is the environment that the data comes from. A platform that keeps its data in a
	// directory of this machine names that directory in PENSTOCK_FROM_DATA. Empty: none.
	From string
	// Once says that the hook is for data that is new. A platform that knows the data of the
	// environment to be complete leaves the hook out.
	Once bool
	// Again says that the hook also runs in a fleet that was kept and is taken again, in which
	// no other hook does.
	Again bool
	// Around runs the hook by calling run, which returns the last line that the hook printed
	// that is not empty. An error of Around ends the launch. With nil, run is called as it is.
	Around func(ctx context.Context, run HookFunc) error `json:"-"`
}

// HookFunc runs a hook, and returns the last line of its output that is not empty.
type HookFunc func(ctx context.Context) (last string, err error)

// Run runs the hook by the platform's way to do it.
func (h Hook) Run(ctx context.Context, run HookFunc) error {
	if h.Around != nil {
		return h.Around(ctx, run)
	}
	_, err := run(ctx)
	return err
}

// LastLine returns the last line of a text that is not empty, without white space around it.
func LastLine(text string) string {
	text = strings.TrimSpace(text)
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}

// HookResult is how a hook of a run went.
type HookResult struct {
	Name      string        `json:"name"` // of the argument, such as service.migrate
	StartedAt time.Time     `json:"started_at"`
	Duration  time.Duration `json:"duration"`
	Error     string        `json:"error,omitempty"`
	Log       *LogPart      `json:"log,omitempty" shape:"log_part"` // the hook's part of the log of its run
}

// Backup is what service.backup kept of the data of a stage's environment, before a build was
// deployed there.
type Backup struct {
	Pipeline    string    `json:"pipeline"`
	Stage       string    `json:"stage"`
	Build       string    `json:"build"` // that was deployed after it
	Run         string    `json:"run"`   // that took it
	Environment string    `json:"environment"`
	Name        string    `json:"name"` // that service.backup printed last
	At          time.Time `json:"at"`
	Served      bool      `json:"served,omitempty"` // the build came to serve in this run
	// Restored is the version of the promotion for which the backup was restored last; 0 for
	// none.
	Restored int64 `json:"restored,omitempty" shape:"promotion_version"`
}

// ID returns the ID of the backup's record.
func (b Backup) ID() string { return StageBuild(b.Stage, b.Build) + "/" + b.Run }

// Restore is the wish that data be restored with a rollback.
type Restore struct {
	Backup string    `json:"backup"` // name
	Build  string    `json:"build"`  // before whose deployment it was taken
	Run    string    `json:"run"`    // that took it
	At     time.Time `json:"at"`     // when it was taken
}

// RestoreOf returns the wish that a backup be restored.
func RestoreOf(b Backup) *Restore {
	return &Restore{Backup: b.Name, Build: b.Build, Run: b.Run, At: b.At}
}

// record returns the ID of the record of the backup.
func (r Restore) record(stage string) string {
	return Backup{Stage: stage, Build: r.Build, Run: r.Run}.ID()
}

// BackupsOf returns the backups of a stage, the oldest first.
func (s *State) BackupsOf(stage string) []Backup {
	var all []Backup
	for _, b := range s.Backups {
		if b.Stage == stage {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b Backup) int { return strings.Compare(a.Run, b.Run) })
	return all
}

// BackupBefore returns the backup that belongs to a rollback of a stage to a build. It has
// the data that the build left when others replaced it: of the backups that were taken since
// the build last passed the stage, the oldest that is of a build which came to serve.
func BackupBefore(s *State, stage, build string) (Backup, bool) {
	last := ""
	for _, v := range s.Results[StageBuild(stage, build)] {
		if v.Status == RunPassed {
			last = max(last, v.ID)
		}
	}
	if last == "" {
		return Backup{}, false
	}
	var since []Backup
	served := map[string]bool{}
	for _, b := range s.BackupsOf(stage) {
		if b.Run > last && b.Build != build {
			since = append(since, b)
			served[b.Build] = served[b.Build] || b.Served
		}
	}
	for _, b := range since {
		if served[b.Build] {
			return b, true
		}
	}
	return Backup{}, false
}

// Restores returns the backup that a promotion wants restored and that no run has restored
// for it yet; false for none.
func (s *State) Restores(p Promotion) (Backup, bool) {
	if p.Restore == nil {
		return Backup{}, false
	}
	b, ok := s.Backups[p.Restore.record(p.Stage)]
	if !ok { // collected with its build: the name is all that there is
		b = Backup{Pipeline: p.Pipeline, Stage: p.Stage, Build: p.Restore.Build, Run: p.Restore.Run, Name: p.Restore.Backup, At: p.Restore.At}
	}
	return b, b.Restored != s.Version(RecordPromotion, p.Stage)
}

// Finish is when service.finish is to run for the build that a stage serves, and how that
// went.
type Finish struct {
	Pipeline    string    `json:"pipeline"`
	Stage       string    `json:"stage"`
	Build       string    `json:"build"`
	Run         string    `json:"run"`                                      // that deployed the build, and in whose log the output is
	Environment string    `json:"environment"`                              // ID
	DueAt       time.Time `json:"due_at"`                                   // when the build before can't be taken again any more
	DoneAt      time.Time `json:"done_at,omitzero"`                         // absent until it has been done
	FailedAt    time.Time `json:"failed_at,omitzero"`                       // the last try
	Tries       int       `json:"tries,omitempty"`                          // that failed
	Error       string    `json:"error,omitempty"`                          // of the last try; empty once it is done
	Skipped     *Skipped  `json:"skipped,omitempty" shape:"skipped_finish"` // the finish before, if this one takes its place
	Due         bool      `json:"-"`                                        // it is to run now, as the clock says when the state is read; never recorded
}

// Skipped is a finish that was not done, and why.
type Skipped struct {
	Build  string `json:"build"`
	Reason string `json:"reason"`
}

// Done reports whether the finish has been done.
func (f Finish) Done() bool { return !f.DoneAt.IsZero() }

// PendingFinish returns the finish of the build that a stage serves, if it has not been done.
func (s *State) PendingFinish(stage string) (Finish, bool) {
	f, ok := s.Finishes[stage]
	return f, ok && !f.Done() && s.Pipeline.Service.Finish != ""
}

// forDigest returns the part of the service that decides what a run of a stage does. What
// happens to the data of lasting environments around a deployment, and how the data of other
// stages gets into new ones, is no part of the others.
func (v Service) forDigest(stage Stage) *Service {
	v.Backup, v.Restore, v.Finish, v.FinishAfter, v.HookTimeout = "", "", "", 0, 0
	if !stage.CopiesData() {
		v.Copy, v.Mask = "", ""
	}
	return &v
}

// CopiesData reports whether the data of a new environment of the stage may be that of
// another stage.
func (s Stage) CopiesData() bool {
	return s.Env != nil && (s.Env.DataFrom != "" || s.Type == TypePreProduction)
}

// DataSource returns the stage that the data of a new environment of a stage comes from: the
// one that it names or, for a pre-production stage that names none, production. It is false
// if there is none yet.
func DataSource(s *State, stage Stage) (Stage, bool) {
	if !stage.CopiesData() {
		return Stage{}, false
	}
	if stage.Env.DataFrom != "" {
		from, ok := s.Stages[stage.Env.DataFrom]
		return from, ok
	}
	for _, from := range s.StagesInOrder() {
		if from.Type == TypeProduction && !from.Spread() && from.At.Place() == stage.At.Place() {
			return from, true
		}
	}
	return Stage{}, false
}

// CheckMask refuses a stage whose environment would begin with the data of production as it
// is. A pre-production stage that names no other is one, whether production exists yet or not.
func CheckMask(s *State, stage Stage) error {
	if !stage.CopiesData() || stage.Env.Unmasked || s.Pipeline.Service.Mask != "" {
		return nil
	}
	from, known := DataSource(s, stage)
	name := from.Name
	switch {
	case known && !from.KeepsRealData():
		return nil
	case !known && stage.Env.DataFrom != "": // it comes to exist below this one, and there is nothing to copy until then
		return nil
	case !known:
		name = string(TypeProduction)
	}
	return Errorf(CodeInvalid, placing(stage), "the environment starts with a copy of the data of %q, and nothing masks it: everyone with access to this environment could read it", name).
		WithHint("Mask the copy, or state that it needs no masking, as for a service that keeps no personal data.").
		WithAdvice(Set("service.mask", `"…"`, "the pipeline"), Set("environment.unmasked", "true", "the stage"))
}

// KeepsRealData reports whether the stage's environment has data of the people that the
// system is for: it is production, or it lasts and people move it.
func (s Stage) KeepsRealData() bool {
	return s.Type == TypeProduction || s.Persistent() && s.Trigger == TriggerManual
}
