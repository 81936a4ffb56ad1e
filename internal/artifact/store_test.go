// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package artifact

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused checks that an error has a code and certain words in it or its remedy.
func refused(t *testing.T, err error, code pipeline.Code, words ...string) {
	t.Helper()
	if pipeline.CodeOf(err) != code {
		t.Fatalf("error is %v of code %q, want code %q", err, pipeline.CodeOf(err), code)
	}
	for _, word := range words {
		if !strings.Contains(err.Error()+" "+reason.Hint(err), word) {
			t.Errorf("error %q (%s) does not name %q", err, reason.Hint(err), word)
		}
	}
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shop.bin")
	must(t, os.WriteFile(path, []byte(text), 0o755))
	return path
}

func TestPutThenGet(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "artifacts [x]")
	s := NewStore(dir)
	list, err := s.List(t.Context())
	if err != nil || len(list) != 0 {
		t.Fatalf("a store that was never used lists %q, %v", list, err)
	}
	const sum = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" // of hello
	want := pipeline.Artifact{Digest: "sha256:" + sum, Name: "shop.bin", Size: 5}
	for range 2 {
		a, err := s.Put(t.Context(), file(t, "hello"))
		if err != nil || a != want {
			t.Fatalf("put gives %+v, %v, want %+v", a, err, want)
		}
	}
	path, err := s.Get(t.Context(), want)
	if err != nil || path != filepath.Join(dir, "sha256", "2c", sum) {
		t.Fatalf("get gives %s, %v", path, err)
	}
	text, err := os.ReadFile(path)
	if err != nil || string(text) != "hello" {
		t.Errorf("stored is %q, %v", text, err)
	}
	for path, mode := range map[string]fs.FileMode{path: 0o444, dir: 0o700 | fs.ModeDir, filepath.Dir(path): 0o700 | fs.ModeDir} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s has mode %v, %v, want %v", path, info.Mode(), err, mode)
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, "sha256", "2c", "stray"), nil, 0o600))
	if list, err = s.List(t.Context()); err != nil || !slices.Equal(list, []string{want.Digest}) {
		t.Errorf("list gives %q, %v", list, err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "tmp")); len(left) > 0 {
		t.Errorf("put leaves %v", left)
	}
	for range 2 {
		must(t, s.Remove(t.Context(), want.Digest))
	}
	_, err = s.Get(t.Context(), want)
	refused(t, err, pipeline.CodeNotFound, want.Digest, "shop.bin")
}

func TestPutRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := NewStore(filepath.Join(dir, "store"))
	_, err := s.Put(t.Context(), filepath.Join(dir, "dist", "none"))
	refused(t, err, pipeline.CodeNotFound, filepath.Join(dir, "dist", "none"), "`artifact`", "step")
	_, err = s.Put(t.Context(), os.DevNull)
	refused(t, err, pipeline.CodeInvalid, os.DevNull)
	short, err := os.MkdirTemp("", "s") // a socket's path must be short
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(short) })
	socket, err := net.Listen("unix", filepath.Join(short, "socket"))
	must(t, err)
	defer socket.Close()
	_, err = s.Put(t.Context(), short)
	refused(t, err, pipeline.CodeInvalid, "socket")
	if left, _ := os.ReadDir(filepath.Join(dir, "store", "tmp")); len(left) > 0 {
		t.Errorf("a refused put leaves %v", left)
	}
	for _, digest := range []string{"", "sha256:", "sha256:../../x", "md5:" + strings.Repeat("a", 64), "sha256:" + strings.Repeat("A", 64)} {
		_, err := s.Get(t.Context(), pipeline.Artifact{Digest: digest})
		refused(t, err, pipeline.CodeInvalid, digest)
		refused(t, s.Remove(t.Context(), digest), pipeline.CodeInvalid, digest)
	}
}

func TestChangedOnDisk(t *testing.T) {
	t.Parallel()
	s := NewStore(t.TempDir())
	a, err := s.Put(t.Context(), file(t, "hello"))
	must(t, err)
	path, err := s.Get(t.Context(), a)
	must(t, err)
	must(t, os.Chmod(path, 0o600))
	must(t, os.WriteFile(path, []byte("HELLO"), 0o600))
	_, err = s.Get(t.Context(), a)
	refused(t, err, pipeline.CodeCorrupt, a.Digest, "sha256:3733cd977ff8eb18b987357e22ced99f46097f31ecb239e878ae63760e83e4d5", path)
	_, err = s.Put(t.Context(), file(t, "hello"))
	must(t, err)
	if _, err = s.Get(t.Context(), a); err != nil {
		t.Errorf("storing it again does not mend it: %v", err)
	}
}

func TestDirectoriesAreStoredPacked(t *testing.T) {
	t.Parallel()
	s := NewStore(t.TempDir())
	tree := filepath.Join(t.TempDir(), "dist")
	must(t, os.Mkdir(tree, 0o755))
	must(t, os.WriteFile(filepath.Join(tree, "a"), []byte("1"), 0o600))
	link := filepath.Join(t.TempDir(), "latest")
	must(t, os.Symlink(tree, link))
	first, err := s.Put(t.Context(), tree)
	if err != nil || first.Name != "dist.tar.gz" {
		t.Fatalf("put gives %+v, %v", first, err)
	}
	for path, name := range map[string]string{tree + "/": "dist.tar.gz", tree + "/.": "dist.tar.gz", link: "latest.tar.gz"} {
		if a, err := s.Put(t.Context(), path); err != nil || a.Digest != first.Digest || a.Name != name {
			t.Errorf("%s gives %+v, %v", path, a, err)
		}
	}
	path, err := s.Get(t.Context(), first)
	must(t, err)
	packed, err := os.Open(path)
	must(t, err)
	defer packed.Close()
	out := filepath.Join(t.TempDir(), "out")
	must(t, Unpack(t.Context(), packed, out))
	if text, err := os.ReadFile(filepath.Join(out, "a")); err != nil || string(text) != "1" {
		t.Errorf("unpacked is %q, %v", text, err)
	}
}

func TestManyPutAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "tmp"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "tmp", "put-killed"), []byte("half"), 0o600))
	path := file(t, strings.Repeat("hello", 1<<16))
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			s := NewStore(dir)
			a, err := s.Put(t.Context(), path)
			if err == nil {
				_, err = s.Get(t.Context(), a)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if left, _ := os.ReadDir(filepath.Join(dir, "tmp")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if list, err := NewStore(dir).List(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("list gives %q, %v", list, err)
	}
}

// cancelAfter cancels once the context was asked n times.
type cancelAfter struct {
	context.Context
	cancel context.CancelFunc
	mu     sync.Mutex
	n      int
}

func (c *cancelAfter) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n < 0 {
		c.cancel()
	}
	return c.Context.Err()
}

func cancelled(t *testing.T, after int) *cancelAfter {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return &cancelAfter{Context: ctx, cancel: cancel, n: after}
}

func TestCancelWithinALargeFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, path := NewStore(dir), file(t, strings.Repeat("x", 8<<20))
	for _, source := range []string{path, filepath.Dir(path)} {
		_, err := s.Put(cancelled(t, 5), source)
		refused(t, err, pipeline.CodeCancelled)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v is no cancel", err)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "tmp")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	a, err := s.Put(t.Context(), path)
	must(t, err)
	_, err = s.Get(cancelled(t, 5), a)
	refused(t, err, pipeline.CodeCancelled)
	var packed bytes.Buffer
	must(t, Pack(t.Context(), filepath.Dir(path), &packed))
	refused(t, Unpack(cancelled(t, 5), &packed, filepath.Join(dir, "out")), pipeline.CodeCancelled)
}

func TestLogs(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "logs")
	l := NewLogs(dir)
	_, err := l.Open(t.Context(), "shop", "r-1")
	refused(t, err, pipeline.CodeNotFound, "shop", "r-1", "keep")
	for _, line := range []string{"one\n", "two\n"} { // a run that is resumed goes on in its log
		w, err := l.Create(t.Context(), "shop", "r-1")
		must(t, err)
		_, err = io.WriteString(w, line)
		must(t, errors.Join(err, w.Close()))
	}
	r, err := l.Open(t.Context(), "shop", "r-1")
	must(t, err)
	text, err := io.ReadAll(r)
	must(t, errors.Join(err, r.Close()))
	path := filepath.Join(dir, "shop", "r-1.log")
	if string(text) != "one\ntwo\n" || l.Location("shop", "r-1") != path {
		t.Errorf("log %s holds %q", l.Location("shop", "r-1"), text)
	}
	for path, mode := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700 | fs.ModeDir, dir: 0o700 | fs.ModeDir} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s has mode %v, %v, want %v", path, info.Mode(), err, mode)
		}
	}
	for range 2 {
		must(t, l.Remove(t.Context(), "shop", "r-1"))
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("the last log leaves %v", left)
	}
	for _, name := range []string{"", ".", "..", "../x", "a/b", "/a", "a\x00", "-a", ".a", "a\\b", "ä", strings.Repeat("a", 129)} {
		_, err := l.Create(t.Context(), name, "r-1")
		refused(t, err, pipeline.CodeInvalid, "pipeline")
		_, err = l.Open(t.Context(), "shop", name)
		refused(t, err, pipeline.CodeInvalid, "run")
		refused(t, l.Remove(t.Context(), "shop", name), pipeline.CodeInvalid, "run")
	}
	_, err = l.Create(cancelled(t, 0), "shop", "r-1")
	refused(t, err, pipeline.CodeCancelled)
}

// A disk that is full while an artifact is stored leaves nothing of it.
func TestPutOnAFullDisk(t *testing.T) {
	t.Parallel()
	s := NewStore(t.TempDir())
	kept, err := s.Put(t.Context(), file(t, "kept"))
	must(t, err)
	_, err = s.put(func(w io.Writer) error {
		if _, err := io.WriteString(w, "half of it"); err != nil {
			return err
		}
		return &fs.PathError{Op: "write", Path: s.dir, Err: syscall.ENOSPC}
	})
	refused(t, s.failed(t.Context(), "store artifact", err), pipeline.CodeFailed, "no space left", s.dir, "penstock gc")
	if left, err := os.ReadDir(filepath.Join(s.dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	list, err := s.List(t.Context())
	if err != nil || len(list) != 1 || list[0] != kept.Digest {
		t.Errorf("stored are %v, %v", list, err)
	}
}
