// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"context"
	"maps"
	"strconv"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Checked is what was verified of a pipeline's history: that it had come to an event, and which
// records it had left by then. From it, a later verification goes on where this one ended. It
// says nothing by itself: the event must still be there, and the records must be those of the
// ledger.
type Checked struct {
	Head    pipeline.Anchor   `json:"head"`
	Builds  int64             `json:"builds"`            // how many there were
	Records map[string]string `json:"records,omitempty"` // hashes of the records and their versions, by kind and ID; none where each verification is whole
	Whole   time.Time         `json:"whole"`             // when the history was last verified from its first event on
}

// wholeAfter is how long a verification goes on from an earlier one. After that the whole
// history is verified again, so that a change of what lies before shows, too, although nothing
// that is read depends on it.
const wholeAfter = 24 * time.Hour

// counts reports whether a verification may go on from it.
func (c Checked) counts(now time.Time) bool {
	age := now.Sub(c.Whole)
	return len(c.Records) > 0 && c.Head.Sequence > 0 && age >= 0 && age < wholeAfter
}

// put notes a record.
func (c Checked) put(r pipeline.Record) {
	c.Records[string(r.Kind)+" "+r.ID] = pipeline.HashOf([]byte(strconv.FormatInt(r.Version, 10) + " " + string(r.Doc)))
}

// follower is a ledger in which a whole verification takes long, as each megabyte of events is
// a request.
type follower interface {
	// whole verifies a history from its first event on, and returns the state.
	whole(ctx context.Context, name string) (*pipeline.State, Checked, error)
	// follow verifies a history from what was checked before on, and returns the state. It
	// reports false, or an error, where the history does not go on from there, or is being
	// written: the whole has to be verified then.
	follow(ctx context.Context, name string, from Checked) (*pipeline.State, Checked, bool, error)
}

var _ follower = (*dynamoMaintainer)(nil)

func (d *dynamoMaintainer) whole(ctx context.Context, name string) (*pipeline.State, Checked, error) {
	found, err := d.verify(ctx, name)
	if err != nil {
		return nil, Checked{}, d.fault(ctx, opVerify, err)
	}
	state, err := stateOf(deciding(found.records, found.decisions))
	if err != nil {
		err = d.damaged(opVerify, "table %s: %w", d.Table, err)
	}
	return state, checkedOf(found.records, found.head), err
}

func checkedOf(records []pipeline.Record, head item) Checked {
	c := Checked{Head: pipeline.Anchor{Sequence: head.int("seq"), Hash: head.text("hash")}, Builds: head.int("builds"), Records: map[string]string{}}
	for _, r := range records {
		c.put(r)
	}
	return c
}

func (d *dynamoMaintainer) follow(ctx context.Context, name string, from Checked) (*pipeline.State, Checked, bool, error) {
	records, head, err := d.view(ctx, name)
	if err != nil {
		return nil, from, false, d.fault(ctx, opVerify, err)
	}
	now := checkedOf(records, head)
	now.Whole = from.Whole
	then, follows, err := d.followEvents(ctx, name, from, now.Head.Sequence)
	if err != nil || !follows {
		return nil, from, false, d.fault(ctx, opVerify, err)
	}
	if then.Head != now.Head || then.Builds != now.Builds || !maps.Equal(then.Records, now.Records) {
		return nil, from, false, nil
	}
	decisions, err := d.decisions.verify(ctx, name, records, head)
	if err != nil {
		return nil, from, false, d.fault(ctx, opVerify, err)
	}
	state, err := stateOf(deciding(records, decisions))
	return state, now, err == nil, err
}

// followEvents verifies that the event up to which a history was verified is there, and those
// after it, up to a number. It returns what they add up to.
func (d *dynamoMaintainer) followEvents(ctx context.Context, name string, from Checked, to int64) (now Checked, follows bool, err error) {
	now = from
	now.Records = maps.Clone(from.Records)
	known := true // the first event is the one that was verified before
	err = d.each(ctx, query{pk: pkEvents(name), after: skEvent(from.Head.Sequence - 1)}, func(i item) (bool, error) {
		if known {
			known = false
			body, err := d.doc(ctx, i)
			if err != nil {
				return false, err
			}
			follows = i.text("sk") == skEvent(from.Head.Sequence) && i.text("hash") == from.Head.Hash && pipeline.HashOf(body) == from.Head.Hash
			return follows && to > from.Head.Sequence, nil
		}
		_, e, err := d.verifyEvent(ctx, name, now.Head.Sequence+1, now.Head.Hash, i)
		if err != nil || !e.CountsOn(now.Builds) {
			follows = false
			return false, err
		}
		written, err := e.Records()
		if err != nil {
			follows = false
			return false, err
		}
		for _, r := range written {
			if r.Kind != pipeline.RecordRun { // the view has none
				r.Version = e.Seq
				now.put(r)
			}
		}
		for _, k := range e.Facts.Gone {
			delete(now.Records, string(k.Kind)+" "+k.ID)
		}
		now.Head, now.Builds = e.Anchor(), e.Builds
		return e.Seq < to, nil
	})
	return now, follows && err == nil, err
}
