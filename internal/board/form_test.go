// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// What was compared is kept; what could not be, for a while; and all who ask for the same
// wait for one look, which none of them ends by going away.
func TestDiffs(t *testing.T) {
	now, looks := time.Now(), 0
	d := newDiffs(t.Context(), func() time.Time { return now })
	outcome, fault := report.Diff{Unknown: "the repository does not answer"}, error(nil)
	ask := func(key string) (report.Diff, error) {
		return d.get(t.Context(), key, func(context.Context) (report.Diff, error) { looks++; return outcome, fault })
	}
	for range 3 {
		if got, err := ask("a"); err != nil || got.Unknown == "" || looks != 1 {
			t.Fatalf("%+v, %v after %d looks", got, err, looks)
		}
	}
	now = now.Add(failedDiff)
	outcome, fault = report.Diff{}, errors.New("the ledger does not answer")
	for range 3 {
		if _, err := ask("a"); err == nil || looks != 2 {
			t.Fatalf("%v after %d looks", err, looks)
		}
	}
	now = now.Add(failedDiff)
	fault = nil
	for range 3 {
		if _, err := ask("a"); err != nil || looks != 3 {
			t.Fatalf("%v after %d looks", err, looks)
		}
		now = now.Add(24 * time.Hour)
	}

	begun, gate := make(chan struct{}), make(chan struct{})
	slow := func(ctx context.Context) (report.Diff, error) {
		looks++
		close(begun)
		<-gate
		return report.Diff{From: "x"}, ctx.Err()
	}
	impatient, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { _, err := d.get(impatient, "b", slow); left <- err }()
	<-begun
	var others sync.WaitGroup
	for range 5 {
		others.Go(func() {
			if got, err := d.get(t.Context(), "b", slow); err != nil || got.From != "x" {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who went away got %v", err)
	}
	close(gate)
	others.Wait()
	d.work.Wait()
	if looks != 4 {
		t.Errorf("%d looks", looks)
	}
}

// The name that is offered for an environment is one that the form takes.
func TestTryItName(t *testing.T) {
	st := &pipeline.State{Pipeline: pipeline.Pipeline{Service: pipeline.Service{Start: "start"}}}
	for _, who := range []string{"ada", "assumed-role/launcher/" + strings.Repeat("very-long-name-", 5), `ACME\ada`, "1", ""} {
		b, ok := tryIt(st, pipeline.Stage{Name: "exploratory"}, "b-0123456789", pipeline.Person{Name: who})
		if !ok || !strings.HasPrefix(b.Name, "try-") || checkName(b.Name) != nil {
			t.Errorf("%q is offered %q: %v", who, b.Name, checkName(b.Name))
		}
	}
}
