// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

func TestForeignFile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		content []byte
		code    pipeline.Code
	}{
		{"text", bytes.Repeat([]byte("not a ledger\n"), 1000), pipeline.CodeCorrupt},
		{"short text", []byte("not a ledger\n"), pipeline.CodeCorrupt},
		{"zeros", make([]byte, 8192), pipeline.CodeCorrupt},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ledger.db")
			if err := os.WriteFile(path, test.content, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(t.Context(), path, Options{})
			wantError(t, err, test.code, path)
			if left, err := os.ReadFile(path); err != nil || !bytes.Equal(left, test.content) {
				t.Errorf("the file was changed: %v", err)
			}
		})
	}
	t.Run("database", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "ledger.db")
		execute(t, raw(t, path), `CREATE TABLE songs (name TEXT)`, `PRAGMA user_version = 7`)
		_, err := Open(t.Context(), path, Options{})
		wantError(t, err, pipeline.CodeInvalid, path, "another program")
	})
}

func TestNewerSchema(t *testing.T) {
	t.Parallel()
	path := small(t)
	db := raw(t, path)
	execute(t, db, `PRAGMA user_version = 99`)
	_, err := Open(t.Context(), path, Options{})
	wantError(t, err, pipeline.CodeInvalid, path, "99", fmt.Sprint(len(migrations())))
	if hint := reason.Hint(err); !strings.Contains(hint, "Upgrade") {
		t.Errorf("the hint is %q", hint)
	}
	execute(t, db, fmt.Sprintf(`PRAGMA user_version = %d`, len(migrations())))
	if n, err := open(t, path, Options{}).Verify(t.Context(), ""); err != nil || n != smallEvents {
		t.Errorf("Verify gives %d, %v after the refusal", n, err)
	}
}

// TestDamage changes bytes of the file.
func TestDamage(t *testing.T) {
	t.Parallel()
	path := small(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	use := func(content []byte) error {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(t.Context(), path, Options{})
		if err != nil {
			return err
		}
		_, err = l.Verify(t.Context(), "")
		return errors.Join(err, l.Close())
	}
	for page := 4096; page < len(whole); page += 4096 {
		damaged := bytes.Clone(whole)
		copy(damaged[page:], bytes.Repeat([]byte{0xff}, 64))
		wantError(t, use(damaged), pipeline.CodeCorrupt, path)
	}
	for _, size := range []int{50, 4096, len(whole) / 2, len(whole) - 4096} {
		wantError(t, use(whole[:size]), pipeline.CodeCorrupt, path)
	}
	if err := use(whole); err != nil {
		t.Error(err)
	}
}

// TestTampering changes rows behind the ledger's back.
func TestTampering(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		change string
		names  string // what the error must name
	}{
		{`UPDATE events SET body = replace(body, 'rejected', 'approved') WHERE seq = 3`, "event 3"},
		{`UPDATE events SET body = replace(body, 'alice', 'mallory') WHERE seq = 1`, "event 1"},
		{`UPDATE events SET body = body || ' ' WHERE seq = 6`, "event 6"},
		{`UPDATE events SET body = '' WHERE seq = 2`, "event 2"},
		{`UPDATE events SET hash = 'x' WHERE seq = 2`, "event 2"},
		{`DELETE FROM events WHERE seq = 1`, "event 1"},
		{`DELETE FROM events WHERE seq = 4`, "event 4"},
		{`DELETE FROM events WHERE seq >= 6`, `current "capacity"`},
		{`DELETE FROM events`, "shop"},
		{`UPDATE events SET seq = 99 WHERE seq = 3; UPDATE events SET seq = 3 WHERE seq = 4; UPDATE events SET seq = 4 WHERE seq = 99`, "event 3"},
		{`UPDATE events SET pipeline = 'blog'`, "event 1"},
		{`UPDATE records SET doc = replace(doc, 'rejected', 'approved') WHERE kind = 'decision'`, `decision "exploratory/b-1"`},
		{`UPDATE records SET version = 2 WHERE kind = 'decision'`, `decision "exploratory/b-1"`},
		{`UPDATE records SET doc = 'x' WHERE kind = 'build'`, `build "b-1"`},
		{`UPDATE records SET id = 'b-2' WHERE kind = 'build'`, `build "b-2"`},
		{`DELETE FROM records WHERE kind = 'decision'`, `decision "exploratory/b-1"`},
		{`INSERT INTO records VALUES ('shop', 'promotion', 'production', 3, '{}')`, `promotion "production"`},
		{`INSERT INTO records VALUES ('blog', 'pipeline', 'blog', 1, '{"name":"blog"}')`, `pipeline "blog"`},
		{`INSERT INTO records SELECT pipeline, 'build', 'b-0', seq, body -> '$.facts.build' FROM events WHERE seq = 7`, `build "b-0"`},
		{`UPDATE records SET version = 4, doc = replace(replace(doc, 'r-2', 'r-1'), 'passed', 'failed') WHERE kind = 'result'`, `result "capacity/b-1/d-1"`},
		{`UPDATE runs SET status = 'passed' WHERE id = 'r-1'`, `run "r-1"`},
		{`UPDATE runs SET build = 'b-2' WHERE id = 'r-1'`, `run "r-1"`},
		{`UPDATE runs SET summary = replace(summary, 'failed', 'passed') WHERE id = 'r-1'`, `run "r-1"`},
		{`UPDATE runs SET version = 5 WHERE id = 'r-1'`, `run "r-1"`},
		{`DELETE FROM runs WHERE id = 'r-2'`, `run "r-2"`},
	} {
		t.Run(test.change, func(t *testing.T) {
			t.Parallel()
			path := small(t)
			execute(t, raw(t, path), test.change)
			_, err := open(t, path, Options{}).Verify(t.Context(), "")
			wantError(t, err, pipeline.CodeCorrupt, test.names)
		})
	}
}

// TestForgedEvent changes an event and makes its hash fit.
func TestForgedEvent(t *testing.T) {
	t.Parallel()
	path := small(t)
	db := raw(t, path)
	var body string
	if err := db.QueryRowContext(t.Context(), `SELECT body FROM events WHERE seq = 3`).Scan(&body); err != nil {
		t.Fatal(err)
	}
	body = strings.Replace(body, "rejected", "approved", 1)
	if _, err := db.ExecContext(t.Context(), `UPDATE events SET body = ?, hash = ? WHERE seq = 3`, body, fmt.Sprintf("%x", sha256.Sum256([]byte(body)))); err != nil {
		t.Fatal(err)
	}
	_, err := open(t, path, Options{}).Verify(t.Context(), "shop")
	wantError(t, err, pipeline.CodeCorrupt, "event 4 does not follow")
}

// TestEarlierForm verifies rows as an earlier version may have written them: with
// fields in another order, without those that came later, and with those that went.
func TestEarlierForm(t *testing.T) {
	t.Parallel()
	path := small(t)
	execute(t, raw(t, path),
		`UPDATE records SET doc = '{"at":"0001-01-01T00:00:00Z", "result":"rejected","build":"b-1","stage":"exploratory","actor":"alice"}' WHERE kind = 'decision'`,
		`UPDATE records SET doc = (SELECT summary FROM runs WHERE id = 'r-2') WHERE kind = 'result'`)
	if _, err := open(t, path, Options{}).Verify(t.Context(), ""); err != nil {
		t.Error(err)
	}
}

// TestBehindTheBack does what nothing in the file itself can show, straight to the file:
// Verify finds nothing, and an anchor from before does.
func TestBehindTheBack(t *testing.T) {
	t.Parallel()
	for name, attack := range map[string]func(t *testing.T, path string) (attacked string, kept pipeline.Anchor){
		"the newest event is cut": func(t *testing.T, path string) (string, pipeline.Anchor) {
			kept := newest(t, open(t, path, Options{}))
			execute(t, raw(t, path),
				`INSERT INTO records SELECT pipeline, 'build', 'b-0', seq, body -> '$.facts.build' FROM events WHERE seq = 7`,
				`DELETE FROM events WHERE seq = 8`)
			return path, kept
		},
		"the write-ahead log is emptied": func(t *testing.T, path string) (string, pipeline.Anchor) {
			l := open(t, path, Options{}) // stays open: what it writes is in the log only
			appendOne(t, l, pipeline.Facts{Current: &pipeline.Current{Stage: "capacity", Build: "b-1"}})
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			lost := filepath.Join(t.TempDir(), "ledger.db")
			for file, content := range map[string][]byte{lost: data, lost + "-wal": nil} {
				if err := os.WriteFile(file, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			return lost, newest(t, l)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, kept := attack(t, small(t))
			l := open(t, path, Options{})
			n, err := l.Verify(t.Context(), "shop")
			if err != nil || n != kept.Sequence-1 {
				t.Errorf("the file itself shows it: %d events, %v", n, err)
			}
			wantError(t, pipeline.CheckAnchor(t.Context(), l, "shop", kept), pipeline.CodeCorrupt, fmt.Sprintf("event %d", kept.Sequence), fmt.Sprintf("ends with event %d", n))
		})
	}
}

func newest(t *testing.T, l *SQLite) pipeline.Anchor {
	t.Helper()
	anchor, err := l.Newest(t.Context(), "shop")
	if err != nil || anchor.Sequence == 0 {
		t.Fatal(anchor, err)
	}
	return anchor
}
