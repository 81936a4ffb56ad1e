// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// gitDir is the directory of a work tree that is git's own.
const gitDir = ".git"

// workTree is a work tree that is made, with its repository.
type workTree struct {
	store   *store
	at      location
	commit  string
	dir     string
	travels bool     // it is sent elsewhere: see maxTravel
	lfs     []string // settings for Git LFS; nil where no file has attributes
	depth   int      // of submodules within submodules
}

func (w workTree) git(name string) string { return filepath.Join(w.dir, gitDir, name) }

// call is a command in the work tree.
func (w workTree) call(args ...string) call {
	return call{at: w.at, args: slices.Concat(w.lfs, []string{"-C", w.dir}, args)}
}

// maxTravel is how many bytes of objects a work tree takes along to another machine. It
// goes there with every step, and comes back, and a link of a home does some 2 MB a
// second. Where the cache has more, it takes all commits and tags along, so that versions
// and logs are the same everywhere, but the files of its own commit only: git calls that
// a partial clone, and fetches the others from the remote when they are asked for.
const maxTravel = 16 << 20

// settings are those of every work tree: git does in it what it does on all machines,
// whatever the user's own settings, and nothing in the background.
const settings = `	autocrlf = false
	eol = lf
	attributesFile = /dev/null
	excludesFile = /dev/null
	fsmonitor =
[gc]
	auto = 0
[maintenance]
	auto = false
[remote "origin"]
	url = %s
	fetch = +refs/heads/*:refs/remotes/origin/*
`

// partial are the settings of a work tree that has the files of one commit only.
const partial = `	promisor = true
	partialclonefilter = tree:0
[core]
	repositoryformatversion = 1
[extensions]
	partialClone = origin
`

// initialize makes the repository of a work tree: all but the index.
func (w workTree) initialize(ctx context.Context) error {
	c := call{args: []string{"init", "--quiet", "--template=", "--", w.dir}, env: map[string]string{"GIT_DEFAULT_REF_FORMAT": "files"}}
	if len(w.commit) == 64 {
		c.env["GIT_DEFAULT_HASH"] = "sha256"
	}
	if err := w.store.git(ctx, c); err != nil {
		return err
	}
	cache := filepath.Join(w.store.path(w.at), "objects")
	large := false
	if w.travels {
		size, err := sizeOf(cache)
		if err != nil {
			return err
		}
		large = size > maxTravel
	}
	config := "[core]\n" + fmt.Sprintf(settings, quoteConfig(w.at.public()))
	if large {
		config += partial
	}
	if err := appendFile(w.git("config"), config); err != nil {
		return err
	}
	tags, err := w.tags(ctx)
	if err != nil {
		return err
	}
	if large {
		err = w.packCommit(ctx, tags)
	} else {
		err = linkObjects(ctx, cache, w.git("objects"))
	}
	if err != nil {
		return err
	}
	boundary, err := os.ReadFile(filepath.Join(w.store.path(w.at), "shallow")) // where its history ends
	if err == nil {
		err = os.WriteFile(w.git("shallow"), boundary, 0o644)
	}
	if ignoreNotExist(err) != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(w.git("packed-refs"), []byte(tags), 0o644),
		os.WriteFile(w.git("HEAD"), []byte(w.commit+"\n"), 0o644))
}

// tags returns the tags that lead to the work tree's commit or to one before it, as git
// writes them into packed-refs.
func (w workTree) tags(ctx context.Context) (string, error) {
	var tags strings.Builder
	c := w.store.local(w.at, "for-each-ref", "--merged="+w.commit, "--format=%(objectname) %(refname)", "refs/tags/")
	c.read = func(r io.Reader) error { _, err := io.Copy(&tags, r); return err }
	err := w.store.git(ctx, c)
	return tags.String(), err
}

// packCommit returns the work tree all commits and tags, and the files of its own commit.
func (w workTree) packCommit(ctx context.Context, tags string) error {
	list, err := os.CreateTemp("", "penstock-objects-")
	if err != nil {
		return err
	}
	defer func() { _ = list.Close(); _ = os.Remove(list.Name()) }()
	write := func(r io.Reader) error { _, err := io.Copy(list, r); return err }
	for _, args := range [][]string{{"rev-list", w.commit, "--"}, {"rev-list", "--objects", "--no-walk", w.commit, "--"}} {
		c := w.store.local(w.at, args...)
		c.read = write
		if err := w.store.git(ctx, c); err != nil {
			return err
		}
	}
	for line := range strings.Lines(tags) {
		id, _, _ := strings.Cut(line, " ")
		if _, err := list.WriteString(id + "\n"); err != nil {
			return err
		}
	}
	if _, err := list.Seek(0, io.SeekStart); err != nil {
		return err
	}
	pack := w.store.local(w.at, "pack-objects", "-q", "--delta-base-offset", w.git(filepath.Join("objects", "pack", "pack")))
	pack.in = list
	name, err := w.store.output(ctx, pack)
	if err != nil {
		return err
	}
	return os.WriteFile(w.git(filepath.Join("objects", "pack", "pack-"+strings.TrimSpace(name)+".promisor")), nil, 0o444)
}

var (
	looseDir = regexp.MustCompile(`^[0-9a-f]{2}$`)
	loose    = regexp.MustCompile(`^[0-9a-f]{38}$|^[0-9a-f]{62}$`)
	packFile = regexp.MustCompile(`^pack-[0-9a-f]+\.(pack|idx|rev)$`)
)

// linkTries bounds how often packs that a fetch replaces meanwhile are listed again.
const linkTries = 10

// linkObjects returns a repository the objects of another, by hard links where the file
// system has them. Git never changes an object, so what is done in the one does not show
// in the other. A fetch may pack the objects of the other at the same time: those that
// are not in a pack come first, so that one is found here or there.
func linkObjects(ctx context.Context, from, to string) error {
	dirs, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if !looseDir.MatchString(dir.Name()) {
			continue
		}
		if err := errors.Join(ctx.Err(), linkFiles(filepath.Join(from, dir.Name()), filepath.Join(to, dir.Name()), loose)); ignoreNotExist(err) != nil {
			return err
		}
	}
	for range linkTries {
		err = errors.Join(ctx.Err(), linkFiles(filepath.Join(from, "pack"), filepath.Join(to, "pack"), packFile))
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

// linkFiles links the files of a directory whose names match. fs.ErrNotExist says that
// one has vanished; the others are there.
func linkFiles(from, to string, names *regexp.Regexp) error {
	files, err := os.ReadDir(from)
	if err != nil {
		return ignoreNotExist(err)
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	var vanished error
	for _, file := range files {
		if !names.MatchString(file.Name()) {
			continue
		}
		switch err := linkFile(filepath.Join(from, file.Name()), filepath.Join(to, file.Name())); {
		case errors.Is(err, fs.ErrNotExist):
			vanished = err
		case err != nil && !errors.Is(err, fs.ErrExist):
			return err
		}
	}
	return vanished
}

// linkFile makes a hard link, or a copy where there can be none: on another file system.
func linkFile(from, to string) error {
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// sizeOf adds up the files below a directory, in bytes. What vanishes meanwhile counts not.
func sizeOf(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreNotExist(err)
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return ignoreNotExist(err)
	})
	return size, err
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// quoteConfig quotes a value, or the name in the head of a section, for git's configuration.
func quoteConfig(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(s) + `"`
}

func appendFile(path, text string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}
