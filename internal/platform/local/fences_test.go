// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"sync"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// The highest token is remembered whatever ends: the process that showed it, and the
// supervisor.
func TestFencesOutliveSupervisors(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	at := func(p *Platform, token int64) *bed {
		return &bed{TB: t, Platform: p.Under(pipeline.Fence{Key: "k", Token: token}).(*Platform)}
	}
	at(b.Platform, 2).serve(b.request("f-1"))
	b.must(b.supervisor().Kill())
	b.await("the supervisor to end", func() bool { return !newClient(b.dir("e-1"), b.fleets("e-1"), nil).alive() })
	other := New(b.Options)
	if _, err := at(other, 1).Prepare(t.Context(), b.request("f-2")); pipeline.CodeOf(err) != pipeline.CodeLeaseLost {
		t.Errorf("after the supervisor was killed a lower token gives %v", err)
	}
	if _, err := at(other, 1).Bake(t.Context(), pipeline.BakeRequest{Token: "r-1", Tree: t.TempDir()}); pipeline.CodeOf(err) != pipeline.CodeLeaseLost {
		t.Errorf("a bake with a lower token gives %v", err)
	}
	at(other, 2).serve(b.request("f-3"))
	at(other, 3).serve(b.request("f-4"))
	if _, err := at(other, 2).Shift(t.Context(), "e-1", "f-4", pipeline.Traffic{}); pipeline.CodeOf(err) != pipeline.CodeLeaseLost {
		t.Errorf("the new supervisor answers a lower token with %v", err)
	}
}

// However many show tokens at once, none is admitted after a higher one was.
func TestFencesAtOnce(t *testing.T) {
	t.Parallel()
	f := fencesOf(t.TempDir())
	var mu sync.Mutex
	var admitted int64 // highest that is known to have been
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for token := int64(worker); token < 40; token += int64(worker%3 + 1) {
				mu.Lock()
				before := admitted
				mu.Unlock()
				err := f.admit(t.Context(), "change", []pipeline.Fence{{Key: "k", Token: token}})
				if err != nil && pipeline.CodeOf(err) != pipeline.CodeLeaseLost {
					t.Error(err)
				}
				if err == nil && token < before {
					t.Errorf("token %d was admitted after %d", token, before)
				}
				mu.Lock()
				if err == nil {
					admitted = max(admitted, token)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if seen, err := f.read(); err != nil || seen["k"] != admitted {
		t.Errorf("%d is remembered, and %d was admitted: %v", seen["k"], admitted, err)
	}
}

// Whom an endpoint trusts is a change like others.
func TestFenceOfTrust(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.serve(b.request("f-1"))
	under := func(token int64) pipeline.Platform { return b.Under(pipeline.Fence{Key: "k", Token: token}) }
	b.must(under(2).Trust(t.Context(), "e-1", []string{"10.0.0.1"}))
	if err := under(1).Trust(t.Context(), "e-1", nil); pipeline.CodeOf(err) != pipeline.CodeLeaseLost {
		t.Errorf("a lower token gives %v", err)
	}
}
