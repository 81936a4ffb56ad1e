// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package watch

import (
	"context"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/app/apptest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
)

// stated is a Terraform that is asked for its state alone.
type stated struct {
	Terraform
	state *State
}

func (s stated) State(context.Context) (*State, error) { return s.state, nil }

// serve makes the repository one at an address.
func (p *place) serve() {
	p.Helper()
	core, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		p.Fatal(err)
	}
	server := httptest.NewServer(&cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(core)), "git-http-backend"), Root: "/",
		Env: []string{"GIT_PROJECT_ROOT=" + p.repo, "GIT_HTTP_EXPORT_ALL=1"},
	})
	p.Cleanup(server.Close)
	p.query.Repository = server.URL + "/.git"
}

func TestTakeNote(t *testing.T) {
	p := newPlace(t)
	here := p.query
	p.serve()
	seen := p.build(nil)
	now := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	tip := func() string {
		t.Helper()
		out, err := exec.Command("git", "-C", p.repo, "rev-parse", "HEAD").Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	take := func(state *State, configuration source.Query, commit string, failed bool) Note {
		t.Helper()
		note, err := TakeNote(t.Context(), NoteRequest{
			Options: Options{
				Terraform: stated{state: state}, Dir: t.TempDir(), Now: func() time.Time { return now },
				Open: func(ctx context.Context) (*app.App, error) { return app.Open(ctx, app.Options{DataDir: p.app.Dir}) },
			},
			Repository: configuration.Repository, Ref: configuration.Ref, Commit: commit, Failed: failed,
		})
		if err != nil {
			t.Fatal(err)
		}
		return note
	}
	holds := func(note Note, d time.Duration, reasons ...string) {
		t.Helper()
		if want := now.Add(d).Unix(); note.Until != want || len(note.Reasons) != len(reasons) {
			t.Fatalf("the note holds for %ds as %q, want %s as %q", note.Until-now.Unix(), note.Reasons, d, reasons)
		}
		for i, want := range reasons {
			if !strings.Contains(note.Reasons[i], want) {
				t.Errorf("reason %q, want %q", note.Reasons[i], want)
			}
		}
	}
	applied := tip()
	note := take(seen, p.query, applied, false)
	holds(note, noteAge)
	remote := Remote{p.query.Repository, map[string]string{"refs/heads/main": applied, "refs/tags/main": ""}}
	if want := []Remote{remote, remote}; !reflect.DeepEqual(note.Remotes, want) {
		t.Errorf("the remotes are %v, want %v", note.Remotes, want)
	}
	holds(take(seen, p.query, applied, true), noteRetry) // whatever there is to do

	p.commit("README.md", "no component")
	holds(take(seen, here, tip(), false), noteAge)
	holds(take(seen, p.query, applied, false), 0, "the configuration is at commit "+tip()[:10])
	p.commit("version", "2")
	holds(take(seen, p.query, tip(), false), 0, "touches application")
	holds(take(seen, p.query, tip(), true), noteRetry)

	seen = p.build(nil)
	if note := take(seen, here, tip(), false); len(note.Remotes) != 1 || note.Remotes[0].Refs["refs/heads/main"] != tip() {
		t.Errorf("beside a configuration on this machine the remotes are %v", note.Remotes)
	}
	seen.Sources[0].Query.Repository = strings.Replace(p.query.Repository, "http://", "http://ada:secret@", 1)
	note = take(seen, here, tip(), false)
	holds(note, 0, "only an apply can look at repository")
	if strings.Contains(note.Reasons[0], "secret") || len(note.Remotes) != 0 {
		t.Errorf("a repository with credentials is noted: %+v", note)
	}
	holds(take(&State{}, here, tip(), false), 0, "nothing has been applied yet")

	// An environment that is a module ends at its time: a build starts then, and ends it.
	now = time.Now().UTC().Truncate(time.Second)
	env := pipeline.Environment{
		ID: "e-1", Pipeline: "shop", Name: "alice", Purpose: pipeline.ForPerson, Status: pipeline.EnvRunning, Endpoint: "http://127.0.0.1:9/",
		Module: &pipeline.EnvironmentModule{Package: "sha256:1", Instead: true}, ExpiresAt: now.Add(time.Hour),
	}
	record := func() {
		t.Helper()
		apptest.Append(t, p.app, pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{{Kind: pipeline.EnvironmentChanged, Actor: "ada", Facts: pipeline.Facts{Environment: &env}}}})
	}
	record()
	seen = p.build(nil)
	holds(take(seen, here, tip(), false), time.Hour)
	env.ExpiresAt = now.Add(-time.Minute)
	record()
	holds(take(seen, here, tip(), false), noteAge)
	st, err := p.app.Engine.State(t.Context(), "shop")
	if err != nil || st.Environments["e-1"].Module != nil {
		t.Errorf("the module of the expired environment is left: %+v, %v", st.Environments["e-1"], err)
	}
}
