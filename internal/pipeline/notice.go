// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// NoticeKind says what a notice is about.
type NoticeKind string

// The kinds of notice.
const (
	NoticeWaiting    NoticeKind = "waiting"     // a stage waits for a person
	NoticeReady      NoticeKind = "ready"       // a stage may begin: all above it have passed the same build
	NoticePassed     NoticeKind = "passed"      // a build passed a stage
	NoticeFailed     NoticeKind = "failed"      // a run or a bake failed
	NoticeRejected   NoticeKind = "rejected"    // somebody rejected a build
	NoticeOverridden NoticeKind = "overridden"  // somebody let a build pass a gate
	NoticeDeployed   NoticeKind = "deployed"    // a lasting environment runs a newer build
	NoticeRolledBack NoticeKind = "rolled_back" // or an older one
	NoticeExpiring   NoticeKind = "expiring"    // an environment is about to end
	NoticeExpired    NoticeKind = "expired"     // it has ended
	NoticeDrift      NoticeKind = "drift"       // an environment is not as it was left
	NoticeBaked      NoticeKind = "baked"       // there is a new image
)

// NoticeKinds lists the kinds.
var NoticeKinds = []NoticeKind{
	NoticeWaiting, NoticeReady, NoticePassed, NoticeFailed, NoticeRejected, NoticeOverridden, NoticeDeployed, NoticeRolledBack,
	NoticeExpiring, NoticeExpired, NoticeDrift, NoticeBaked,
}

// Notice is what receivers are told. The same event gives the same notices with the
// same IDs, whenever they are made.
type Notice struct {
	ID          string     `json:"id"`
	Kind        NoticeKind `json:"kind"`
	Pipeline    string     `json:"pipeline"`
	Stage       string     `json:"stage,omitempty"` // or the baked image's name
	Build       string     `json:"build,omitempty"`
	Commit      string     `json:"commit,omitempty"`
	Author      string     `json:"author,omitempty"`
	Message     string     `json:"message,omitempty"` // the first line of the commit's
	Run         string     `json:"run,omitempty"`
	Image       string     `json:"image,omitempty"`
	Environment string     `json:"environment,omitempty"` // its name
	Endpoint    string     `json:"endpoint,omitempty"`
	Actor       string     `json:"actor,omitempty"`  // who did it
	Reason      string     `json:"reason,omitempty"` // that was given
	Text        string     `json:"text"`             // in a sentence or two
	Time        time.Time  `json:"time"`
	Ledger      Anchor     `json:"ledger,omitzero"` // the event that it tells of; zero for a test
}

// NotifyTarget is where notices of a pipeline go. Exactly one of Webhook, Slack, Topic,
// EventBus and Command is set. A URL or a secret that is "$NAME" is the value of that
// variable where notices are sent.
type NotifyTarget struct {
	On       []NoticeKind `json:"on,omitempty"` // empty: all
	Webhook  string       `json:"webhook_url,omitempty"`
	Secret   string       `json:"secret,omitempty"` // a variable; it signs what a webhook gets
	Slack    string       `json:"slack_url,omitempty"`
	Topic    string       `json:"sns_topic,omitempty"`
	EventBus string       `json:"event_bus,omitempty"`
	Command  string       `json:"command,omitempty"`
}

// Key tells targets apart, whatever they want to be told of.
func (t NotifyTarget) Key() string {
	t.On = nil
	return hashJSON(t)[:16]
}

// Wants reports whether the target is to be told of a kind.
func (t NotifyTarget) Wants(kind NoticeKind) bool {
	return len(t.On) == 0 || slices.Contains(t.On, kind)
}

// Describe names the target for people, without what may be secret in a URL.
func (t NotifyTarget) Describe() string {
	host := func(url string) string {
		if strings.HasPrefix(url, "$") {
			return url
		}
		_, rest, _ := strings.Cut(url, "//")
		if i := strings.LastIndex(strings.SplitN(rest, "/", 2)[0], "@"); i >= 0 {
			rest = rest[i+1:]
		}
		return strings.SplitN(rest, "/", 2)[0]
	}
	switch {
	case t.Webhook != "":
		return "webhook " + host(t.Webhook)
	case t.Slack != "":
		return "slack " + host(t.Slack)
	case t.Topic != "":
		return "topic " + t.Topic
	case t.EventBus != "":
		return "event bus " + t.EventBus
	default:
		return "command " + FirstLine(t.Command)
	}
}

// Targets gives the targets of the pipeline's notices, each once: what it is to be told
// of is all that any mention of it says.
func (p Pipeline) Targets() []NotifyTarget {
	var targets []NotifyTarget
	for _, t := range p.Notify {
		i := slices.IndexFunc(targets, func(o NotifyTarget) bool { return o.Key() == t.Key() })
		switch {
		case i < 0:
			targets = append(targets, t)
		case len(t.On) == 0 || len(targets[i].On) == 0:
			targets[i].On = nil
		default:
			targets[i].On = append(slices.Clone(targets[i].On), t.On...)
		}
	}
	return targets
}

// Target gives the target with the key.
func (p Pipeline) Target(key string) (NotifyTarget, bool) {
	for _, t := range p.Targets() {
		if t.Key() == key {
			return t, true
		}
	}
	return NotifyTarget{}, false
}

// Delivery is how far a target has been told. It is recorded first with the definition
// that brings the target.
type Delivery struct {
	Target   string       `json:"target"`             // key
	Seq      int64        `json:"seq"`                // of the last event that it has been told of; 0: of the one that recorded this
	Notified int          `json:"notified,omitempty"` // of the notices of the event after that
	On       []NoticeKind `json:"on,omitempty"`       // what it was to be told of then; empty: all
	Skipped  int          `json:"skipped,omitempty"`  // notices that it refused for good
	Error    string       `json:"error,omitempty"`    // of the last try; empty after one that went well
	Tries    int          `json:"tries,omitempty"`    // that failed in a row
	Next     time.Time    `json:"next,omitzero"`      // not tried again before
}

// Told gives how far a target has been told. One of which nothing is recorded has been
// told what happened before the definition.
func (s *State) Notified(t NotifyTarget) Delivery {
	key := t.Key()
	d, ok := s.Deliveries[key]
	switch {
	case !ok:
		return Delivery{Target: key, Seq: s.Version(RecordPipeline, s.Pipeline.Name), On: t.On}
	case d.Seq == 0:
		d.Seq = s.Version(RecordDelivery, key)
	}
	return d
}

// Raised is something that only a look at an environment can tell, recorded once.
type Raised struct {
	ID          string      `json:"id"` // RaisedID
	Kind        NoticeKind  `json:"kind"`
	Environment Environment `json:"environment"` // as it was seen
}

// RaisedID makes the ID of what is raised of an environment: once for each state of it.
func RaisedID(env Environment, kind NoticeKind) string {
	what := string(kind)
	if kind == NoticeDrift {
		what += " " + string(env.Status)
	}
	return fmt.Sprintf("%s/%s/%s/%s", env.ID, what, env.Fleet, env.ExpiresAt.UTC().Format(time.RFC3339))
}

// MayTell reports whether an event may give a notice that the target wants. It is quick,
// and right where it says no.
func (e Event) MayTell(t NotifyTarget) bool { return slices.ContainsFunc(e.notifies(), t.Wants) }

// tells gives the kinds of notice that an event may give.
func (e Event) notifies() []NoticeKind {
	f := e.Facts
	switch {
	case e.Kind == RunEnded && f.Run != nil && f.Run.Status == RunFailed:
		return []NoticeKind{NoticeFailed}
	case e.Kind == RunEnded && f.Run != nil && f.Run.Status == RunPassed:
		return []NoticeKind{NoticePassed, NoticeWaiting, NoticeReady, NoticeDeployed, NoticeRolledBack, NoticeBaked}
	case e.Kind == BuildDecided && f.Decision != nil:
		return []NoticeKind{NoticeRejected, NoticePassed, NoticeWaiting, NoticeReady}
	case e.Kind == GateOverridden && f.Override != nil:
		return []NoticeKind{NoticeOverridden, NoticeWaiting, NoticeReady}
	case e.Kind == EnvironmentNoticed && f.Raised != nil:
		return []NoticeKind{f.Raised.Kind}
	}
	return nil
}

// Notices gives what receivers are told of an event. What it says of other stages was so
// when the event was recorded.
func (s *State) Notices(e Event) []Notice {
	if len(e.notifies()) == 0 {
		return nil
	}
	then := s.AsOf(e)
	var all []Notice
	say := func(n Notice) { all = append(all, n) }
	f := e.Facts
	switch {
	case e.Kind == RunEnded && f.Run != nil:
		then.noticesOfRun(*f.Run, f.Current, say)
	case e.Kind == BuildDecided && f.Decision != nil:
		then.noticesOfDecision(*f.Decision, say)
	case e.Kind == GateOverridden && f.Override != nil:
		o := *f.Override
		say(Notice{Kind: NoticeOverridden, Stage: o.Stage, Build: o.Build, Run: o.Run, Reason: o.Reason,
			Text: fmt.Sprintf("%s let %s pass %s, which it had not passed: %s.", e.Actor, o.Build, o.Stage, o.Reason) + then.stillMissing(o.Stage, o.Build)})
		then.opens(o.Stage, o.Build, say)
	case e.Kind == EnvironmentNoticed && f.Raised != nil:
		say(f.Raised.notice())
	}
	for i := range all {
		n := &all[i]
		b := s.Builds[n.Build]
		n.ID, n.Pipeline, n.Time = fmt.Sprintf("%s-%d-%d", e.Pipeline, e.Seq, i), e.Pipeline, e.Time
		n.Ledger = e.Anchor()
		n.Commit, n.Author, n.Message = b.Revision.Commit, b.Revision.Author, b.Revision.Message
		if n.Actor == "" {
			n.Actor = e.Actor
		}
	}
	return all
}

func (s *State) noticesOfRun(r Run, hold *Current, say func(Notice)) {
	n := Notice{Stage: r.Stage, Build: r.Build, Run: r.ID, Image: r.Image, Actor: r.Actor}
	stage := s.Stages[r.Stage]
	failed, passed := r.Stage+" failed for "+r.Build, r.Build+" passed "+r.Stage
	if r.Build == "" { // a bootstrap stage takes none
		failed, passed = r.Stage+" failed", r.Stage+" passed"
	}
	switch {
	case r.Status == RunFailed && r.Kind == KindBake:
		n.Kind, n.Reason, n.Text = NoticeFailed, FirstLine(r.Error), fmt.Sprintf("The bake of %s failed: %s", r.Stage, FirstLine(r.Error))
	case r.Status == RunFailed:
		n.Kind, n.Reason, n.Text = NoticeFailed, FirstLine(r.Error), fmt.Sprintf("%s: %s", failed, FirstLine(r.Error))
		if held := s.Current[r.Stage].Build; stage.Persistent() && held != "" {
			n.Text += fmt.Sprintf(". It still runs %s.", held)
		}
	case r.Status != RunPassed:
		return
	case r.Kind == KindBake:
		n.Kind, n.Text = NoticeBaked, fmt.Sprintf("Image %s of %s is baked.", r.Image, r.Stage)
	case stage.Persistent():
		n.Kind, n.Text = NoticeDeployed, fmt.Sprintf("%s runs %s.", r.Stage, r.Build)
		if hold != nil && s.Builds[hold.Previous].Order > s.Builds[r.Build].Order {
			n.Kind, n.Text = NoticeRolledBack, fmt.Sprintf("%s is back at %s, from %s.", r.Stage, r.Build, hold.Previous)
		}
		if env, ok := s.RunEnvironment(r.Stage, ForStage); ok {
			n.Endpoint = env.Endpoint
		}
	case stage.Approval && !s.Passed(r.Stage, r.Build):
		n.Kind, n.Text = NoticeWaiting, fmt.Sprintf("%s waits for %s.", r.Stage, s.waitsForDecision(stage, r.Build))
		if env, ok := s.RunEnvironment(r.Stage, ForInquiry); ok {
			n.Endpoint = env.Endpoint
		}
		say(n)
		return
	default:
		n.Kind, n.Text = NoticePassed, passed+"."
	}
	if r.Status == RunPassed && r.Kind == KindStage && r.Build != "" {
		n.Text += s.stillMissing(r.Stage, r.Build)
	}
	say(n)
	if r.Status == RunPassed && r.Kind == KindStage && r.Build != "" {
		s.opens(r.Stage, r.Build, say)
	}
}

func (s *State) noticesOfDecision(d Decision, say func(Notice)) {
	n := Notice{Stage: d.Stage, Build: d.Build, Run: d.Run, Reason: d.Reason, Actor: d.Actor}
	stage := s.Stages[d.Stage]
	switch {
	case d.Result == Rejected && d.Lift != nil:
		vote := d.Lift.Votes[len(d.Lift.Votes)-1]
		n.Kind, n.Actor, n.Reason = NoticeWaiting, vote.Actor, vote.Reason
		n.Text = fmt.Sprintf("%s votes to lift the rejection of %s at %s %s. It takes %d more.",
			vote.Actor, d.Build, d.Stage, describeRejections(d.Stand()), s.MissingLifts(stage, d.Build))
		say(n)
	case d.Result == Rejected:
		n.Kind, n.Text = NoticeRejected, fmt.Sprintf("%s rejected %s at %s: %s", d.Actor, d.Build, d.Stage, d.Reason)
		say(n)
	case stage.Approval && s.Passed(d.Stage, d.Build):
		n.Kind, n.Text = NoticePassed, d.notified()+"."+s.stillMissing(d.Stage, d.Build)
		say(n)
		s.opens(d.Stage, d.Build, say)
	case stage.Approval && s.Outcome(stage, d.Build) == OutcomeWaiting:
		n.Kind, n.Text = NoticeWaiting, fmt.Sprintf("%s, which waits for %s.", d.notified(), s.waitsForDecision(stage, d.Build))
		say(n)
	case len(d.Lifted) > 0: // with nothing to approve
		n.Kind, n.Text = NoticeWaiting, d.notified()+"."
		if s.Passed(d.Stage, d.Build) {
			n.Kind = NoticePassed
		}
		say(n)
		s.opens(d.Stage, d.Build, say)
	}
}

// told says who approved what, and which rejection that lifted.
func (d Decision) notified() string {
	if len(d.Lifted) == 0 {
		return fmt.Sprintf("%s approved %s at %s", d.Actor, d.Build, d.Stage)
	}
	return fmt.Sprintf("%s lifted the rejection of %s at %s %s", d.Actor, d.Build, d.Stage, describeRejections(d.Lifted))
}

// below gives the stages that come after one, in the pipeline's order.
func (s *State) below(stage string) []Stage {
	return slices.DeleteFunc(s.StagesInOrder(), func(b Stage) bool { return !slices.Contains(b.After, stage) })
}

// stillMissing says which stages below wait for others to pass the build, too.
func (s *State) stillMissing(stage, build string) string {
	var text strings.Builder
	for _, b := range s.below(stage) {
		if missing := s.missing(b, build); len(missing) > 0 {
			fmt.Fprintf(&text, " %s still waits for %s to pass it.", b.Name, strings.Join(missing, " and "))
		}
	}
	return text.String()
}

// opens says which stages below may begin with the build, now that this one passed it.
func (s *State) opens(stage, build string, say func(Notice)) {
	for _, b := range s.below(stage) {
		if s.Eligible(b, build) != nil || s.Passed(b.Name, build) {
			continue
		}
		n := Notice{Kind: NoticeReady, Stage: b.Name, Build: build, Text: fmt.Sprintf("%s may begin with %s.", b.Name, build)}
		if f, held := s.Pauses[b.Name]; held {
			n.Kind, n.Text = NoticeWaiting, fmt.Sprintf("%s could begin with %s, and waits for %s.", b.Name, build, f.describe(b))
		} else if b.Trigger == TriggerManual && b.Pin == "" {
			n.Kind, n.Text = NoticeWaiting, fmt.Sprintf("%s waits for a promotion of %s: `penstock promote %s %s %s`.", b.Name, build, b.Pipeline, b.Name, build)
		}
		say(n)
	}
}

func (r Raised) notice() Notice {
	env := r.Environment
	n := Notice{Kind: r.Kind, Stage: env.Stage, Build: env.Build, Environment: env.Name, Endpoint: env.Endpoint, Reason: env.Reason, Actor: env.Owner}
	what := env.Describe()
	switch r.Kind {
	case NoticeExpiring:
		n.Text = fmt.Sprintf("The %s of %s ends at %s. `penstock env extend %s %s` lets it live longer.", what, env.Owner, Moment(env.ExpiresAt.UTC()), env.Pipeline, env.Name)
	case NoticeExpired:
		n.Text = fmt.Sprintf("The %s of %s has ended.", what, env.Owner)
	default:
		n.Text = fmt.Sprintf("The %s is %s.", what, env.Status)
		if env.Reason != "" {
			n.Text = strings.TrimSuffix(n.Text, ".") + ": " + FirstLine(env.Reason)
		}
	}
	return n
}
