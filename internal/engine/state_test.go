// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// counted counts the reads of a ledger.
type counted struct {
	engine.Ledger
	heads, states int
}

func (c *counted) Head(ctx context.Context, name string) (int64, error) {
	c.heads++
	return c.Ledger.Head(ctx, name)
}

func (c *counted) State(ctx context.Context, name string) (*pipeline.State, error) {
	c.states++
	return c.Ledger.State(ctx, name)
}

// With a HeadAge, a plan of many stages asks the ledger once; what this engine wrote
// itself is seen at once, and what others wrote after the age.
func TestHeadAge(t *testing.T) { synctest.Test(t, testHeadAge) }

func testHeadAge(t *testing.T) {
	d := open(t)
	defer d.Close(t.Context())
	d.mustApply(route("1"))
	const age = 50 * time.Millisecond
	reads := &counted{Ledger: memLedger{d.life}}
	e := engine.New(engine.Config{
		Ledger: reads, Platform: memPlatform{life: d.life}, Runner: memRunner{d.life}, Sources: memSources{d.life}, Artifacts: memArtifacts{d.life},
		Logs: memLogs{d.life}, WorkDir: d.work, Holder: pipeline.Holder{Process: pipeline.Process{Host: "test", PID: 1}, Actor: "bob"}, Now: d.world.now, HeadAge: age,
	})
	look := func() *pipeline.State {
		t.Helper()
		st, err := e.State(t.Context(), "shop")
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	for range 20 {
		look()
	}
	if reads.heads != 1 || reads.states != 1 {
		t.Errorf("20 looks made %d requests for the head and %d for the state", reads.heads, reads.states)
	}
	build := look().Current["acceptance"].Build
	if _, err := e.Decisions.Do(t.Context(), command(decision.Approve, "shop", "exploratory", build, "")); err != nil {
		t.Fatal(err)
	}
	if !look().Passed("exploratory", build) {
		t.Error("the engine does not see its own approval")
	}
	d.mustApply(route("2"))
	time.Sleep(age - 1)
	if look().Current["commit"].Build != build {
		t.Error("another's commit is seen before the age")
	}
	time.Sleep(time.Nanosecond)
	if look().Current["commit"].Build == build {
		t.Error("another's commit is not seen after the age")
	}
}
