// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// TestMain keeps the tests from the settings of whoever runs them.
func TestMain(m *testing.M) {
	process.Guard()
	os.Exit(isolated(m))
}

func isolated(m *testing.M) int {
	if repository := os.Getenv(victimVariable); repository != "" {
		return victim(repository)
	}
	home, err := os.MkdirTemp("", "home")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(home)
	for k, v := range map[string]string{
		"HOME": home, "XDG_CONFIG_HOME": home, "GIT_CONFIG_NOSYSTEM": "1",
		"GORACE":          "atexit_sleep_ms=0", // guards are this binary, and would sleep a second each
		"GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.com",
		"GIT_COMMITTER_NAME": "Ann", "GIT_COMMITTER_EMAIL": "ann@example.com",
	} {
		if err := os.Setenv(k, v); err != nil {
			panic(err)
		}
	}
	if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(userConfig), 0o600); err != nil {
		panic(err)
	}
	return m.Run()
}

// userConfig is what the user of the tests has configured: filters, and much that is
// theirs alone and must count for nothing in a checkout.
const userConfig = `[filter "broken"]
	smudge = "echo out of order >&2; false"
	required = true
[filter "slow"]
	smudge = "echo $$ >\"$PWD.pid\"; exec sleep 60"
[core]
	autocrlf = true
	eol = crlf
	attributesFile = ~/attributes
	excludesFile = ~/ignore
	hooksPath = ~/hooks
	fsmonitor = true
	splitIndex = true
[init]
	templateDir = ~/template
	defaultBranch = mine
[commit]
	gpgSign = false
[feature]
	manyFiles = true
`

// repo is a repository with a work tree.
type repo struct {
	t    *testing.T
	dir  string
	tick int
}

func newRepo(t *testing.T, options ...string) *repo {
	t.Helper()
	r := &repo{t: t, dir: filepath.Join(t.TempDir(), "origin")}
	runGit(t, "", nil, append([]string{"init", "--quiet", r.dir}, options...)...)
	r.git("symbolic-ref", "HEAD", "refs/heads/main")
	return r
}

func (r *repo) git(args ...string) string {
	r.t.Helper()
	return runGit(r.t, r.dir, nil, args...)
}

// commit writes files (an empty text removes one) and commits everything.
func (r *repo) commit(message string, files map[string]string) string {
	r.t.Helper()
	for name, text := range files {
		path := filepath.Join(r.dir, name)
		if text == "" {
			must(r.t, os.Remove(path))
			continue
		}
		must(r.t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(r.t, os.WriteFile(path, []byte(text), 0o644))
	}
	r.git("add", "--all")
	r.tick++
	date := time.Unix(1_700_000_000+int64(r.tick), 0).UTC().Format(time.RFC3339)
	runGit(r.t, r.dir, []string{"GIT_AUTHOR_DATE=" + date, "GIT_COMMITTER_DATE=" + date}, "commit", "--quiet", "--allow-empty", "-m", message)
	return r.head()
}

func (r *repo) head() string { r.t.Helper(); return r.git("rev-parse", "HEAD") }

func runGit(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	return pipeGit(t, dir, env, nil, args...)
}

func pipeGit(t *testing.T, dir string, env []string, in []byte, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env, cmd.Stdin = dir, append(append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null"), env...), bytes.NewReader(in)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %q: %v: %s", args, err, said.String())
	}
	return strings.TrimSpace(string(out))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// journal is a log that counts git's commands.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) count(command string) int {
	return strings.Count(j.String(), "command="+command+" ")
}

// newSource returns a Source on the cache with a journal of what it does.
func newSource(cache string) (*Source, *journal) {
	j := &journal{}
	return New(Options{Dir: cache, Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: j})}), j
}

func snapshot(t *testing.T, cache string, q Query) Snapshot {
	t.Helper()
	s, j := newSource(cache)
	snap, err := s.Snapshot(t.Context(), q)
	if err != nil {
		t.Fatalf("%v (%s)\n%s", err, reason.Hint(err), j)
	}
	return snap
}

// refused checks that an error has a code, a remedy and certain words.
func refused(t *testing.T, err error, code pipeline.Code, words ...string) {
	t.Helper()
	if pipeline.CodeOf(err) != code {
		t.Fatalf("error is %v of code %q, want code %q", err, pipeline.CodeOf(err), code)
	}
	if code != pipeline.CodeCancelled && reason.Hint(err) == "" {
		t.Errorf("error %v has no remedy", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error()+" "+reason.Hint(err), word) {
			t.Errorf("error %q (%s) does not name %q", err, reason.Hint(err), word)
		}
	}
}

// names lists what is in the directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// victimVariable makes the test binary a process that takes a snapshot, to be killed.
const victimVariable = "PENSTOCK_TEST_VICTIM"

func victim(repository string) int {
	s := New(Options{Dir: os.Getenv(victimVariable + "_CACHE")})
	if _, err := s.Snapshot(context.Background(), Query{Repository: repository}); err != nil {
		return 1
	}
	return 0
}
