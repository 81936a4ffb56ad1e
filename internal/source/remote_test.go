// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// server serves repositories over HTTP, by git's own program for it.
type server struct {
	*httptest.Server
	login    string
	password atomic.Pointer[string] // asked for where set
	asked    chan struct{}          // gets a value for each pack that is asked for, where held
	dropped  chan struct{}          // gets a value for each that was given up
	held     chan struct{}          // until it is closed, no pack is sent, where set
}

func newServer(t *testing.T, root, login, password string, held chan struct{}) *server {
	t.Helper()
	s := &server{login: login, held: held, asked: make(chan struct{}, 100), dropped: make(chan struct{}, 100)}
	s.password.Store(&password)
	backend := &cgi.Handler{
		Path: filepath.Join(runGit(t, "", nil, "--exec-path"), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"},
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if login, password, _ := r.BasicAuth(); *s.password.Load() != "" && (login != s.login || password != *s.password.Load()) {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you", http.StatusUnauthorized)
			return
		}
		if s.held != nil && strings.HasSuffix(r.URL.Path, "/git-upload-pack") {
			body, err := io.ReadAll(r.Body) // only then is a client that goes away noticed
			if err != nil {
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			s.asked <- struct{}{}
			select {
			case <-s.held:
			case <-r.Context().Done():
				s.dropped <- struct{}{}
				return
			}
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestCredentialsAreUsedAndNotShown(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	commit := r.commit("one", map[string]string{"a": "1"})
	server := newServer(t, filepath.Dir(r.dir), "ann", "s3:cr/et%", nil)
	bare := server.URL + "/origin/.git"
	withUser := strings.Replace(bare, "://", "://ann:s3%3Acr%2Fet%25@", 1)
	cache := t.TempDir()
	s, j := newSource(cache)
	snap, err := s.Snapshot(t.Context(), Query{Repository: withUser, Ref: "main"})
	if err != nil || snap.Commit != commit || snap.Repository != bare || snap.Image.Repository != bare {
		t.Fatalf("%+v, %v\n%s", snap, err, j)
	}
	// By the recorded name, the same credentials fetch what is missing.
	r.git("checkout", "--quiet", "--detach")
	second := r.commit("two", map[string]string{"a": "2"})
	r.git("update-ref", "refs/heads/later", second)
	if _, err := s.Describe(t.Context(), bare, second); err != nil {
		t.Error(err)
	}
	must(t, checkOut(t.Context(), s, bare, commit, filepath.Join(t.TempDir(), "out")))

	changed := "changed"
	server.password.Store(&changed)
	s, failed := newSource(cache)
	_, err = s.Snapshot(t.Context(), Query{Repository: withUser})
	refused(t, err, pipeline.CodeFailed, bare, "ls-remote")
	clone := filepath.Join(cache, only(t, cache, ".git"))
	shown := j.String() + failed.String() + err.Error() + reason.Hint(err) + read(t, filepath.Join(clone, "config")) + read(t, filepath.Join(clone, "FETCH_HEAD"))
	for _, secret := range []string{"s3:cr", "s3%3A"} {
		if strings.Contains(shown, secret) {
			t.Errorf("the password is shown: %s", shown)
		}
	}
	s, _ = newSource(t.TempDir())
	_, err = s.Snapshot(t.Context(), Query{Repository: strings.Replace(bare, "://", "://tok3n@", 1)})
	refused(t, err, pipeline.CodeFailed, bare)
	if strings.Contains(err.Error()+reason.Hint(err), "tok3n") {
		t.Errorf("the token is shown: %v", err)
	}
}

func TestCancelEndsAFetchOnlyForWhoCancels(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	want := r.commit("one", map[string]string{"a": "1"})
	held := make(chan struct{})
	server := newServer(t, filepath.Dir(r.dir), "", "", held)
	q := Query{Repository: server.URL + "/origin/.git", Ref: "main"}
	cache := t.TempDir()
	s, j := newSource(cache)

	ctx, cancel := context.WithCancel(t.Context())
	go func() { receive(t, server.asked); cancel() }()
	_, err := s.Snapshot(ctx, q)
	refused(t, err, pipeline.CodeCancelled)
	if list := names(t, cache); len(list) != 1 {
		t.Errorf("a cancelled clone leaves %q", list)
	}

	// Of two who wait, the first goes; the second gets what was begun.
	ctx, cancel = context.WithCancel(t.Context())
	first, second := make(chan error), make(chan error)
	go func() { _, err := s.Snapshot(ctx, q); first <- err }()
	receive(t, server.asked)
	go func() {
		snap, err := s.Snapshot(t.Context(), q)
		if err == nil && snap.Commit != want {
			t.Errorf("commit is %s, want %s", snap.Commit, want)
		}
		second <- err
	}()
	waitFor(t, func() bool {
		s.store.memos.mu.Lock()
		defer s.store.memos.mu.Unlock()
		for name, fl := range s.store.memos.known {
			if strings.HasPrefix(name, "fetch ") {
				return fl.waiting == 2
			}
		}
		return false
	})
	cancel()
	refused(t, <-first, pipeline.CodeCancelled)
	close(held)
	if err := <-second; err != nil || j.count("clone") != 2 {
		t.Errorf("the one who waits on gets %v\n%s", err, j)
	}
}

func TestKilledCloneLeavesNoBrokenCache(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	want := r.commit("one", map[string]string{"a": "1"})
	held := make(chan struct{})
	server := newServer(t, filepath.Dir(r.dir), "", "", held)
	repository, cache := server.URL+"/origin/.git", t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimVariable+"="+repository, victimVariable+"_CACHE="+cache)
	must(t, cmd.Start())
	receive(t, server.asked)
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	if runtime.GOOS == "linux" {
		receive(t, server.dropped) // git ended too
	}
	list := names(t, cache)
	if len(list) != 2 || strings.Contains(strings.Join(list, " "), ".git") {
		t.Errorf("a killed clone leaves %q, want its lock and an unfinished clone", list)
	}
	close(held)
	if snap := snapshot(t, cache, Query{Repository: repository}); snap.Commit != want {
		t.Errorf("commit is %s, want %s", snap.Commit, want)
	}
	if list := names(t, cache); len(list) != 2 {
		t.Errorf("cache holds %q, want a clone and its lock", list)
	}
}

// receive waits for something that is sent soon.
func receive(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Error("waited in vain")
	}
}

func atoi(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(text))
	must(t, err)
	return n
}
