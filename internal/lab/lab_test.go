// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package lab_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/lab"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/supervisor"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace/workplacetest"
)

func TestMain(m *testing.M) {
	process.Guard()
	supervisor.Main()
	os.Exit(workplacetest.Main(m.Run))
}

func open(t *testing.T, o lab.Options) *lab.Lab {
	t.Helper()
	o.Dir = t.TempDir()
	l, err := lab.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return l
}

// Each state that people are to understand is there to be seen.
func TestShopHasEveryState(t *testing.T) {
	l := open(t, lab.Options{Only: lab.Shop})
	st, err := l.Engine.State(t.Context(), lab.Shop)
	if err != nil {
		t.Fatal(err)
	}
	if len(st.Stages) != 7 || len(st.Builds) != lab.ShopBuilds {
		t.Errorf("%d stages and %d builds", len(st.Stages), len(st.Builds))
	}
	seen := map[pipeline.Outcome]bool{}
	for _, stage := range st.Stages {
		for build := range st.Builds {
			seen[st.Outcome(stage, build)] = true
		}
	}
	for _, want := range []pipeline.Outcome{"", pipeline.OutcomePassed, pipeline.OutcomeFailed, pipeline.OutcomeRejected, pipeline.OutcomeWaiting, pipeline.OutcomeOverridden} {
		if !seen[want] {
			t.Errorf("no build has the outcome %q", want)
		}
	}
	if r := st.Latest["acceptance"]; r.Status != pipeline.RunRunning {
		t.Errorf("acceptance is %s", r.Status)
	}
	running, err := l.Engine.Reports.Run(t.Context(), lab.Shop, st.Latest["acceptance"].ID)
	if err != nil || running.UnderWay == nil || running.UnderWay.Name != "journeys" || len(running.Steps) != 2 {
		t.Errorf("the run is %+v, %v", running, err)
	}
	if p, err := l.Engine.Reports.Progress(t.Context(), st, "acceptance"); err != nil || p == nil || p.Dead || p.Number != 3 {
		t.Errorf("its progress is %+v, %v", p, err)
	}
	if _, promoted := st.Promotions["production"]; !promoted || len(st.Pauses) != 1 {
		t.Errorf("promotions %v, pauses %v", st.Promotions, st.Pauses)
	}
	var kinds []string
	for _, e := range st.EnvironmentsInOrder() {
		kinds = append(kinds, string(e.Purpose)+" "+string(e.Status))
	}
	for _, want := range []string{"stage running", "self-service running", "self-service degraded", "self-service expired", "exploratory running", "run kept"} {
		if !slices.Contains(kinds, want) {
			t.Errorf("there is no environment %q among %q", want, kinds)
		}
	}
	if _, err := l.App.Verify(t.Context(), lab.Shop); err != nil {
		t.Error(err)
	}
}

func TestWide(t *testing.T) {
	l := open(t, lab.Options{Only: lab.Wide})
	st, err := l.Engine.State(t.Context(), lab.Wide)
	if err != nil {
		t.Fatal(err)
	}
	if len(st.Stages) != 16 || len(st.Builds) != lab.WideBuilds {
		t.Errorf("%d stages and %d builds", len(st.Stages), len(st.Builds))
	}
	if a, b := st.Latest["contract-tests-with-partners"].Status, st.Latest["acceptance-ap-southeast-1"].Status; a != pipeline.RunFailed || b != pipeline.RunRunning {
		t.Errorf("the partners %s, the region %s", a, b)
	}
}

// A lab of a given end is at that time, and has the same builds each time.
func TestFixed(t *testing.T) {
	end := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var found [][]string
	for range 2 {
		l := open(t, lab.Options{Only: lab.Wide, End: end})
		if !l.Now().Equal(end) {
			t.Errorf("it is %s", l.Now())
		}
		st, err := l.Engine.State(t.Context(), lab.Wide)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for b := range st.NewestBuilds() {
			ids = append(ids, b.ID+" "+b.Revision.Commit+" "+b.CreatedAt.String())
		}
		found = append(found, ids)
	}
	if !slices.Equal(found[0], found[1]) {
		t.Errorf("the builds are %q and %q", found[0], found[1])
	}
}

func TestFill(t *testing.T) {
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"), ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, size := range []lab.Size{{Pipeline: "long", Chain: 100, Builds: 3}, {Pipeline: "broad", Branches: 30, Builds: 3}} {
		f, err := lab.Fill(t.Context(), l, size)
		if err != nil {
			t.Fatal(err)
		}
		st, err := l.State(t.Context(), size.Pipeline)
		if err != nil || len(st.Builds) != size.Builds || len(st.Stages) != len(f.Stages) || st.Builds[f.Some].ID == "" {
			t.Errorf("%+v: %d builds, %d stages, %v", size, len(st.Builds), len(st.Stages), err)
		}
		if want := max(size.Chain, 4) + size.Branches + 1; len(f.Stages) != want {
			t.Errorf("%+v has %d stages, not %d", size, len(f.Stages), want)
		}
	}
}
