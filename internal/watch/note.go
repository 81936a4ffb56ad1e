// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package watch

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
)

const (
	// noteAge is how long a note holds while nothing moves. What a note doesn't tell of, such as
	// a newer source image or an environment that has ended, is found after it at the latest.
	noteAge = 24 * time.Hour

	// noteRetry is how long one holds after a failed apply.
	noteRetry = time.Hour
)

// Note is what somebody without this program compares to see whether an apply can move
// anything. It is the JSON that the function STACK-look of the stack reads.
type Note struct {
	Until   int64    `json:"until"`   // when to apply whatever is seen, in Unix seconds
	Remotes []Remote `json:"remotes"` // the refs that the last apply saw

	Reasons []string `json:"-"` // why it is due at once; empty if it is not
}

// Remote is a repository whose refs are compared.
type Remote struct {
	URL  string            `json:"url"`
	Refs map[string]string `json:"refs"` // hash by full name; empty for a ref that is not there
}

// NoteRequest says what a note is of. Dir, Open and Terraform are as in Options.
type NoteRequest struct {
	Options
	Repository string // where the configuration itself comes from
	Ref        string // of it
	Commit     string // that was applied
	Failed     bool   // the apply failed
}

// TakeNote takes the note of what an apply has just left. The refs are read first, so that
// what changes while it looks makes a difference later.
func TakeNote(ctx context.Context, r NoteRequest) (Note, error) {
	seen, err := r.Terraform.State(ctx)
	if err != nil {
		return Note{}, err
	}
	poller := &livePoller{open: r.Open, dir: r.Dir}
	defer func() { _ = poller.Close(context.WithoutCancel(ctx)) }()
	if err := poller.ready(ctx); err != nil {
		return Note{}, err
	}
	note := Note{Until: r.Now().Add(noteAge).Unix(), Remotes: []Remote{}}
	if poller.app == nil || seen.Empty() {
		note.due(r.Now(), "nothing has been applied yet")
		return note, nil
	}
	note.expiries(ctx, poller.app, r.Now())
	from := poller.app.NewSource(r.Dir)
	configuration := source.Query{Repository: r.Repository, Ref: r.Ref}
	queries := []source.Query{configuration}
	for _, s := range seen.Sources {
		queries = append(queries, s.Query)
	}
	for _, q := range queries {
		if err := note.add(ctx, from, q, r.Now()); err != nil {
			return Note{}, err
		}
	}
	if r.Failed {
		note.Until = min(note.Until, r.Now().Add(noteRetry).Unix())
		return note, nil
	}
	snapshot, err := from.Snapshot(ctx, configuration)
	if err != nil {
		return Note{}, err
	}
	if snapshot.Commit != r.Commit {
		note.due(r.Now(), fmt.Sprintf("the configuration is at commit %.10s by now", snapshot.Commit))
	}
	reasons, err := poller.Look(ctx, seen)
	for _, reason := range reasons {
		note.due(r.Now(), reason.Text)
	}
	if err != nil {
		note.due(r.Now(), err.Error())
	}
	return note, nil
}

// expiries ends what modules have made for environments whose time is over: an apply without
// changes does not, and nothing else does where nobody runs this program. The note holds until
// the time of the next one at most, or, after a failure, until that is to be tried again.
func (n *Note) expiries(ctx context.Context, a *app.App, now time.Time) {
	next, err := a.EndExpired(ctx)
	if err != nil {
		a.Logger().Warn("end expired environments", "error", err)
		next = now.Add(noteRetry)
	}
	if !next.IsZero() {
		n.Until = min(n.Until, max(next.Unix(), now.Unix()))
	}
}

// due says that an apply is due at the next look.
func (n *Note) due(now time.Time, reason string) {
	n.Until = min(n.Until, now.Unix())
	n.Reasons = append(n.Reasons, reason)
}

// add adds the refs of a query. A repository on this machine came with the configuration, and
// moves with it.
func (n *Note) add(ctx context.Context, from *source.Source, q source.Query, now time.Time) error {
	found, err := from.Remote(ctx, q)
	if err != nil || len(found.Refs) == 0 {
		return err
	}
	if found.Private || !strings.HasPrefix(found.URL, "https://") && !strings.HasPrefix(found.URL, "http://") {
		n.due(now, fmt.Sprintf("only an apply can look at repository %s: it is not at an https address without credentials", found.URL))
		return nil
	}
	n.Remotes = append(n.Remotes, Remote{strings.TrimSuffix(found.URL, "/"), found.Refs})
	return nil
}
