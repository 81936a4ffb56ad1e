// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// HistoryKind is what an entry of a history is about.
type HistoryKind string

// The kinds of entries.
const (
	HistoryBuild       HistoryKind = "build"       // one was made, offered again or collected
	HistoryRun         HistoryKind = "run"         // one ended, or was asked for again
	HistoryDeployment  HistoryKind = "deployment"  // a stage moved to a build
	HistoryDecision    HistoryKind = "decision"    // somebody approved, rejected or lifted
	HistoryPromotion   HistoryKind = "promotion"   // or its cancellation
	HistoryOverride    HistoryKind = "override"    // somebody let a build pass a gate
	HistoryPause       HistoryKind = "pause"       // or its end
	HistoryEnvironment HistoryKind = "environment" // one was launched, extended, changed or ended
	HistoryData        HistoryKind = "data"        // it was backed up, restored or finished
	HistoryImage       HistoryKind = "image"       // one was baked, published or removed
	HistoryChannel     HistoryKind = "channel"     // a name came to lead to an image, or nowhere
	HistoryDefinition  HistoryKind = "definition"  // of the pipeline, a stage or an image
)

// HistoryKinds are all of them, in the order of a legend.
var HistoryKinds = []HistoryKind{
	HistoryDeployment, HistoryDecision, HistoryPromotion, HistoryOverride, HistoryPause, HistoryRun, HistoryBuild, HistoryEnvironment, HistoryData, HistoryImage, HistoryChannel, HistoryDefinition,
}

// HistoryEntry is something that happened in a pipeline. It never changes: what happens later
// is another entry.
type HistoryEntry struct {
	Sequence     int64              `json:"sequence"`                 // of the event in the pipeline's history
	Hash         string             `json:"hash"`                     // of the event, as hex SHA-256
	PreviousHash string             `json:"previous_hash,omitempty"`  // of the event before it
	Event        pipeline.EventKind `json:"event"`                    // the kind of event, such as build.decided
	At           time.Time          `json:"at"`                       // when it happened
	RecordedAt   time.Time          `json:"recorded_at"`              // when it got into the history
	Kind         HistoryKind        `json:"kind"`                     // build, run, deployment, decision, promotion, override, pause, environment, data, image, channel or definition
	Action       string             `json:"action"`                   // what happened, in a word, such as approved or rolled_back
	Actor        string             `json:"actor"`                    // who did it
	Stage        string             `json:"stage,omitempty"`          // image/NAME for a baked image
	Build        string             `json:"build,omitempty"`          // ID
	BuildNumber  int64              `json:"build_number,omitempty"`   // absent where it is not known
	Message      string             `json:"message,omitempty"`        // the first line of the commit's
	From         string             `json:"from,omitempty"`           // the build that the stage was at before, by ID
	FromNumber   int64              `json:"from_number,omitempty"`    // its number
	Run          string             `json:"run,omitempty"`            // that ended, or that a decision was made on
	Image        string             `json:"image,omitempty"`          // ID
	Environment  string             `json:"environment,omitempty"`    // its name
	Channel      string             `json:"channel_name,omitempty"`   // the name of one, as the platform has it
	Approvals    int                `json:"approval_count,omitempty"` // of an approval or a vote to lift: how many there are with it
	Changed      []string           `json:"changed,omitempty"`        // names of the arguments that a new definition changed
	Reason       string             `json:"reason,omitempty"`         // that a person gave
	Detail       string             `json:"detail,omitempty"`         // what else there is to say, such as the error of a run

	order int64 // of the build, where the event says it
}

// Rollback reports whether a stage moved to an older build.
func (e HistoryEntry) Rollback() bool {
	return e.Kind == HistoryDeployment && e.Action == actionRolledBack
}

// Says says what happened in a few words: "run failed", "rolled back".
func (e HistoryEntry) Says() string {
	action := strings.ReplaceAll(e.Action, "_", " ")
	switch {
	case e.Kind == HistoryPromotion && e.Action == actionCancelled,
		e.Kind == HistoryBuild, e.Kind == HistoryEnvironment, e.Kind == HistoryImage,
		e.Kind == HistoryRun && e.Action != actionRetried:
		return string(e.Kind) + " " + action
	case e.Kind == HistoryDefinition && pipeline.IsImageRun(e.Stage):
		return "image " + action
	case e.Kind == HistoryDefinition && e.Stage != "":
		return "stage " + action
	case e.Kind == HistoryDefinition:
		return "pipeline " + action
	}
	return action
}

// HistoryQuery selects entries of a history. Zero fields select all.
type HistoryQuery struct {
	Stage string
	Build string // ID or number; a deployment is also of the build that it replaced
	By    string // a part of the name of who did it, in any case
	Kinds []HistoryKind
	Since time.Time // recorded then or later
	Until time.Time // recorded before
	After int64     // the Next of the page before
	Limit int       // at most; 0 means 50
}

// HistoryPage is a page of a history, the newest entry first.
type HistoryPage struct {
	Entries []HistoryEntry `json:"entries"`
	Next    int64          `json:"next,omitempty"`    // the sequence number to continue after; absent on the last page
	Pending int64          `json:"pending,omitempty"` // decisions that count already and are not in the history yet: the next apply records them
}

const (
	historyLimit = 50
	// historyWindow is how many events are read at first. Further reads double it, up to
	// historyWindowMost.
	historyWindow     = 200
	historyWindowMost = 1600
	// historyMost is after how many events a page ends, whatever it has found.
	historyMost = 10000
	// historyBack is how many older events are read to find out what an event changed.
	historyBack = 2000
)

// History lists what happened in a pipeline, the newest first. It reads the history backwards
// from where the page begins, and no more of it than the page needs: with a filter that few
// entries match, a page may end early, with a Next. CodeInvalid for a build that is neither an
// ID nor a number, CodeNotFound for a number that no build had.
func (r *Reports) History(ctx context.Context, pipelineName string, q HistoryQuery) (HistoryPage, error) {
	h, err := r.historian(ctx, pipelineName, q)
	if err != nil {
		return HistoryPage{}, err
	}
	if err := h.read(ctx); err != nil {
		return HistoryPage{}, fmt.Errorf("read history: %w", err)
	}
	page := h.page()
	if err := h.name(ctx, page.Entries); err != nil {
		return HistoryPage{}, fmt.Errorf("read history: %w", err)
	}
	return page, nil
}

// EachEntry calls do with all entries that a query selects, whatever its Limit is, the newest
// first.
func (r *Reports) EachEntry(ctx context.Context, pipelineName string, q HistoryQuery, do func(HistoryEntry) error) error {
	for q.Limit = 500; ; {
		page, err := r.History(ctx, pipelineName, q)
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if err := do(e); err != nil {
				return err
			}
		}
		if q.After = page.Next; q.After == 0 {
			return nil
		}
	}
}

// historian reads a page of a history.
type historian struct {
	*Reports
	pipeline string
	query    HistoryQuery // its build is an ID
	state    *pipeline.State
	pending  int64

	at     int64 // the newest event that was not read yet
	first  int64 // the oldest that may matter
	looked int
	enough int // of looked, when as many entries as a page has were found; 0: not yet
	drafts []*draft
	waits  map[pipeline.Key][]*draft
	builds map[string]pipeline.Build // that were looked up
}

// draft is an entry that may lack what only an older event shows.
type draft struct {
	HistoryEntry
	// complete gets the facts that the event replaced; nil for none, or if they are too old to
	// be known. It reports false for a change that is not worth an entry. It is nil once that
	// is done.
	complete func(e *HistoryEntry, was *pipeline.Facts, known bool) bool
	dropped  bool
}

func (r *Reports) historian(ctx context.Context, name string, q HistoryQuery) (*historian, error) {
	st, err := r.states.State(ctx, name)
	if err != nil {
		return nil, err
	}
	head, err := r.ledger.Head(ctx, name)
	if err != nil {
		return nil, err
	}
	newest, err := r.ledger.Newest(ctx, name)
	if err != nil {
		return nil, err
	}
	if !st.Exists() && newest.Sequence == 0 {
		return nil, state.NoPipeline(name)
	}
	if q.Limit <= 0 {
		q.Limit = historyLimit
	}
	h := &historian{
		Reports: r, pipeline: name, query: q, state: st, pending: max(head-newest.Sequence, 0), at: newest.Sequence, first: 1,
		waits: map[pipeline.Key][]*draft{}, builds: map[string]pipeline.Build{},
	}
	if !q.Until.IsZero() {
		if h.at, err = h.before(ctx, func(e pipeline.Event) bool { return e.Time.Before(q.Until) }); err != nil {
			return nil, err
		}
	}
	if q.After > 0 {
		h.at, h.pending = min(h.at, q.After-1), 0
	}
	return h, h.about(ctx)
}

// before returns the newest event, of those up to at, that matches, as all before it do; 0 if
// none does.
func (h *historian) before(ctx context.Context, match func(pipeline.Event) bool) (int64, error) {
	var failed error
	n := sort.Search(int(h.at), func(i int) bool {
		e, err := h.event(ctx, int64(i)+1)
		if err != nil {
			failed = err
			return true
		}
		return !match(e)
	})
	return int64(n), failed
}

// event returns an event.
func (h *historian) event(ctx context.Context, seq int64) (pipeline.Event, error) {
	found, err := h.ledger.Events(ctx, h.pipeline, seq-1, 1)
	if err != nil || len(found) == 0 {
		return pipeline.Event{}, err
	}
	return found[0], nil
}

// read reads events backwards, until there are entries for the page.
func (h *historian) read(ctx context.Context) error {
	for window := int64(historyWindow); h.at >= h.first && !h.done(); window = min(2*window, historyWindowMost) {
		low := max(h.at-window, h.first-1) // not read
		// The one at low shows how many builds there were before.
		events, err := h.ledger.Events(ctx, h.pipeline, max(low-1, 0), int(h.at-max(low-1, 0)))
		if err != nil {
			return err
		}
		for i, e := range slices.Backward(events) {
			if e.Seq <= low {
				break
			}
			if !h.query.Since.IsZero() && e.Time.Before(h.query.Since) {
				low, h.first = e.Seq, e.Seq+1
				break
			}
			var builds int64
			if i > 0 {
				builds = events[i-1].Builds
			}
			h.settle(e)
			h.tell(e, builds)
			h.looked++
		}
		h.at = low
	}
	return h.lookBack(ctx)
}

// lookBack reads the events before the page, for what those of the page changed.
func (h *historian) lookBack(ctx context.Context) error {
	at, last := h.at, h.looked+historyBack
	if h.enough > 0 {
		last = h.enough + historyBack
	}
	for at > 0 && len(h.waits) > 0 && h.looked < last {
		low := max(at-historyWindow, 0)
		events, err := h.ledger.Events(ctx, h.pipeline, low, int(at-low))
		if err != nil {
			return err
		}
		for _, e := range slices.Backward(events) {
			h.settle(e)
		}
		h.looked += int(at - low)
		at = low
	}
	for _, drafts := range h.waits {
		for _, d := range drafts {
			d.settle(h, nil, at == 0)
		}
	}
	return nil
}

// done reports whether enough was read for a page.
func (h *historian) done() bool {
	found, waiting := 0, 0
	for _, d := range h.drafts {
		if found+waiting == h.query.Limit {
			break
		}
		switch {
		case d.dropped:
		case d.complete != nil:
			waiting++
		default:
			found++
		}
	}
	full := found+waiting >= h.query.Limit
	switch {
	case full && h.enough == 0:
		h.enough = h.looked
	case !full:
		h.enough = 0
	}
	return full && (waiting == 0 || h.looked-h.enough >= historyBack) || h.looked >= historyMost
}

// page returns the entries that belong to the page. Those of one event are on the same one.
func (h *historian) page() HistoryPage {
	page := HistoryPage{Entries: []HistoryEntry{}, Pending: h.pending}
	for _, d := range h.drafts {
		n := len(page.Entries)
		switch {
		case d.dropped:
		case n >= h.query.Limit && d.Sequence != page.Entries[n-1].Sequence:
			page.Next = page.Entries[n-1].Sequence
			return page
		default:
			page.Entries = append(page.Entries, d.HistoryEntry)
		}
	}
	if h.at >= h.first {
		page.Next = h.at + 1
	}
	return page
}

// settle completes the drafts that wait for what an event wrote, or removed.
func (h *historian) settle(e pipeline.Event) {
	if len(h.waits) == 0 {
		return
	}
	for _, key := range e.Facts.Gone {
		h.settled(key, nil)
	}
	for _, key := range written(&e.Facts) {
		h.settled(key, &e.Facts)
	}
}

func (h *historian) settled(key pipeline.Key, was *pipeline.Facts) {
	for _, d := range h.waits[key] {
		d.settle(h, was, true)
	}
	delete(h.waits, key)
}

func (d *draft) settle(h *historian, was *pipeline.Facts, known bool) {
	d.dropped = !d.complete(&d.HistoryEntry, was, known) || !h.query.matches(d.HistoryEntry)
	d.complete = nil
}

// written returns the keys of the records for which drafts wait.
func written(f *pipeline.Facts) (keys []pipeline.Key) {
	add := func(kind pipeline.RecordKind, id string) { keys = append(keys, pipeline.Key{Kind: kind, ID: id}) }
	if f.Pipeline != nil {
		add(pipeline.RecordPipeline, f.Pipeline.Name)
	}
	if f.Stage != nil {
		add(pipeline.RecordStage, f.Stage.Name)
	}
	if f.ImageDefinition != nil {
		add(pipeline.RecordImageDefinition, f.ImageDefinition.Name)
	}
	if f.Environment != nil {
		add(pipeline.RecordEnvironment, f.Environment.ID)
	}
	if f.Decision != nil {
		add(pipeline.RecordDecision, pipeline.StageBuild(f.Decision.Stage, f.Decision.Build))
	}
	return keys
}

// matches reports whether the query selects an entry.
func (q HistoryQuery) matches(e HistoryEntry) bool {
	return q.concerns(e) && (q.Build == "" || e.Build == q.Build || e.From == q.Build)
}

// concerns is matches for an entry whose build may not be known yet.
func (q HistoryQuery) concerns(e HistoryEntry) bool {
	return (q.Stage == "" || e.Stage == q.Stage) &&
		(len(q.Kinds) == 0 || slices.Contains(q.Kinds, e.Kind)) &&
		(q.By == "" || strings.Contains(strings.ToLower(e.Actor), strings.ToLower(q.By)))
}
