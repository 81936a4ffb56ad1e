// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package notice

import (
	"context"
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// cursor goes through the events that a target has not been notified of, as far as the
// state is of them.
type cursor struct {
	s        *Sender
	st       known
	notified pipeline.Delivery     // as it is recorded
	wants    pipeline.NotifyTarget // with the kinds that it wanted at seq
	seq      int64                 // of the event that was looked at last
	page     []pipeline.Event
	notices  []pipeline.Notice // of that event, also those that are not wanted
}

func (s *Sender) from(st known, t pipeline.NotifyTarget) *cursor {
	delivered := st.Notified(t)
	t.On = delivered.On
	return &cursor{s: s, st: st, notified: delivered, wants: t, seq: delivered.Seq}
}

// next goes to the next event that the target has to be notified of; false where
// there is none. Each definition on the way says which kinds it wants from there on.
func (c *cursor) next(ctx context.Context) (bool, error) {
	for {
		for len(c.page) > 0 && c.page[0].Seq <= c.st.head {
			e := c.page[0]
			c.page, c.seq = c.page[1:], e.Seq
			if e.Facts.Pipeline != nil {
				if t, ok := e.Facts.Pipeline.Target(c.notified.Target); ok {
					c.wants = t
				}
			}
			if !e.MayNotify(c.wants) {
				continue
			}
			c.notices = Of(c.st.State, e)
			if slices.ContainsFunc(c.notices, func(n pipeline.Notice) bool { return c.wants.Wants(n.Kind) }) {
				return true, nil
			}
		}
		if len(c.page) > 0 {
			return false, nil
		}
		var err error
		if c.page, err = c.s.Ledger.Events(ctx, c.st.Pipeline.Name, c.seq, pageSize); err != nil || len(c.page) == 0 {
			return false, err
		}
	}
}

// far reports whether it is time to record that the events up to here were looked at.
func (c *cursor) far() bool {
	return c.seq-c.notified.Seq >= farBehind*int64(len(c.st.Pipeline.Notify))
}

// here returns how far the target has been notified, up to the current event.
func (c *cursor) here() pipeline.Delivery {
	delivered := c.notified
	if delivered.Seq != c.seq-1 {
		delivered.Seq, delivered.Notified = c.seq-1, 0
	}
	delivered.On = c.wants.On
	return delivered
}

// Notified returns how far a target has been notified, and how many notices wait for it.
func (s *Sender) Notified(ctx context.Context, pipelineName string, t pipeline.NotifyTarget) (pipeline.Delivery, int64, error) {
	st, err := s.state(ctx, pipelineName)
	if err != nil {
		return pipeline.Delivery{}, 0, err
	}
	c, pending := s.from(st, t), int64(0)
	for {
		found, err := c.next(ctx)
		if err != nil || !found {
			return c.notified, pending, err
		}
		for i, n := range c.notices {
			if i >= c.here().Notified && c.wants.Wants(n.Kind) {
				pending++
			}
		}
	}
}
