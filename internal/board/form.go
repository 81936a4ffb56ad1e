// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/ask"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// confirmation asks whether to do something, and says what will happen.
type confirmation struct {
	Key     string // of the action
	Act     action
	Ask     asked
	Explain []string
	Of      pipeline.Build
	Ticket  string
	Seen    *report.Evidence // of a decision on a build; nil for another action
	Range   string           // of its commits, in words
	Carrier string           // who carries it out
	GoBack  string           // how
	Last    string           // what the last rollback took
	Refused *trouble         // it would be refused: there is nothing to press
	Again   bool             // a form was sent that does not count: nothing was done
	Times   []time.Duration
	Choice  []pipeline.Build
	Back    string
}

// about ties a form to what it was made for. That of a launch lets people choose the name
// and the build.
func (a asked) about(name string) string {
	if name == "launch" {
		a.Name, a.Build = "", ""
	}
	return strings.Join([]string{name, a.Pipeline, a.Stage, a.Build, a.Name, a.Run, strconv.FormatInt(a.Decision, 10), a.From.Current, a.From.Next}, "\x00")
}

// read returns what an address or a form asks for.
func read(r *http.Request) (string, action, asked, error) {
	name := r.PathValue("action")
	a, known := actions[name]
	if !known {
		a, known = environmentActions[name]
	}
	if !known {
		return "", action{}, asked{}, pipeline.Errorf(pipeline.CodeNotFound, "find action", "there is no action %q", name)
	}
	if err := r.ParseForm(); err != nil {
		return "", action{}, asked{}, pipeline.Errorf(pipeline.CodeInvalid, "read form", "%w", err)
	}
	q := asked{
		Pipeline: r.PathValue("pipeline"), Stage: r.FormValue("stage"), Build: r.FormValue("build"), Name: r.FormValue("name"),
		Run: r.FormValue("run"), From: decision.Place{Current: r.FormValue("current"), Next: r.FormValue("next")}, Reason: strings.TrimSpace(present.Line(r.FormValue("reason"))),
	}
	q.Decision, _ = strconv.ParseInt(r.FormValue("decision"), 10, 64) // what is none is not what the form was made for
	if text := r.FormValue("ttl"); text != "" {
		ttl, err := time.ParseDuration(text)
		if err != nil || ttl < time.Minute {
			return "", action{}, asked{}, pipeline.Errorf(pipeline.CodeInvalid, "read form", "a time to live of %q", text).WithHint("Give a minute or more, such as 8h.")
		}
		q.TTL = ttl
	}
	return name, a, q, nil
}

// forms ask whether to do something, and do it.
type forms struct{ *core }

// confirm shows the page that asks.
func (b *forms) confirm(w http.ResponseWriter, r *http.Request, s *session) error {
	return b.ask(w, r, s, false)
}

// ask shows the page that asks, with what was typed already. again says that a form was sent
// which does not count.
func (b *forms) ask(w http.ResponseWriter, r *http.Request, s *session, again bool) error {
	name, a, q, err := read(r)
	if err != nil {
		return err
	}
	st, err := b.existing(r)
	if err != nil {
		return err
	}
	c := confirmation{Act: a, Key: name, Back: "/p/" + url.PathEscape(q.Pipeline), Again: again}
	if _, ok := environmentActions[name]; ok {
		err = b.prepareEnvironment(st, s.person, &q, &c)
	} else {
		err = b.prepareStage(r.Context(), st, s.person, &q, &c)
	}
	if err != nil {
		return err
	}
	if c.Ask, c.Of = q, st.Builds[q.Build]; a.Explain != nil {
		c.Explain = a.Explain(st, q)
	}
	c.Ticket = s.issue(q.about(name), b.Now())
	status := http.StatusOK
	if again {
		status = http.StatusConflict
	}
	b.show(w, s, status, "confirm", view{Title: a.Label + " · " + q.Pipeline, Pipeline: q.Pipeline, Tab: "board", Body: c, State: st})
	return nil
}

// prepareStage finds out what an action on a stage is about.
func (b *forms) prepareStage(ctx context.Context, st *pipeline.State, who pipeline.Person, q *asked, c *confirmation) error {
	stage, ok := st.Stages[q.Stage]
	if !ok {
		return pipeline.Errorf(pipeline.CodeNotFound, "find stage", "pipeline %q has no stage %q", q.Pipeline, q.Stage).WithHint("The board shows its stages.")
	}
	q.Build = pipeline.FindBuildID(st, q.Build)
	if _, ok := st.Builds[q.Build]; !ok && c.Act.Build {
		return pipeline.Errorf(pipeline.CodeNotFound, "find build", "pipeline %q has no build %q", q.Pipeline, q.Build).WithHint("The board lists its builds.")
	}
	v, _ := st.ResultOf(stage, q.Build)
	q.Run, q.From, q.Decision = v.ID, decision.Place{}, st.Version(pipeline.RecordDecision, pipeline.StageBuild(stage.Name, q.Build))
	if c.Key == "lift" {
		c.Act.Label = liftLabel(st, stage, q.Build)
	}
	c.refuse(check(b.Engine.As(who), st, stage, c.Key, q.Build))
	if c.Key == "promote" || c.Key == "rollback" {
		q.From = decision.PlaceOf(st, stage)
	}
	if !c.Act.Evidence {
		return nil
	}
	return b.see(ctx, st, q, c)
}

// see fills in the evidence of a decision.
func (b *forms) see(ctx context.Context, st *pipeline.State, q *asked, c *confirmation) error {
	e, err := b.Engine.Reports.Evidence(ctx, st, report.EvidenceRequest{
		Verb: c.Key, Stage: q.Stage, Build: q.Build,
		Compare: func(ctx context.Context, from, to string) (report.Diff, error) { return b.diff(ctx, st, from, to) },
	})
	if err != nil {
		return err
	}
	c.Seen, c.Explain = &e, ask.Consequences(e)
	c.Range, c.Carrier, c.GoBack, c.Last = ask.Range(e), ask.Carrier(e), ask.GoBack(e), ask.LastRollback(e, b.Now())
	return nil
}

// errOtherForm is what is logged of a form that does not count.
var errOtherForm = pipeline.Errorf(pipeline.CodeConflict, "send form", "the form is not one that this board made for the session and for this")

// act does what a form asks for. A form counts once, and only for what it was made for.
func (b *forms) act(w http.ResponseWriter, r *http.Request, s *session) error {
	name, a, q, err := read(r)
	if err != nil {
		return err
	}
	if a.Reason == reasonRequired && q.Reason == "" {
		return pipeline.Errorf(pipeline.CodeInvalid, strings.ToLower(a.Label), "a reason is needed").WithHint("Go back, and say why.")
	}
	switch s.redeem(r.PostFormValue("ticket"), q.about(name), b.Now()) {
	case redeemedBefore:
		return pipeline.Errorf(pipeline.CodeConflict, "send form", "this form was sent already").
			WithHint("Go back to the board, see where things are, and press the button again if need be.")
	case redeemedNever:
		if err := b.ask(w, r, s, true); err != nil {
			return err
		}
		b.logRefusal(r, s.person.Name, http.StatusConflict, errOtherForm)
		return nil
	}
	st, err := b.existing(r)
	if err != nil {
		return err
	}
	e, said := b.Engine.As(s.person), ""
	if _, ok := environmentActions[name]; ok {
		said, err = b.onEnvironment(r.Context(), e, name, q)
	} else {
		var done decision.Outcome
		done, err = e.Decisions.Do(r.Context(), q.command(name))
		if said = a.Says(st, q, done); err == nil && a.Evidence && name != "reject" && done.More == 0 {
			said += b.left(r.Context(), q.Pipeline)
		}
	}
	if err != nil {
		return err
	}
	b.Logger.Info("action", "action", name, "person", s.person.Name, "pipeline", q.Pipeline, "stage", q.Stage, "build", q.Build, "name", q.Name)
	s.say(said)
	http.Redirect(w, r, "/p/"+url.PathEscape(q.Pipeline)+backTo(name), http.StatusSeeOther)
	return nil
}

// left says who carries a decision out.
func (b *forms) left(ctx context.Context, name string) string {
	st, err := b.Engine.State(ctx, name)
	if err != nil {
		return "" // the decision is recorded all the same
	}
	applies, err := b.Engine.Reports.Applies(ctx, name)
	if err != nil {
		return ""
	}
	return " " + ask.Applier(applies, st.Pipeline.Owner, st.Pipeline.Made.Host)
}

// backTo returns the page that shows what an action did.
func backTo(name string) string {
	if _, ok := environmentActions[name]; ok {
		return "/environments"
	}
	return ""
}

// diff compares two builds, for a page.
func (b *core) diff(ctx context.Context, st *pipeline.State, from, to string) (report.Diff, error) {
	name := st.Pipeline.Name
	version := func(build string) int64 { return st.Version(pipeline.RecordBuild, build) } // artifact and image come later than the build
	key := fmt.Sprintf("%s/%s/%d/%s/%d", name, from, version(from), to, version(to))
	d, err := b.diffs.get(ctx, key, func(ctx context.Context) (report.Diff, error) { return b.Engine.Reports.Diff(ctx, name, from, to) })
	if err != nil {
		return d, err
	}
	return d.Marked(st), nil // how builds fared changes
}

// diffs keeps comparisons of builds, which may take a look into a repository. Who asks for
// the same at the same time waits for one look. What could not be compared is not tried
// again at once, as every page would wait for a repository that does not answer.
type diffs struct {
	ctx  context.Context
	now  func() time.Time
	work sync.WaitGroup
	memo singleflight.Group

	mu  sync.Mutex
	all map[string]keptDiff
}

type keptDiff struct {
	report.Diff
	err   error
	until time.Time // zero: for as long as there is room
}

const (
	keptDiffs  = 200
	diffLimit  = 20 * time.Second
	failedDiff = time.Minute // is how long one is believed
)

func newDiffs(ctx context.Context, now func() time.Time) *diffs {
	return &diffs{ctx: ctx, now: now, all: map[string]keptDiff{}}
}

// get returns what is known under a key, else what compare returns.
func (d *diffs) get(ctx context.Context, key string, compare func(context.Context) (report.Diff, error)) (report.Diff, error) {
	if known, ok := d.known(key); ok {
		return known.Diff, known.err
	}
	landed := d.memo.DoChan(key, func() (any, error) {
		d.work.Add(1)
		defer d.work.Done()
		if known, ok := d.known(key); ok {
			return known, nil
		}
		ctx, cancel := context.WithTimeout(d.ctx, diffLimit)
		defer cancel()
		found := keptDiff{}
		if found.Diff, found.err = compare(ctx); found.err != nil || found.Unknown != "" {
			found.until = d.now().Add(failedDiff)
		}
		d.keep(key, found)
		return found, nil
	})
	select {
	case r := <-landed:
		found := r.Val.(keptDiff)
		return found.Diff, found.err
	case <-ctx.Done():
		return report.Diff{}, ctx.Err()
	}
}

func (d *diffs) known(key string) (keptDiff, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	known, ok := d.all[key]
	return known, ok && (known.until.IsZero() || d.now().Before(known.until))
}

func (d *diffs) keep(key string, found keptDiff) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.all) >= keptDiffs {
		clear(d.all)
	}
	d.all[key] = found
}
