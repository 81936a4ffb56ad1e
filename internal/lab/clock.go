// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package lab

import (
	"sync"
	"time"
)

// clock is turned forward by hand until the story has ended.
type clock struct {
	end   time.Time // of the story
	fixed bool      // it stays there

	mu   sync.Mutex
	at   time.Time
	goes time.Time // since when it goes, by the clock of the machine; zero: by hand
	told bool      // the story has ended: what is still under way turns it no more
}

func newClock(end time.Time) *clock {
	c := &clock{end: end, fixed: !end.IsZero()}
	if !c.fixed {
		c.end = time.Now()
	}
	c.end = c.end.UTC().Round(0)
	c.at = c.end
	return c
}

// Now returns the time.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.goes.IsZero() {
		return c.at.Add(time.Since(c.goes))
	}
	return c.at
}

// set turns the clock to a time before the end.
func (c *clock) set(before time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.goes = c.end.Add(-before), time.Time{}
}

// pass turns the clock forward, until the story has ended.
func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.told {
		c.at = c.at.Add(d)
	}
}

// present turns the clock to the end of the story, from where it goes by itself. A story that
// took a while to tell ends when it was told.
func (c *clock) present() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = true
	if c.at = c.end; !c.fixed {
		c.at, c.goes = time.Now().UTC(), time.Now()
	}
}
