// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/ledger/ledgertest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// open opens a ledger until the test ends.
func open(t testing.TB, path string, o Options) *SQLite {
	t.Helper()
	l, err := Open(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// raw opens the file as any program could.
func raw(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func execute(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func appendOne(t testing.TB, l *SQLite, f pipeline.Facts) {
	t.Helper()
	if _, err := l.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{{Kind: pipeline.StageMoved, Actor: "alice", Facts: f}}}); err != nil {
		t.Fatal(err)
	}
}

const smallEvents = 8

// small makes a ledger with a few events, and closes it.
func small(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	l := open(t, path, Options{})
	for _, f := range []pipeline.Facts{
		{Pipeline: &pipeline.Pipeline{Name: "shop"}},
		{Build: &pipeline.Build{ID: "b-1"}},
		{Decision: &pipeline.Decision{Stage: "exploratory", Build: "b-1", Result: pipeline.Rejected, Actor: "alice"}},
		{Run: &pipeline.Run{ID: "r-1", Stage: "capacity", Build: "b-1", Kind: pipeline.KindStage, Digest: "d-1", Status: pipeline.RunFailed}},
		{Run: &pipeline.Run{ID: "r-2", Stage: "capacity", Build: "b-1", Kind: pipeline.KindStage, Digest: "d-1", Status: pipeline.RunPassed}},
		{Current: &pipeline.Current{Stage: "capacity", Build: "b-1"}},
		{Build: &pipeline.Build{ID: "b-0"}},
		{Gone: []pipeline.Key{{Kind: pipeline.RecordBuild, ID: "b-0"}}},
	} {
		appendOne(t, l, f)
	}
	if n, err := l.Verify(t.Context(), ""); err != nil || n != smallEvents {
		t.Fatalf("Verify gives %d, %v", n, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantError checks an error's code, that it names all of the texts, and that it
// says what to do.
func wantError(t testing.TB, err error, code pipeline.Code, texts ...string) {
	t.Helper()
	if got := pipeline.CodeOf(err); got != code {
		t.Fatalf("the error %v has code %q, want %q", err, got, code)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error %q does not name %q", err, text)
		}
	}
	if reason.Hint(err) == "" {
		t.Errorf("the error %q has no hint", err)
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	dir := filepath.Join(t.TempDir(), "new", "data")
	path := filepath.Join(dir, "ledger.db")
	check := func() {
		t.Helper()
		l := open(t, path, Options{})
		appendOne(t, l, pipeline.Facts{Build: &pipeline.Build{ID: "b-1"}})
		for name, want := range map[string]os.FileMode{dir: 0o700, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600} {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != want {
				t.Errorf("%s has mode %o, want %o", name, got, want)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	check()
	if err := os.Chmod(path, 0o644); err != nil { // as a restored backup may have
		t.Fatal(err)
	}
	check()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory has %v after Close, %v, want the ledger alone", entries, err)
	}
}

// TestPath opens files whose names mean something in a URI.
func TestPath(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a b", "50%25", "é", "a#b", "a&mode=memory"} {
		path := filepath.Join(t.TempDir(), name, "ledger.db")
		l := open(t, path, Options{})
		appendOne(t, l, pipeline.Facts{Build: &pipeline.Build{ID: "b-1"}})
		if info, err := os.Stat(path + "-wal"); err != nil || info.Size() == 0 {
			t.Errorf("nothing was written beside %s: %v", path, err)
		}
	}
}

func TestUnusable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), filepath.Join(file, "data", "ledger.db"), Options{})
	wantError(t, err, pipeline.CodeInvalid, file)
	_, err = Open(t.Context(), dir, Options{})
	wantError(t, err, pipeline.CodeInvalid, dir)
}

// TestFull fills the disk, as far as SQLite can tell.
func TestFull(t *testing.T) {
	t.Parallel()
	l := open(t, filepath.Join(t.TempDir(), "ledger.db"), Options{})
	limit := func(pages int) {
		execute(t, l.write, fmt.Sprintf(`PRAGMA max_page_count = %d`, pages))
	}
	limit(40)
	var err error
	acknowledged := int64(0)
	for ; acknowledged < 1000; acknowledged++ {
		build := &pipeline.Build{ID: fmt.Sprintf("b-%d", acknowledged), Digest: strings.Repeat("x", 500)}
		if _, err = l.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{{Facts: pipeline.Facts{Build: build}}}}); err != nil {
			break
		}
	}
	wantError(t, err, pipeline.CodeFailed, l.path, "no space")
	if n, err := l.Verify(t.Context(), ""); err != nil || n != acknowledged {
		t.Errorf("Verify gives %d, %v, want %d events", n, err, acknowledged)
	}
	limit(1 << 20) // somebody has made room
	appendOne(t, l, pipeline.Facts{Build: &pipeline.Build{ID: "b-last"}})
	ledgertest.CheckView(t, l, "shop")
}

// TestMoved takes the file away, and puts another in its place.
func TestMoved(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows refuses to move an open file")
	}
	path := small(t)
	l := open(t, path, Options{})
	write := func() error {
		_, err := l.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{{Kind: pipeline.StageMoved}}})
		return err
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	wantError(t, write(), pipeline.CodeFailed, path)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantError(t, write(), pipeline.CodeFailed, path)
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if err := write(); err != nil {
		t.Error(err)
	}
	if n, err := l.Verify(t.Context(), ""); err != nil || n != smallEvents+1 {
		t.Errorf("Verify gives %d, %v, want %d events", n, err, smallEvents+1)
	}
}

// TestCreateFile makes the file in the ways that file systems allow.
func TestCreateFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	if err := os.WriteFile(path+".new", nil, 0o600); err != nil { // of a process that was killed
		t.Fatal(err)
	}
	for _, create := range []func(string) error{createFile, createFile, createUnlinked} {
		if err := create(path); err != nil {
			t.Fatal(err)
		}
	}
	left, err := filepath.Glob(path + "*")
	if err != nil || len(left) != 1 {
		t.Errorf("the files %v are there, %v, want the ledger alone", left, err)
	}
	unlinked := filepath.Join(t.TempDir(), "ledger.db")
	if err := createUnlinked(unlinked); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(unlinked); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}
}

// TestLocked has another process in the middle of a transaction.
func TestLocked(t *testing.T) {
	t.Parallel()
	path := small(t)
	l := open(t, path, Options{})
	other, err := raw(t, path).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.ExecContext(t.Context(), `BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = l.Append(ctx, pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{{Kind: pipeline.StageMoved}}})
	if pipeline.CodeOf(err) != pipeline.CodeCancelled || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*time.Second {
		t.Errorf("Append gives %v after %s", err, time.Since(began))
	}
	if st, err := l.State(t.Context(), "shop"); err != nil || !st.Exists() {
		t.Errorf("a reader gets %v while another process writes", err)
	}

	execute(t, l.write, `PRAGMA busy_timeout = 20`) // for 30 seconds
	_, err = l.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{{Kind: pipeline.StageMoved}}})
	wantError(t, err, pipeline.CodeFailed, path, "locked")
	if _, err := other.ExecContext(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	appendOne(t, l, pipeline.Facts{Build: &pipeline.Build{ID: "b-2"}})
}

// TestDurable checks that an acknowledged append survives a loss of power.
func TestDurable(t *testing.T) {
	t.Parallel()
	l := open(t, filepath.Join(t.TempDir(), "ledger.db"), Options{})
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "fullfsync": "1"} {
		var got string
		if err := l.write.QueryRowContext(t.Context(), `PRAGMA `+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, %v, want %s", pragma, got, err, want)
		}
	}
}

// TestPlans checks that no query of a listing reads rows that it doesn't return, or sorts
// them.
func TestPlans(t *testing.T) {
	t.Parallel()
	l := open(t, filepath.Join(t.TempDir(), "ledger.db"), Options{})
	plan := func(query string, args ...any) {
		t.Helper()
		rows, err := l.read.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		defer rows.Close()
		steps := 0
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			steps++
			if !strings.HasPrefix(detail, "SEARCH") {
				t.Errorf("%s: %s", query, detail)
			}
		}
		if err := rows.Err(); err != nil || steps != 1 {
			t.Errorf("%s: %d steps, %v", query, steps, err)
		}
	}
	plan(stateQuery, "shop")
	for i := range 16 {
		choose := func(bit int, value string) string {
			if i&bit == 0 {
				return ""
			}
			return value
		}
		query, args := runsQuery("shop", pipeline.RunQuery{Stage: choose(1, "s"), Build: choose(2, "b"), Status: pipeline.RunStatus(choose(4, "x")), After: choose(8, "r")})
		plan(query, args...)
	}
}
