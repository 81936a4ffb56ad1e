// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package decision records what people decide about a stage and its builds: they approve,
// reject, promote, pause, and so on. Each is a Command, which can be checked, for a button,
// and done. It works with the ledger alone: the next apply does what a decision allows.
//
// It renders nothing. A face takes what it says of a command from the Outcome:
//
//	c := decision.Command{Verb: decision.Approve, Pipeline: "shop", Stage: "exploratory"}
//	outcome, err := decisions.Do(ctx, c)
package decision

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// inquiries are the environments in which people try builds before they decide.
type inquiries interface {
	// EndInquiries ends the environments in which a build was tried, at the stages where it is
	// decided, and at all if it is rejected.
	EndInquiries(ctx context.Context, pipeline, build string) error
}

// Config is what Decisions work with.
type Config struct {
	States    *state.Store
	Inquiries inquiries
	Person    pipeline.Person // who decides
	Logger    hclog.Logger
	Now       func() time.Time
}

// Decisions are what one person may decide. They are safe for concurrent use.
type Decisions struct {
	states    *state.Store
	inquiries inquiries
	person    pipeline.Person
	logger    hclog.Logger
	now       func() time.Time
}

// New makes the decisions of a person.
func New(c Config) *Decisions {
	return &Decisions{states: c.States, inquiries: c.Inquiries, person: c.Person, logger: c.Logger, now: c.Now}
}

// Verb is what a command does.
type Verb string

// The verbs.
const (
	// Approve approves a build at a stage. The build needs a run that passed there, and the
	// approval is one of as many as the pipeline wants. It returns CodeRefused for a rejected
	// build, which Lift is for. A second approval by the same person changes nothing.
	Approve Verb = "approve"
	// Reject rejects a build at a stage. It needs a reason, and is added to the rejections
	// that exist.
	Reject Verb = "reject"
	// Lift is a vote to lift the rejection of a build at a stage. It is lifted once as many
	// people have voted for it as must approve a build, all of whom have seen every rejection
	// that counts. If the run that decides the result of the build passed, their votes
	// approve the build, too. Votes from before the last rejection do not count.
	Lift Verb = "lift"
	// Promote lets a stage with a manual trigger move to a build with the next apply. It is
	// refused if a gate is closed, or if the configuration pins the stage, because the pin
	// would win.
	Promote Verb = "promote"
	// Rollback is a promotion back to an older build that passed the stage.
	Rollback Verb = "rollback"
	// CancelPromotion takes a promotion or a rollback back that no apply has taken up. It
	// returns CodeRefused if there is none, and CodeLocked if a run for it is under way.
	CancelPromotion Verb = "cancel-promotion"
	// Override lets a build pass a gate that it has not passed: without a run, with a failed
	// run, or without the approvals that the stage wants. It needs the override right and a
	// reason, and is recorded with the build permanently. The build must have passed all
	// stages above. An override does not lift a rejection.
	Override Verb = "override"
	// Pause keeps a stage where it is until Resume. No build enters it, and what it runs
	// keeps running. A pause of a paused stage replaces the reason.
	Pause Verb = "pause"
	// Resume lets a paused stage go on. It returns CodeRefused if the stage is not paused.
	Resume Verb = "resume"
	// Retry lets a stage run once more, with the next apply, for the build that it ran for.
	// On a stage that a person moves it needs the right to deploy.
	Retry Verb = "retry"
)

// Command is one thing that a person decides about a stage.
type Command struct {
	Verb            Verb
	Pipeline, Stage string
	// Build is the build that the command is about. If it is empty, Approve and Reject are
	// about the stage's candidate, Promote is about the newest build that may enter, and
	// Rollback is about the one that passed last before the current one. CancelPromotion is
	// about the one that was promoted. Pause, Resume and Retry are about no build.
	Build  string
	Reason string // Reject and Override need one; at most MaxReason characters
	// RestoreData lets a Rollback restore a backup, too: the one of the name in Backup, or
	// that which belongs to the build if it is empty.
	RestoreData bool
	Backup      string
	Looked      Looked
}

// MaxReason is how many characters a reason has at most. A decision has everybody's, and a
// ledger takes no record of any size.
const MaxReason = 4000

// Looked is what the person saw before deciding; nil for what was not shown. If it has
// changed since, the command is refused with CodeConflict, which says what has happened.
// Approvals of the same run add up, though.
type Looked struct {
	Run      *string // the run that the build's result is from; "" for none
	Decision *int64  // the version of the present decision; 0 for none
	Place    *Place  // where the stage was
}

// Outcome is the result of a command: the record that its verb makes, and what a face says of
// it.
type Outcome struct {
	Decision  pipeline.Decision  // of Approve, Reject and Lift
	Promotion pipeline.Promotion // of Promote and Rollback; of CancelPromotion the one that is taken back
	Override  pipeline.Override
	Pause     pipeline.Pause // of Pause; of Resume the one that is over
	Retry     pipeline.Retry
	Build     pipeline.Build // that the command is about; zero for none
	More      int            // how many more people must approve or lift
	From, To  pipeline.Build // of Promote and Rollback: the stage's current build, zero for none, and the one that it moves to
}

// op says what a command does, for errors.
func (c Command) op() string {
	says := map[Verb]string{
		Approve: "approve a build at", Reject: "reject a build at", Lift: "lift a rejection at", Promote: "promote to", Rollback: "roll back", CancelPromotion: "cancel the promotion to",
		Override: "override", Pause: "pause", Resume: "resume", Retry: "retry",
	}
	return fmt.Sprintf("%s stage %q of pipeline %q", says[c.Verb], c.Stage, c.Pipeline)
}

// rule is how a verb is checked and done. Each part may be nil.
type rule struct {
	// complete fills in the build, and refuses what nobody can do.
	complete func(st *pipeline.State, s pipeline.Stage, c *Command) error
	// check refuses what this person may not do, or what the stage does not accept.
	check func(d *Decisions, st *pipeline.State, s pipeline.Stage, c Command) error
	// idle refuses what would do nothing. That is an error only before it is done.
	idle func(d *Decisions, st *pipeline.State, s pipeline.Stage, c Command) error
	// record makes what is recorded.
	record func(d *Decisions, st *pipeline.State, s pipeline.Stage, c Command) (record, error)
}

// record is what a command records.
type record struct {
	outcome Outcome
	event   *pipeline.Event        // nil: it changes nothing
	expect  map[pipeline.Key]int64 // what must not have changed
	adds    bool                   // if it has, the decision is made again: it adds to what others decided
}

var rules = map[Verb]rule{
	Approve:         {complete: completeDecision, check: (*Decisions).checkApprove, idle: (*Decisions).approved, record: (*Decisions).decide},
	Reject:          {complete: completeDecision, check: (*Decisions).checkReject, record: (*Decisions).decide},
	Lift:            {complete: completeDecision, check: (*Decisions).checkLift, idle: (*Decisions).lifted, record: (*Decisions).decide},
	Promote:         {check: (*Decisions).checkMove, idle: (*Decisions).closed, record: (*Decisions).promote},
	Rollback:        {complete: completeRollback, check: (*Decisions).checkMove, idle: (*Decisions).closed, record: (*Decisions).promote},
	CancelPromotion: {complete: completeCancel, check: (*Decisions).checkCancel, record: (*Decisions).cancel},
	Override:        {check: (*Decisions).checkOverride, record: (*Decisions).override},
	Pause:           {check: (*Decisions).checkDeploy, record: (*Decisions).pause},
	Resume:          {check: (*Decisions).checkResume, record: (*Decisions).resume},
	Retry:           {check: (*Decisions).checkRetry, idle: (*Decisions).retried, record: (*Decisions).retry},
}

// Check refuses a command that this person may not do, that the stage does not accept, or
// that would do nothing. It reads nothing, so a page can call it for each of its buttons.
func (d *Decisions) Check(st *pipeline.State, c Command) error {
	s, ok := st.Stages[c.Stage]
	if !ok {
		return state.NoStage(c.Pipeline, c.Stage)
	}
	r := rules[c.Verb]
	if err := d.allow(r, st, s, c); err != nil || r.idle == nil {
		return err
	}
	return r.idle(d, st, s, c)
}

// allow refuses what a verb's rule refuses, and a reason that is too long.
func (d *Decisions) allow(r rule, st *pipeline.State, s pipeline.Stage, c Command) error {
	if n := utf8.RuneCountInString(c.Reason); n > MaxReason {
		return pipeline.Errorf(pipeline.CodeInvalid, c.op(), "the reason has %d characters, and at most %d are allowed", n, MaxReason)
	}
	return r.check(d, st, s, c)
}

// Complete returns a command with the build that it is about, and what the person looks at
// who is asked whether to do it: Do refuses it if that has changed. It refuses what Do would
// refuse now, and records nothing.
func (d *Decisions) Complete(st *pipeline.State, c Command) (Command, error) {
	s, ok := st.Stages[c.Stage]
	if !ok {
		return c, state.NoStage(c.Pipeline, c.Stage)
	}
	rule := rules[c.Verb]
	if rule.complete != nil {
		if err := rule.complete(st, s, &c); err != nil {
			return c, err
		}
	}
	if err := d.allow(rule, st, s, c); err != nil {
		return c, err
	}
	switch c.Verb {
	case Promote, Rollback:
		place := PlaceOf(st, s)
		c.Looked.Place = &place
		if err := destination(st, s, &c); err != nil {
			return c, err
		}
		restore, err := RestoreOf(st, s, c)
		if restore != nil {
			c.Backup = restore.Backup
		}
		return c, err
	case Approve, Reject, Lift:
		run, version := "", st.Version(pipeline.RecordDecision, pipeline.StageBuild(s.Name, c.Build))
		if v, ok := st.ResultOf(s, c.Build); ok {
			run = v.ID
		}
		c.Looked = Looked{Run: cmp.Or(c.Looked.Run, &run), Decision: cmp.Or(c.Looked.Decision, &version)}
	}
	return c, nil
}

// attempts is how often a decision is tried while only approvals of others come first. Each
// time, another person's was recorded.
const attempts = 20

// Do checks a command and records it. If another decision is recorded at the same time, the
// later one is refused with CodeConflict, which says who decided what.
func (d *Decisions) Do(ctx context.Context, c Command) (o Outcome, err error) {
	for range attempts {
		var again bool
		if o, again, err = d.try(ctx, &c); !again {
			break
		}
		d.states.AskAgain()
	}
	return o, err
}

// try checks and records a command. It notes what was decided before, and reports true if
// somebody else has decided meanwhile, so that the caller looks again.
func (d *Decisions) try(ctx context.Context, c *Command) (o Outcome, again bool, err error) {
	st, s, err := d.states.Stage(ctx, c.Pipeline, c.Stage)
	if err != nil {
		return o, false, err
	}
	rule := rules[c.Verb]
	if rule.complete != nil {
		if err := rule.complete(st, s, c); err != nil {
			return o, false, err
		}
	}
	if err := d.allow(rule, st, s, *c); err != nil {
		return o, false, err
	}
	r, err := rule.record(d, st, s, *c)
	r.outcome.Build = st.Builds[c.Build]
	if err != nil || r.event == nil {
		return r.outcome, false, err
	}
	err = d.states.AppendExpecting(ctx, c.Pipeline, nil, r.expect, *r.event)
	if r.adds && pipeline.CodeOf(err) == pipeline.CodeConflict {
		seen := r.expect[decisionKey(*c)]
		c.Looked.Decision = &seen
		return r.outcome, true, err
	}
	if err != nil || !r.adds {
		return r.outcome, false, err
	}
	if err := d.inquiries.EndInquiries(ctx, c.Pipeline, c.Build); err != nil { // a person who may decide need not be allowed to
		d.logger.Warn("the environment in which the build was tried ends with the next apply", "stage", c.Stage, "build", c.Build, "error", err)
	}
	return r.outcome, false, nil
}

// decisionKey is the key of the decision that a command is about.
func decisionKey(c Command) pipeline.Key {
	return pipeline.Key{Kind: pipeline.RecordDecision, ID: pipeline.StageBuild(c.Stage, c.Build)}
}

// more is how many more people must decide, once the decision is recorded.
func more(st *pipeline.State, s pipeline.Stage, d pipeline.Decision) int {
	after := st.Clone()
	after.Decisions = maps.Clone(st.Decisions)
	if after.Decisions == nil {
		after.Decisions = map[string]pipeline.Decision{}
	}
	after.Decisions[pipeline.StageBuild(s.Name, d.Build)] = d
	switch {
	case d.Result == pipeline.Rejected && d.Lift != nil:
		return after.Ballot(s, d.Build).MissingLifts()
	case d.Result == pipeline.Approved && s.Approval:
		return after.Ballot(s, d.Build).MissingApprovals()
	}
	return 0
}

// orElse returns the ID, or the given words if there is none.
func orElse(id, none string) string {
	if id == "" {
		return none
	}
	return id
}
