// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
)

// Anchor names an event of a pipeline's history, and with its hash all events before it. Kept
// outside of the ledger, it shows later what the ledger's own chain can't: that newer events
// were cut off, or that the whole history was rewritten.
type Anchor struct {
	Sequence int64  `json:"sequence"`
	Hash     string `json:"hash"` // hex SHA-256
}

// String returns the anchor as ParseAnchor reads it: "41:9f86d0…".
func (a Anchor) String() string { return fmt.Sprintf("%d:%s", a.Sequence, a.Hash) }

var anchorForm = regexp.MustCompile(`^([1-9][0-9]{0,17}):([0-9a-f]{64})$`)

// ParseAnchor reads an anchor. It returns CodeInvalid for any other text.
func ParseAnchor(text string) (Anchor, error) {
	parts := anchorForm.FindStringSubmatch(text)
	if parts == nil {
		return Anchor{}, Errorf(CodeInvalid, "read anchor", "%q is not a sequence number, a colon and a hash of 64 hexadecimal digits", text).
			WithAdvice(Advice{Verb: VerbCopyHead})
	}
	sequence, err := strconv.ParseInt(parts[1], 10, 64)
	return Anchor{sequence, parts[2]}, err
}

// Anchor names the event.
func (e Event) Anchor() Anchor { return Anchor{e.Seq, e.Hash} }

// history is what a Ledger knows of events.
type history interface {
	Head(ctx context.Context, pipeline string) (int64, error)
	Events(ctx context.Context, pipeline string, after int64, limit int) ([]Event, error)
}

// CheckAnchor reports, with CodeCorrupt, that a pipeline's history lacks the event that an
// anchor names. It looks at that event alone. Together with Ledger.Verify, it shows that the
// events before it are unchanged, too.
func CheckAnchor(ctx context.Context, l history, name string, a Anchor) error {
	const op = "verify ledger"
	const hint = "Somebody changed the ledger, or an older one was put in its place. Compare it with a backup or an export from before. " +
		"Where you restored it yourself, see \"The ledger is damaged\" in the guide \"Failure and recovery\"."
	found, err := l.Events(ctx, name, a.Sequence-1, 1)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		head, err := l.Head(ctx, name)
		if err != nil {
			return err
		}
		return Errorf(CodeCorrupt, op, "event %d of pipeline %q is missing: its history ends with event %d", a.Sequence, name, head).WithHint(hint)
	}
	e := found[0]
	switch {
	case e.Seq != a.Sequence:
		return Errorf(CodeCorrupt, op, "event %d of pipeline %q is missing", a.Sequence, name).WithHint(hint)
	case e.Hash != a.Hash || e.Body != nil && HashOf(e.Body) != a.Hash:
		return Errorf(CodeCorrupt, op, "event %d of pipeline %q has changed: its hash is %s, and was %s", a.Sequence, name, e.Hash, a.Hash).WithHint(hint)
	}
	return nil
}
