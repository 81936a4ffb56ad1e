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
	NoticeFailed     NoticeKind = "failed"      // a run, a bake or a finish failed
	NoticeRejected   NoticeKind = "rejected"    // somebody rejected a build
	NoticeOverridden NoticeKind = "overridden"  // somebody let a build pass a gate
	NoticeCancelled  NoticeKind = "cancelled"   // somebody took a promotion back before an apply took it up
	NoticeDeployed   NoticeKind = "deployed"    // a persistent environment runs a newer build
	NoticeRolledBack NoticeKind = "rolled_back" // or an older one
	NoticeExpiring   NoticeKind = "expiring"    // an environment is about to end
	NoticeExpired    NoticeKind = "expired"     // it has ended
	NoticeDrift      NoticeKind = "drift"       // an environment is not as it was left
	NoticeBaked      NoticeKind = "baked"       // there is a new image
)

// NoticeKinds lists the kinds.
var NoticeKinds = []NoticeKind{
	NoticeWaiting, NoticeReady, NoticePassed, NoticeFailed, NoticeRejected, NoticeOverridden, NoticeCancelled, NoticeDeployed, NoticeRolledBack,
	NoticeExpiring, NoticeExpired, NoticeDrift, NoticeBaked,
}

// Notice is what receivers are notified of. The same event yields the same notices with the
// same IDs, whenever they are made.
type Notice struct {
	ID          string     `json:"id"`
	Kind        NoticeKind `json:"kind"`
	Pipeline    string     `json:"pipeline"`
	Stage       string     `json:"stage,omitempty"` // or the baked image's name
	Build       string     `json:"build,omitempty"`
	Number      int64      `json:"build_number,omitempty"` // absent where it is not known
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
	Ledger      Anchor     `json:"ledger,omitzero"` // the event that it is about; zero for a test
}

// NotifyTarget is where notices of a pipeline go. Exactly one of Webhook, Slack, Topic,
// EventBus and Command is set. A URL or a secret "$NAME" is the value of that variable on the
// machine that sends notices.
type NotifyTarget struct {
	On       []NoticeKind `json:"on,omitempty"` // empty: all
	Webhook  string       `json:"webhook_url,omitempty"`
	Secret   string       `json:"secret,omitempty"` // a variable; it signs what a webhook gets
	Slack    string       `json:"slack_url,omitempty"`
	Topic    string       `json:"sns_topic,omitempty"`
	EventBus string       `json:"event_bus,omitempty"`
	Command  string       `json:"command,omitempty"`
}

// Key identifies a target, whatever kinds of notice it wants.
func (t NotifyTarget) Key() string {
	t.On = nil
	return hashJSON(t)[:16]
}

// Wants reports whether the target is to be notified of a kind.
func (t NotifyTarget) Wants(kind NoticeKind) bool {
	return len(t.On) == 0 || slices.Contains(t.On, kind)
}

// Describe names the target for people, without those parts of a URL that may be secret.
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

// Targets returns the targets of the pipeline's notices, each once. A target that is
// mentioned several times is notified of all that any mention asks for.
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

// Target returns the target with the key.
func (p Pipeline) Target(key string) (NotifyTarget, bool) {
	for _, t := range p.Targets() {
		if t.Key() == key {
			return t, true
		}
	}
	return NotifyTarget{}, false
}

// Delivery is how far a target has been notified. The first one is recorded with the
// definition that adds the target.
type Delivery struct {
	Target   string       `json:"target"`             // key
	Seq      int64        `json:"seq"`                // of the last event that it has been notified of; 0: of the one that recorded this
	Notified int          `json:"notified,omitempty"` // of the notices of the event after that
	On       []NoticeKind `json:"on,omitempty"`       // what it was to be notified of then; empty: all
	Skipped  int          `json:"skipped,omitempty"`  // notices that it refused for good
	Error    string       `json:"error,omitempty"`    // of the last try; empty after one that went well
	Tries    int          `json:"tries,omitempty"`    // that failed in a row
	Next     time.Time    `json:"next,omitzero"`      // not tried again before
}

// Notified returns how far a target has been notified. A target without a delivery record
// starts at the newest definition of the pipeline.
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

// Raised is a fact about an environment that only a look at it shows. It is recorded once.
type Raised struct {
	ID          string      `json:"id"` // RaisedID
	Kind        NoticeKind  `json:"kind"`
	Environment Environment `json:"environment"` // as it was seen
}

// RaisedID makes the ID of what is raised about an environment: one for each of its states.
func RaisedID(env Environment, kind NoticeKind) string {
	what := string(kind)
	if kind == NoticeDrift {
		what += " " + string(env.Status)
	}
	return fmt.Sprintf("%s/%s/%s/%s", env.ID, what, env.Fleet, env.ExpiresAt.UTC().Format(time.RFC3339))
}

// MayNotify reports whether an event may yield a notice that the target wants. It is quick.
// Only a false is certain.
func (e Event) MayNotify(t NotifyTarget) bool { return slices.ContainsFunc(e.notifies(), t.Wants) }

// notifies returns the kinds of notice that an event may yield.
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
	case e.Kind == PromotionCancelled && f.CancelledPromotion() != nil:
		return []NoticeKind{NoticeCancelled}
	case e.Kind == DataFinishFailed && f.Finish != nil:
		return []NoticeKind{NoticeFailed}
	case e.Kind == EnvironmentNoticed && f.Raised != nil:
		return []NoticeKind{f.Raised.Kind}
	case e.Kind == DriftChecked && f.Drift != nil && f.Drift.New():
		return []NoticeKind{NoticeDrift}
	}
	return nil
}
