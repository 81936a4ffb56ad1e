// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package artifact

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestArchives(t *testing.T) {
	dir := t.TempDir()
	testArchives(t, NewArchives(filepath.Join(dir, "archive")))
	left, err := os.ReadDir(filepath.Join(dir, "archive"))
	if check(t, err); len(left) != 1 {
		t.Errorf("left are %v, want the one archive", left)
	}
}

func TestS3Archives(t *testing.T) {
	t.Parallel()
	_, client, bucket := newBucket(t)
	dir := t.TempDir()
	testArchives(t, NewS3Archives(client, bucket, filepath.Join(dir, "work")))
	left, err := os.ReadDir(filepath.Join(dir, "work"))
	if check(t, err); len(left) != 0 {
		t.Errorf("left on this machine are %v", left)
	}
}

// testArchives leaves one archive.
func testArchives(t *testing.T, s pipeline.Archives) {
	ctx := t.Context()
	write := func(text string) func(io.Writer) error {
		return func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		}
	}
	list := func(want ...pipeline.Archive) {
		t.Helper()
		got, err := s.List(ctx)
		check(t, err)
		if len(got) != len(want) {
			t.Fatalf("archives %+v, want %+v", got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("archive %d is %+v, want %+v", i, got[i], want[i])
			}
		}
	}
	removed := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	one := pipeline.Archive{ID: "p-1", Pipeline: "two.my_shop", Removed: removed, Until: removed.Add(time.Hour)}
	two := pipeline.Archive{ID: "p-2", Pipeline: "two.my_shop", Removed: removed.Add(time.Minute), Until: removed.Add(2 * time.Hour)}
	list()
	broken := errors.New("the ledger can't be read")
	if err := s.Put(ctx, one, func(w io.Writer) error { return errors.Join(write("half")(w), broken) }); !errors.Is(err, broken) {
		t.Errorf("an archive that can't be written: %v", err)
	}
	list()
	check(t, s.Put(ctx, one, write("first")))
	check(t, s.Put(ctx, one, write("again")))
	check(t, s.Put(ctx, two, write("second")))
	list(two, one)
	r, err := s.Open(ctx, one)
	check(t, err)
	text, err := io.ReadAll(r)
	if check(t, errors.Join(err, r.Close())); string(text) != "again" {
		t.Errorf("the archive has %q", text)
	}
	check(t, s.Remove(ctx, one))
	check(t, s.Remove(ctx, one))
	if _, err := s.Open(ctx, one); pipeline.CodeOf(err) != pipeline.CodeNotFound {
		t.Errorf("an archive that was removed: %v", err)
	}
	list(two)
}
