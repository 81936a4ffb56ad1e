// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package workplace

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (%s)", err, reason.Hint(err))
	}
}

// home is a state directory of a user, in which no place was made yet.
func home(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	t.Setenv(Variable, "")
	t.Setenv("XDG_STATE_HOME", dir)
	return filepath.Join(dir, "penstock")
}

func dataDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "deploy", ".penstock")
	must(t, os.MkdirAll(dir, 0o700))
	return dir
}

func opened(t *testing.T, data string) *Place {
	t.Helper()
	p, err := Open(data)
	must(t, err)
	t.Cleanup(func() { _ = p.Release() })
	return p
}

func places(t *testing.T, base string) (names []string) {
	t.Helper()
	entries, _ := os.ReadDir(base)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestPlaceIsKeptForItsDataDirectory(t *testing.T) {
	base, data := home(t), dataDir(t)
	var all sync.WaitGroup
	dirs := make([]string, 8)
	for i := range dirs { // processes that begin at the same time agree
		all.Go(func() {
			p, err := Open(data)
			if err != nil {
				t.Error(err)
				return
			}
			dirs[i] = p.Dir
			t.Cleanup(func() { _ = p.Release() })
		})
	}
	all.Wait()
	for _, dir := range dirs {
		if dir != dirs[0] {
			t.Errorf("places are %q", dirs)
		}
	}
	info, err := os.Stat(dirs[0])
	must(t, err)
	if list := places(t, base); info.Mode().Perm() != 0o700 || len(list) != 1 || !strings.HasPrefix(list[0], "deploy-") {
		t.Errorf("places are %q, with mode %v", list, info.Mode())
	}
	if other := opened(t, dataDir(t)); other.Dir == dirs[0] {
		t.Error("two data directories share a place")
	}
}

func TestPlaceGoesWithItsDataDirectory(t *testing.T) {
	base, data := home(t), dataDir(t)
	p := opened(t, data)
	must(t, os.MkdirAll(filepath.Join(p.Dir, "runs", "r-1"), 0o500))
	second := opened(t, data)
	must(t, p.Remove())
	if _, err := os.Stat(second.Dir); err != nil {
		t.Errorf("a place was removed that is in use: %v", err)
	}
	must(t, second.Remove())
	if _, err := os.Stat(base); !os.IsNotExist(err) || len(places(t, data)) > 0 {
		t.Errorf("left are %q and %q", places(t, base), places(t, data))
	}
	// One whose data directory was removed by hand goes when nobody uses it.
	p = opened(t, data)
	must(t, os.RemoveAll(data))
	held, err := Lock(p.Dir) // as a supervisor does
	must(t, err)
	must(t, p.Release())
	third := opened(t, dataDir(t))
	if list := places(t, base); len(list) != 2 {
		t.Errorf("places are %q, and one is in use", list)
	}
	must(t, held.Close())
	must(t, os.Mkdir(filepath.Join(base, "mine"), 0o700)) // somebody's own
	must(t, os.WriteFile(filepath.Join(base, "mine", "file"), nil, 0o600))
	opened(t, dataDir(t))
	if list := places(t, base); len(list) != 3 || !exists(third.Dir) || !exists(filepath.Join(base, "mine", "file")) || exists(p.Dir) {
		t.Errorf("places are %q", list)
	}
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

func TestDataDirectoryThatWasMovedOrCopied(t *testing.T) {
	base, data := home(t), dataDir(t)
	p := opened(t, data)
	must(t, p.Release())
	moved := filepath.Join(t.TempDir(), "moved")
	must(t, os.Rename(data, moved))
	now := opened(t, moved)
	if now.Dir != p.Dir || !exists(p.Dir) {
		t.Errorf("a moved one has %s, and had %s", now.Dir, p.Dir)
	}
	copied := dataDir(t)
	must(t, os.CopyFS(copied, os.DirFS(moved)))
	if other := opened(t, copied); other.Dir == p.Dir {
		t.Error("a copy shares the place")
	}
	must(t, os.RemoveAll(p.Dir)) // by somebody who cleans up
	if again := opened(t, moved); !exists(again.Dir) {
		t.Error("a place that was removed is not made again")
	}
	if list := places(t, base); len(list) != 2 {
		t.Errorf("places are %q", list)
	}
}

func TestPlaceThatTheUserNames(t *testing.T) {
	home(t)
	data, named := dataDir(t), filepath.Join(t.TempDir(), "named")
	before := opened(t, data)
	must(t, os.MkdirAll(filepath.Join(before.Dir, "environments", "e-1"), 0o700))
	t.Setenv(Variable, named)
	_, err := Open(data)
	if pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), named) || !strings.Contains(reason.Hint(err), filepath.Dir(before.Dir)) {
		t.Errorf("with an environment in the place of before: %v (%s)", err, reason.Hint(err))
	}
	must(t, os.RemoveAll(filepath.Join(before.Dir, "environments", "e-1")))
	must(t, before.Release())
	p := opened(t, data)
	if filepath.Base(filepath.Dir(p.Dir)) != "named" || exists(before.Dir) {
		t.Errorf("the place is %s", p.Dir)
	}
	must(t, p.Remove())
	if !exists(named) {
		t.Error("the user's directory was removed")
	}
	project := t.TempDir()
	must(t, os.Mkdir(filepath.Join(project, ".git"), 0o700))
	t.Setenv(Variable, filepath.Join(project, "work"))
	if _, err := Open(dataDir(t)); pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), filepath.Join(project, ".git")) {
		t.Errorf("in a repository: %v", err)
	}
}

// What others could have put there, or could change, is refused.
func TestPlaceOfOthers(t *testing.T) {
	top := t.TempDir()
	open := filepath.Join(top, "open")
	must(t, os.Mkdir(open, 0o700))
	must(t, os.Chmod(open, 0o777))
	t.Setenv(Variable, filepath.Join(open, "work"))
	if _, err := Open(dataDir(t)); pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), "other users may write in") {
		t.Errorf("below a directory that is everybody's: %v", err)
	}
	must(t, os.Chmod(open, 0o777|os.ModeSticky)) // as /tmp is
	p, err := Open(dataDir(t))
	must(t, err)
	must(t, p.Remove())
	if os.Geteuid() != 0 {
		return // who is not root can't give a directory away
	}
	const other = 12345
	for what, make := range map[string]func(path string) error{
		"directory": func(path string) error { return os.Mkdir(path, 0o777) },
		"link":      func(path string) error { return os.Symlink(t.TempDir(), path) },
	} {
		path := filepath.Join(open, what)
		must(t, make(path))
		must(t, os.Lchown(path, other, other))
		t.Setenv(Variable, path)
		if _, err := Open(dataDir(t)); pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), "belongs to") {
			t.Errorf("a %s of another user: %v", what, err)
		}
	}
}

func TestSurroundings(t *testing.T) {
	base, data := home(t), dataDir(t)
	p := opened(t, data)
	above := filepath.Dir(base)
	must(t, os.Mkdir(filepath.Join(above, ".git"), 0o700))
	if got := p.Surroundings(); got != "" {
		t.Errorf("with a repository above: %q", got)
	}
	must(t, os.Mkdir(filepath.Join(above, "node_modules"), 0o700))
	if got := p.Surroundings(); !strings.Contains(got, filepath.Join(above, "node_modules")) {
		t.Errorf("with modules above: %q", got)
	}
}

func TestNoHome(t *testing.T) {
	t.Setenv(Variable, "")
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("HOME", "")
	if _, err := Open(dataDir(t)); pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(reason.Hint(err), Variable) {
		t.Errorf("without a home directory: %v", err)
	}
}
