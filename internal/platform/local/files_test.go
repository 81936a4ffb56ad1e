// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestLines(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		secrets []string
		chunks  []string
		want    string
	}{
		"whole lines":          {nil, []string{"a", "b\nc", "\n"}, "ab\nc\n"},
		"an end without LF":    {nil, []string{"a\nb"}, "a\nb\n"},
		"CR and CRLF":          {nil, []string{"10%\r20%\r\ndone\r\n"}, "10%\n20%\ndone\n"},
		"controls and rubbish": {nil, []string{"\x1b[31mred\x00\xff\n"}, `red\x00\xff` + "\n"},
		"a secret in chunks":   {[]string{"hush-1"}, []string{"x hu", "sh-1 y\n"}, "x *** y\n"},
		"a coloured secret":    {[]string{"hush-1"}, []string{"hush\x1b[1m-1\n"}, "***\n"},
		"a secret of lines":    {[]string{"{\nhush-1\nhush-2\n}"}, []string{"{\nhush-2\n"}, "{\n***\n"},
		"an empty secret":      {[]string{"", " "}, []string{"a b\n"}, "a b\n"},
		"one in another":       {[]string{"hush", "hush-1"}, []string{"hush-1 hush\n"}, "*** ***\n"},
		"two that overlap":     {[]string{"hush-1", "1-2-3"}, []string{"hush-1-2-3\n"}, "***\n"},
		"a short secret":       {[]string{"42"}, []string{"is 42\n"}, "is ***\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			l := newLines(&out, newMasker(test.secrets))
			for _, c := range test.chunks {
				_, _ = l.Write([]byte(c))
			}
			l.tail()
			if out.String() != test.want {
				t.Errorf("got %q, want %q", out.String(), test.want)
			}
		})
	}
}

// A line of any length needs little memory, and a secret at its cut is hidden.
func TestLongLine(t *testing.T) {
	t.Parallel()
	const secret = "hush-1234567890"
	for offset := range 2 * len(secret) {
		var out strings.Builder
		l := newLines(&out, newMasker([]string{secret}))
		_, _ = l.Write([]byte(secret + strings.Repeat("x", maxLine-2*len(secret)+offset) + secret))
		for range 100 {
			_, _ = l.Write([]byte(strings.Repeat("y", 10_000)))
		}
		_, _ = l.Write([]byte("\nnext\n"))
		got := out.String()
		if strings.Contains(got, "hush") || len(got) > maxLine+100 || !strings.HasSuffix(got, "\nnext\n") {
			t.Fatalf("offset %d: the output has %d bytes and ends with %q", offset, len(got), got[max(0, len(got)-50):])
		}
		if len(l.part) > 0 || cap(l.part) > 4*maxLine || len(l.tail()) != 2 {
			t.Fatalf("%d bytes are kept", cap(l.part))
		}
	}
}

func TestLogFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	l, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	line := strings.Repeat("x", 999) + "\n"
	for range 3 * maxLog / len(line) {
		if _, err := l.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 2 {
		t.Fatalf("there are %v, %v", entries, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Size() > maxLog || info.Size() == 0 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has %d bytes and mode %v, %v", e.Name(), info.Size(), info.Mode(), err)
		}
	}
	if got := lastLines(path, 3); len(got) != 3 || got[2] != strings.TrimSpace(line) {
		t.Errorf("the last lines are %d", len(got))
	}
	if got := lastLines(path+".none", 3); got != nil {
		t.Errorf("a log that isn't there gives %q", got)
	}
}

func TestCopyTree(t *testing.T) {
	t.Parallel()
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(from, "a/empty"), 0o755))
	must(os.WriteFile(filepath.Join(from, "a/run"), []byte("text"), 0o755))
	must(os.WriteFile(filepath.Join(from, "secret"), []byte("s"), 0o400))
	must(os.Symlink("a/run", filepath.Join(from, "link")))
	must(os.Symlink("../outside", filepath.Join(from, "dangling")))
	must(os.Chmod(filepath.Join(from, "a"), 0o555))
	must(copyTree(t.Context(), from, to))
	for path, mode := range map[string]os.FileMode{
		"a": os.ModeDir | 0o555, "a/empty": os.ModeDir | 0o755, "a/run": 0o755, "secret": 0o400,
		"link": os.ModeSymlink | 0o777, "dangling": os.ModeSymlink | 0o777,
	} {
		info, err := os.Lstat(filepath.Join(to, path))
		must(err)
		if got := info.Mode(); got != mode && got.Type() != os.ModeSymlink {
			t.Errorf("%s has mode %v, want %v", path, got, mode)
		}
	}
	if target, err := os.Readlink(filepath.Join(to, "dangling")); target != "../outside" {
		t.Errorf("the link leads to %q, %v", target, err)
	}
	if data, err := os.ReadFile(filepath.Join(to, "link")); string(data) != "text" {
		t.Errorf("the link gives %q, %v", data, err)
	}
	for _, dir := range []string{from, to} {
		must(removeTree(dir))
		must(removeTree(dir)) // again
		if exists(dir) {
			t.Errorf("%s is left", dir)
		}
	}
	if err := copyTree(t.Context(), from, to); err == nil {
		t.Error("a tree that isn't there was copied")
	}
}

// A bake that was killed leaves nothing for long.
func TestDeadBake(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	dead := filepath.Join(b.Work, bakesDir, "r-dead")
	b.must(os.MkdirAll(filepath.Join(dead, instanceRoot, "etc"), 0o755))
	b.must(os.Chmod(filepath.Join(dead, instanceRoot), 0o555))
	alive := filepath.Join(b.Work, bakesDir, "r-alive")
	b.must(os.MkdirAll(alive, 0o755))
	lock, err := tryLock(filepath.Join(alive, lockFile))
	b.must(err)
	image, err := b.Bake(t.Context(), pipeline.BakeRequest{Token: "r-1", Tree: t.TempDir(), Commands: []pipeline.Command{{Line: "echo x >f"}}})
	b.must(err)
	if exists(dead) || !exists(alive) {
		t.Errorf("a dead bake is there: %v; a living one is: %v", exists(dead), exists(alive))
	}
	_, err = b.Bake(t.Context(), pipeline.BakeRequest{Token: "r-alive", Tree: t.TempDir(), Commands: []pipeline.Command{{Line: "true"}}})
	b.wantError(err, pipeline.CodeConflict, "")
	b.must(lock.Close())
	b.must(b.RemoveImage(t.Context(), image.ID))
}
