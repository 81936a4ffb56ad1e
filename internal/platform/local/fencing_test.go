// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local_test

import (
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/localtest"
)

// The highest token is remembered whatever ends: the process that showed it, and the
// supervisor.
func TestFencesOutliveSupervisors(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	at := func(p *local.Platform, token int64) *bed {
		return &bed{&localtest.Bed{TB: t, Platform: p.Under(pipeline.Fence{Key: "k", Token: token}).(*local.Platform)}}
	}
	at(b.Platform, 2).Serve(b.Request("f-1"))
	b.Must(b.Supervisor().Kill())
	b.Await("the supervisor to end", func() bool { return !b.Alive() })
	other := local.New(b.Options)
	if _, err := at(other, 1).Prepare(t.Context(), b.Request("f-2")); pipeline.CodeOf(err) != pipeline.CodeLeaseLost {
		t.Errorf("after the supervisor was killed a lower token gives %v", err)
	}
	if _, err := at(other, 1).Bake(t.Context(), pipeline.BakeRequest{Token: "r-1", Tree: t.TempDir()}); pipeline.CodeOf(err) != pipeline.CodeLeaseLost {
		t.Errorf("a bake with a lower token gives %v", err)
	}
	at(other, 2).Serve(b.Request("f-3"))
	at(other, 3).Serve(b.Request("f-4"))
	if _, err := at(other, 2).Shift(t.Context(), "e-1", "f-4", pipeline.Traffic{}); pipeline.CodeOf(err) != pipeline.CodeLeaseLost {
		t.Errorf("the new supervisor answers a lower token with %v", err)
	}
}

// A change of an endpoint's trusted proxies is a change like others.
func TestFenceOfTrust(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.Serve(b.Request("f-1"))
	under := func(token int64) pipeline.Platform { return b.Under(pipeline.Fence{Key: "k", Token: token}) }
	b.Must(under(2).Trust(t.Context(), "e-1", []string{"10.0.0.1"}))
	if err := under(1).Trust(t.Context(), "e-1", nil); pipeline.CodeOf(err) != pipeline.CodeLeaseLost {
		t.Errorf("a lower token gives %v", err)
	}
}
