// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// scene is what a hub looks at.
type scene struct {
	atomic.Pointer[fingerprint]
	looks atomic.Int64
	open  chan struct{} // closed when it can be seen; nil for always
}

func (s *scene) is(facts, line string) fingerprint {
	p := fingerprint{facts, line}
	s.Store(&p)
	return p
}

func (s *scene) look(context.Context, subject) (fingerprint, error) {
	s.looks.Add(1)
	if s.open != nil {
		<-s.open
	}
	return *s.Load(), nil
}

func (s *scene) hub(t *testing.T) *hub {
	return newHub(t.Context(), s.look, time.Second, hclog.NewNullLogger())
}

// said returns what a reader is notified of now; the zero fingerprint for nothing.
func said(changed <-chan fingerprint) fingerprint {
	synctest.Wait()
	select {
	case now := <-changed:
		return now
	default:
		return fingerprint{}
	}
}

// Each page is notified where its contents are outdated, whatever the hub saw before the
// page came.
func TestEachReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s scene
		a := s.is("a", "")
		h := s.hub(t)
		first, leave := h.join(subject{}, a)
		defer leave()
		if now := said(first); now != (fingerprint{}) {
			t.Errorf("a page that shows what there is hears %v", now)
		}
		// It changes, a page is made, and it changes back before the hub looks again.
		b := fingerprint{"b", ""}
		second, leave := h.join(subject{}, b)
		defer leave()
		if now := said(second); now != a {
			t.Errorf("a page of what was there between two looks hears %v", now)
		}
		b = s.is("b", "")
		third, leave := h.join(subject{}, b)
		defer leave()
		if now := said(third); now != (fingerprint{}) {
			t.Errorf("a page that shows what there is hears %v", now)
		}
		for i, changed := range []<-chan fingerprint{first, second} {
			if now := said(changed); now != b {
				t.Errorf("page %d hears %v, and there is %v", i, now, b)
			}
		}
		s.is("c", "")
		time.Sleep(time.Second)
		synctest.Wait()
		d := s.is("d", "")
		time.Sleep(time.Second)
		if now := said(first); now != d {
			t.Errorf("a page that has not read the news before hears %v", now)
		}
		if now := said(first); now != (fingerprint{}) {
			t.Errorf("it hears then %v", now)
		}
	})
}

// Readers are notified seldom of another line of a log, and at the next poll of all
// else.
func TestSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s scene
		h := s.hub(t)
		changed, leave := h.join(subject{}, s.is("a", "1"))
		defer leave()
		two := s.is("a", "2")
		time.Sleep(h.lineEvery - time.Second/2)
		if now := said(changed); now != (fingerprint{}) {
			t.Errorf("of a line it hears %v", now)
		}
		time.Sleep(time.Second)
		if now := said(changed); now != two {
			t.Errorf("some time later it hears %v", now)
		}
		b := s.is("b", "2")
		time.Sleep(time.Second)
		if now := said(changed); now != b {
			t.Errorf("of what happens it hears %v", now)
		}
	})
}

// Pages that come together cost a look, and none when they have gone.
func TestLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scene{open: make(chan struct{})}
		a := s.is("a", "")
		h := s.hub(t)
		var leaves []func()
		for range 100 {
			_, leave := h.join(subject{}, a)
			leaves = append(leaves, leave)
		}
		close(s.open)
		synctest.Wait()
		if n := s.looks.Load(); n > 2 { // one begins with the first, and one is for the rest
			t.Errorf("100 pages that come during a look cost %d", n)
		}
		for _, leave := range leaves {
			leave()
		}
		looked := s.looks.Load()
		time.Sleep(time.Minute)
		if n := s.looks.Load() - looked; n > 1 {
			t.Errorf("nobody watches, and the hub has looked %d times", n)
		}
	})
}
