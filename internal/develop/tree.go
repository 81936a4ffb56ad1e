// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package develop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/regular"
)

// tree is a working tree and the copy of it that is built. The copy keeps what builds
// leave in it, so that the next one is quick.
type tree struct {
	dir, copy string
	had       map[string]string // what the copy has of the tree: stamps, by path
	head      string            // the commit of the copy's repository; empty for none
}

// git asks git about the working tree, whatever repository a hook that started this
// process is of.
func (t *tree) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", t.dir}, args...)...)
	var said bytes.Buffer
	cmd.Stderr, cmd.Env = &said, process.Environ(nil)
	out, err := cmd.Output()
	if err != nil {
		return "", pipeline.Errorf(pipeline.CodeInvalid, "read working tree", "%s: %s", t.dir, pipeline.FirstLine(said.String())).
			WithHint("Name a directory of a git repository.")
	}
	return string(out), nil
}

// takeHead gives the copy a repository of its own, at the working tree's commit: what
// asks git for a version gets that, and what is done to it is done to no other. There is
// none before the first commit, nor where the working tree is a part of a repository.
func (t *tree) takeHead(ctx context.Context, s sources) error {
	prefix, err := t.git(ctx, "rev-parse", "--show-prefix")
	if err != nil || strings.TrimSpace(prefix) != "" {
		return err
	}
	head, err := t.git(ctx, "rev-parse", "--verify", "HEAD")
	if head = strings.TrimSpace(head); err != nil || head == t.head {
		return nil
	}
	fresh := t.copy + ".head"
	defer func() { _ = os.RemoveAll(fresh) }()
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	dir, err := filepath.Abs(t.dir)
	if err != nil {
		return err
	}
	if err := s.Checkout(ctx, pipeline.CheckoutRequest{Repository: dir, Commit: head, Dir: fresh}); err != nil {
		return err
	}
	own := filepath.Join(t.copy, gitDir)
	if err := errors.Join(os.RemoveAll(own), os.Rename(filepath.Join(fresh, gitDir), own)); err != nil {
		return err
	}
	t.head = head
	return nil
}

const gitDir = ".git"

// files returns the stamps of the files in the tree: of those that git knows, and of others
// that it does not ignore.
func (t *tree) files(ctx context.Context) (map[string]string, error) {
	out, err := t.git(ctx, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for name := range strings.SplitSeq(out, "\x00") {
		if name == "" {
			continue
		}
		info, err := os.Lstat(filepath.Join(t.dir, filepath.FromSlash(name)))
		if err != nil || info.IsDir() {
			continue // deleted and not committed, or a submodule
		}
		files[name] = fmt.Sprint(info.Mode(), info.Size(), info.ModTime().UnixNano())
	}
	return files, nil
}

// state returns a text that is another one whenever the tree is.
func (t *tree) state(ctx context.Context) (string, error) {
	files, err := t.files(ctx)
	if err != nil {
		return "", err
	}
	lines := make([]string, 0, len(files))
	for name, stamp := range files {
		lines = append(lines, name+"\x00"+stamp)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n"), nil
}

// sync makes the copy what the tree is now, and says in words what has changed.
func (t *tree) sync(ctx context.Context) (string, error) {
	files, err := t.files(ctx)
	if err != nil {
		return "", err
	}
	if t.had == nil { // what an earlier process left may be anything
		if err := os.RemoveAll(t.copy); err != nil {
			return "", pipeline.Errorf(pipeline.CodeFailed, "copy working tree", "%w", err)
		}
		t.had = map[string]string{}
	}
	if err := os.MkdirAll(t.copy, 0o700); err != nil {
		return "", pipeline.Errorf(pipeline.CodeFailed, "copy working tree", "%w", err)
	}
	var changed []string
	for name := range t.had {
		if _, there := files[name]; !there {
			changed = append(changed, name)
			if err := os.Remove(filepath.Join(t.copy, filepath.FromSlash(name))); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", pipeline.Errorf(pipeline.CodeFailed, "copy working tree", "%w", err)
			}
			delete(t.had, name)
		}
	}
	for name, stamp := range files {
		if t.had[name] == stamp {
			continue
		}
		if err := ctx.Err(); err != nil {
			return "", err
		}
		changed = append(changed, name)
		if err := t.take(name); err != nil {
			return "", pipeline.Errorf(pipeline.CodeFailed, "copy working tree", "%s: %w", name, err)
		}
		t.had[name] = stamp
	}
	slices.Sort(changed)
	if len(changed) > 3 {
		return fmt.Sprintf("%d files", len(changed)), nil
	}
	return strings.Join(changed, ", "), nil
}

// take copies one file, or a link as it is. Times stay, so that tools see what is new.
func (t *tree) take(name string) error {
	from, to := filepath.Join(t.dir, filepath.FromSlash(name)), filepath.Join(t.copy, filepath.FromSlash(name))
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	}
	in, err := regular.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm()|0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}
