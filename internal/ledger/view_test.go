// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// files returns the files of a directory with when each was changed, and its content.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = fmt.Sprintf("%s %s %x", info.Mode(), info.ModTime(), data)
	}
	return all
}

func view(t testing.TB, path string) *View {
	t.Helper()
	v, err := OpenView(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// TestView reads a ledger that nobody has open, and leaves the directory as it was; then one
// that is being written, with what is new in it.
func TestView(t *testing.T) {
	t.Parallel()
	path := small(t)
	before := files(t, filepath.Dir(path))
	v, err := OpenView(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	st, now, err := v.Verified(t.Context(), "shop", Checked{})
	if err != nil || now.Head.Sequence != smallEvents || !st.Exists() {
		t.Errorf("it reads %v, %v", now.Head, err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if after := files(t, filepath.Dir(path)); !maps.Equal(before, after) {
		t.Errorf("the directory had %d files and has %d, or they changed", len(before), len(after))
	}

	l, open := open(t, path, Options{}), view(t, path)
	if id, _, err := l.Identity(t.Context()); err != nil || id == "" || open.ID != id {
		t.Errorf("the view has the ID %q, and the ledger %q: %v", open.ID, id, err)
	}
	appendOne(t, l, pipeline.Facts{Build: &pipeline.Build{ID: "b-7"}})
	st, now, err = open.Verified(t.Context(), "shop", now)
	if err != nil || now.Head != newest(t, l) || st.Builds["b-7"].ID == "" {
		t.Errorf("it reads %v, %v", now.Head, err)
	}
	want, err := l.State(t.Context(), "shop")
	if err != nil || !reflect.DeepEqual(st, want) {
		t.Errorf("the states differ: %v", err)
	}
}

// TestViewWhileWritten verifies a history again and again that another goroutine writes.
func TestViewWhileWritten(t *testing.T) {
	t.Parallel()
	path := small(t)
	l, v := open(t, path, Options{}), view(t, path)
	done := make(chan error)
	go func() {
		for n := range 40 {
			if _, err := l.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{{Kind: pipeline.BuildOffered, Facts: pipeline.Facts{Build: &pipeline.Build{ID: fmt.Sprint("b-new-", n)}}}}}); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for writing := true; writing; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			writing = false
		default:
		}
		st, now, err := v.Verified(t.Context(), "shop", Checked{})
		if err != nil || int64(len(st.Builds)) != now.Head.Sequence-smallEvents+1 {
			t.Fatalf("%d builds as of event %d: %v", len(st.Builds), now.Head.Sequence, err)
		}
	}
}

// TestViewOfNothing looks where there is no ledger, and makes none.
func TestViewOfNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, path := range map[string]string{"no file": filepath.Join(dir, "ledger.db"), "no directory": filepath.Join(dir, "none", "ledger.db")} {
		_, err := OpenView(t.Context(), path)
		wantError(t, err, pipeline.CodeNotFound, path)
		if left := files(t, dir); len(left) > 0 {
			t.Errorf("%s: it left %v", name, left)
		}
	}
	_, err := OpenView(t.Context(), dir)
	wantError(t, err, pipeline.CodeInvalid, dir, "not a regular file")
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("not a ledger, whatever its name\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = OpenView(t.Context(), text)
	wantError(t, err, pipeline.CodeCorrupt, text)
}

// TestViewOfAnotherVersion refuses what a newer Penstock wrote, and leaves what an older one
// wrote as it is.
func TestViewOfAnotherVersion(t *testing.T) {
	t.Parallel()
	path := small(t)
	db := raw(t, path)
	execute(t, db, `PRAGMA user_version = 99`)
	_, err := OpenView(t.Context(), path)
	wantError(t, err, pipeline.CodeInvalid, path, "99")
	execute(t, db, `PRAGMA user_version = 1`)
	_, err = OpenView(t.Context(), path)
	wantError(t, err, pipeline.CodeInvalid, path, "version 1")
	var version int
	if err := db.QueryRow(`PRAGMA user_version`).Scan(&version); err != nil || version != 1 {
		t.Errorf("the version is %d: %v", version, err)
	}
}

// TestViewOfTampering reads what somebody changed behind the ledger's back.
func TestViewOfTampering(t *testing.T) {
	t.Parallel()
	for name, statement := range map[string]string{
		"event":          `UPDATE events SET body = replace(body, 'rejected', 'approved')`,
		"record":         `UPDATE records SET doc = replace(doc, 'rejected', 'approved')`,
		"record removed": `DELETE FROM records WHERE kind = 'decision'`,
		"event removed":  `DELETE FROM events WHERE seq = 3`,
	} {
		path := small(t)
		execute(t, raw(t, path), statement)
		if _, _, err := view(t, path).Verified(t.Context(), "shop", Checked{}); pipeline.CodeOf(err) != pipeline.CodeCorrupt {
			t.Errorf("%s: it says %v", name, err)
		}
	}
	path := small(t)
	execute(t, raw(t, path), `DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)`)
	if _, _, err := view(t, path).Verified(t.Context(), "shop", Checked{}); pipeline.CodeOf(err) != pipeline.CodeCorrupt {
		t.Errorf("cut off: it says %v", err)
	}
}
