// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package doctor

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/app/apptest"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace/workplacetest"
)

func TestMain(m *testing.M) {
	process.Guard()
	os.Exit(workplacetest.Main(func() int { return cloudtest.Main(m) }))
}

// body is a data directory with a pipeline.
type body struct {
	*testing.T
	dir string
}

func newBody(t *testing.T) *body {
	b := &body{T: t, dir: filepath.Join(t.TempDir(), "data")}
	b.do(pipeline.Event{Kind: pipeline.PipelineDefined, Facts: pipeline.Facts{Pipeline: &pipeline.Pipeline{Name: "shop", Notify: []pipeline.NotifyTarget{{Command: "false"}}}}})
	return b
}

func (b *body) open(ctx context.Context) (*app.App, error) {
	return app.Open(ctx, app.Options{DataDir: b.dir})
}

// do records events.
func (b *body) do(events ...pipeline.Event) {
	b.Helper()
	a, err := b.open(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for i := range events {
		events[i].Actor = "ada"
	}
	apptest.Append(b, a, pipeline.Batch{Pipeline: "shop", Events: events})
	if err := a.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func (b *body) environment(status pipeline.EnvironmentStatus, purpose pipeline.EnvironmentPurpose) {
	b.Helper()
	b.do(pipeline.Event{Kind: pipeline.EnvironmentChanged, Facts: pipeline.Facts{Environment: &pipeline.Environment{
		ID: "e-0123456789abc", Pipeline: "shop", Name: "mine", Stage: "live", Purpose: purpose, Status: status,
	}}})
}

// programs puts programs of the tests on PATH instead of those that are there.
func programs(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, says := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho '"+says+"'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}

var healthy = map[string]string{"git": "git version 2.40.1", "terraform": "Terraform v1.11.4"}

// Each thing that can be wrong is found, with what to do.
func TestFindings(t *testing.T) {
	for name, tt := range map[string]struct {
		programs map[string]string
		harm     func(*body)
		options  func(*Options)
		check    string
		status   Status
		says     string
	}{
		"nothing":             {check: "orphans", status: OK, says: "nothing to remove"},
		"no git":              {programs: map[string]string{"terraform": "Terraform v1.11.4"}, check: "git", status: Problem, says: "not found"},
		"an old git":          {programs: map[string]string{"git": "git version 2.17.1"}, check: "git", status: Problem, says: "2.17"},
		"a git that is none":  {programs: map[string]string{"git": "hello"}, check: "git", status: Problem, says: "hello"},
		"no Terraform":        {programs: map[string]string{"git": "git version 2.40.1"}, check: "terraform", status: Problem, says: "neither"},
		"an old Terraform":    {programs: map[string]string{"terraform": "Terraform v1.5.7"}, check: "terraform", status: Problem, says: "1.5.7"},
		"one without secrets": {programs: map[string]string{"git": "git version 2.40.1", "tofu": "OpenTofu v1.9.0"}, check: "terraform", status: Warning, says: "tofu is version 1.9.0"},
		"no place":            {options: func(o *Options) { o.Open = nowhere }, check: "place", status: Warning, says: "nowhere"},
		"a ledger that is none": {harm: func(b *body) {
			_ = os.WriteFile(filepath.Join(b.dir, "ledger.db"), []byte(strings.Repeat("no ledger ", 1000)), 0o600)
		}, check: "place", status: Problem, says: "ledger"},
		"a clock that is behind": {options: func(o *Options) { o.Now = func() time.Time { return time.Now().Add(-time.Hour) } }, check: "clock", status: Problem, says: "ahead"},
		"an environment that is gone": {harm: func(b *body) { b.environment(pipeline.EnvRunning, pipeline.ForPerson) },
			check: "environments", status: Problem, says: `"mine" of pipeline "shop" is gone`},
		"what a dead process left": {harm: func(b *body) { b.environment(pipeline.EnvEnding, pipeline.ForPerson) },
			check: "orphans", status: Warning, says: "1 environments"},
		"a run that died": {harm: func(b *body) {
			stage := pipeline.Stage{Pipeline: "shop", Name: "live", Type: pipeline.TypeCustom}.WithDefaults(nil, nil)
			b.do(pipeline.Event{Kind: pipeline.StageDefined, Facts: pipeline.Facts{Stage: &stage}},
				pipeline.Event{Kind: pipeline.RunStarted, Facts: pipeline.Facts{Run: &pipeline.Run{ID: "r-1", Pipeline: "shop", Stage: "live", Kind: pipeline.KindStage, Build: "b-1", Status: pipeline.RunRunning}}})
		}, check: "runs", status: Warning, says: `run r-1 of stage "live"`},
		"stages that never meet": {harm: func(b *body) {
			var events []pipeline.Event
			for _, s := range []pipeline.Stage{
				{Name: "api", Type: pipeline.TypeCommit, Source: &pipeline.SourceRef{Repository: "api.git", Digest: "1"}},
				{Name: "web", Type: pipeline.TypeCommit, Source: &pipeline.SourceRef{Repository: "web.git", Digest: "2"}},
				{Name: "live", Type: pipeline.TypeCustom, After: []string{"api", "web"}},
			} {
				s.Pipeline = "shop"
				s = s.WithDefaults(nil, nil)
				events = append(events, pipeline.Event{Kind: pipeline.StageDefined, Facts: pipeline.Facts{Stage: &s}})
			}
			b.do(events...)
		}, check: "stages", status: Problem, says: `place stage "live" of pipeline "shop": no build can ever pass both "api" and "web"`},
		"a lease of a dead process": {harm: func(b *body) {
			a, err := b.open(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			defer a.Close(b.Context())
			if _, err := apptest.Ledger(b, a).Acquire(b.Context(), "shop/stage/live", pipeline.Holder{Process: pipeline.Process{Host: "elsewhere"}, Actor: "bob", Purpose: "run", Since: time.Now()}, time.Nanosecond); err != nil {
				b.Fatal(err)
			}
		}, check: "leases", status: Warning, says: "bob on elsewhere, which held shop/stage/live"},
		"notices that don't arrive": {harm: func(b *body) {
			b.do(pipeline.Event{Kind: pipeline.NoticesDelivered, Facts: pipeline.Facts{Delivery: &pipeline.Delivery{Target: pipeline.NotifyTarget{Command: "false"}.Key(), Error: "status 1"}}})
		}, check: "notices", status: Warning, says: "command false"},
		"a target whose secret is elsewhere": {harm: func(b *body) {
			b.do(pipeline.Event{Kind: pipeline.PipelineDefined, Facts: pipeline.Facts{Pipeline: &pipeline.Pipeline{Name: "shop", Notify: []pipeline.NotifyTarget{
				{Webhook: "https://example.com/hook", Secret: "$HOOK_SECRET_OF_NOBODY"},
			}}}})
		}, check: "notices", status: Warning, says: "HOOK_SECRET_OF_NOBODY"},
		"the whole chain": {options: func(o *Options) { o.Deep = true }, check: "ledger", status: OK, says: "the chain is whole"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBody(t)
			if tt.harm != nil {
				tt.harm(b)
			}
			if tt.programs == nil {
				tt.programs = healthy
			}
			programs(t, tt.programs)
			o := Options{Open: b.open}
			if tt.options != nil {
				tt.options(&o)
			}
			findings := Examine(t.Context(), o)
			for _, f := range findings {
				if f.Status != OK && f.Remedy == "" {
					t.Errorf("there is no remedy in %+v", f)
				}
				if f.Check == tt.check && f.Status == tt.status && strings.Contains(f.Text, tt.says) {
					if Healthy(findings) != (tt.status != Problem) {
						t.Errorf("healthy with %+v", findings)
					}
					return
				}
			}
			t.Errorf("no %s of %s says %q: %+v", tt.status, tt.check, tt.says, findings)
		})
	}
}

func nowhere(context.Context) (*app.App, error) {
	return nil, pipeline.Errorf(pipeline.CodeNotFound, "find", "nowhere").WithHint("Go somewhere.")
}
