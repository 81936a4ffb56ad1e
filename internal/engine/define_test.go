// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// A pipeline is not removed while somebody works on a part of it, forced or not.
func TestRemovalBesideOthers(t *testing.T) {
	for _, key := range []string{"shop/stage/production", "shop/stage/commit", "shop/environment/alice"} {
		t.Run(key, func(t *testing.T) {
			d := whole(t)
			if err := d.launch(build("1"), 1); err != nil {
				t.Fatal(err)
			}
			l := memLedger{d.life}
			lease, err := l.Acquire(t.Context(), key, pipeline.Holder{Process: pipeline.Process{Host: "far"}, Actor: "bob", Purpose: "run"}, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			before := d.picture()
			err = d.Pipelines.Remove(t.Context(), "shop", "", true)
			if pipeline.CodeOf(err) != pipeline.CodeLocked || !strings.Contains(err.Error(), "bob") || !strings.Contains(err.Error(), key) || reason.Hint(err) == "" {
				t.Fatalf("removal beside bob: %v", err)
			}
			if now := d.picture(); now != before {
				t.Errorf("a refused removal left\n%s\nof\n%s", now, before)
			}
			if err := l.Release(t.Context(), lease); err != nil {
				t.Fatal(err)
			}
			if err := d.Pipelines.Remove(t.Context(), "shop", "", true); err != nil {
				t.Error(err)
			}
			if len(d.envs)+len(d.images)+len(d.record.History("shop"))+len(d.logs) > 0 {
				t.Errorf("the removal left %v, %v, %d histories and %d logs", d.envs, d.images, len(d.record.History("shop")), len(d.logs))
			}
		})
	}
}

// An environment that was kept after a failure blocks the removal, and the error says how to
// end it.
func TestRemovalWithKept(t *testing.T) {
	d := open(t)
	stages := route("1")[:2]
	stages[1].OnFailure = pipeline.OnFailureKeep
	stages[1].Steps = []pipeline.Step{{Name: "journeys", Command: "fail"}}
	if err := d.apply(stages); err == nil {
		t.Fatal("a failing step passed")
	}
	err := d.Pipelines.Remove(t.Context(), "shop", "", false)
	if pipeline.CodeOf(err) != pipeline.CodeConflict || !strings.Contains(reason.Hint(err), "penstock gc --kept") {
		t.Errorf("%v (hint: %s)", err, reason.Hint(err))
	}
}
