// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// lfsFilter are the settings that `git lfs install` makes for a user. They are given
// whether the user has them or not.
var lfsFilter = [][2]string{
	{"clean", "git-lfs clean -- %f"}, {"smudge", "git-lfs smudge -- %f"}, {"process", "git-lfs filter-process"}, {"required", "true"},
}

// largeFiles returns the settings of a command that puts files of Git LFS into a work
// tree. Without Git LFS on this machine nothing is fetched, and checkLargeFiles finds that
// out.
func largeFiles() []string {
	var args []string
	if _, err := exec.LookPath("git-lfs"); err != nil {
		return []string{"-c", "filter.lfs.process=", "-c", "filter.lfs.smudge=", "-c", "filter.lfs.clean=", "-c", "filter.lfs.required=false"}
	}
	for _, setting := range lfsFilter {
		args = append(args, "-c", "filter.lfs."+setting[0]+"="+setting[1])
	}
	return args
}

// readFiles has git put the files of the commit into the work tree. What Git LFS fetches
// is kept with the cache, for the next one: the work tree's own configuration says so for
// as long as that takes (a setting in the environment would count for the remote, too).
func (w workTree) readFiles(ctx context.Context) error {
	read := w.call("read-tree", "--reset", "-u", "--no-sparse-checkout", "--no-recurse-submodules", w.commit)
	if w.lfs == nil {
		return w.store.git(ctx, read)
	}
	config, err := os.ReadFile(w.git("config"))
	if err != nil {
		return err
	}
	if err := appendFile(w.git("config"), "[lfs]\n\tstorage = "+quoteConfig(filepath.Join(w.store.path(w.at), "lfs"))+"\n"); err != nil {
		return err
	}
	read.far = true
	if err := w.store.git(ctx, read); err != nil {
		return err
	}
	if err := os.WriteFile(w.git("config"), config, 0o644); err != nil {
		return err
	}
	return w.checkLargeFiles(ctx)
}

// checkLargeFiles sees that no file is in the work tree as what Git LFS has in its place,
// and lets git in the work tree know of Git LFS where there are files of it.
func (w workTree) checkLargeFiles(ctx context.Context) error {
	var files []string
	list := w.call("ls-files", "-z", "--", ":(attr:filter=lfs)")
	list.read = func(r io.Reader) error {
		text, err := io.ReadAll(r)
		files = strings.FieldsFunc(string(text), func(c rune) bool { return c == 0 })
		return err
	}
	if err := w.store.git(ctx, list); err != nil || len(files) == 0 {
		return err
	}
	for _, file := range files {
		pointer, err := isPointer(filepath.Join(w.dir, filepath.FromSlash(file)))
		if err != nil {
			return err
		}
		if pointer {
			return pipeline.Errorf(pipeline.CodeInvalid, "check out commit", "file %q is in Git LFS, but this machine can't fetch it", clip(file)).
				WithHint("Install git-lfs on the machine that runs Terraform, and put it on its PATH; `git lfs pull` in a clone shows whether the server lets this user in.")
		}
	}
	config := "[filter \"lfs\"]\n"
	for _, setting := range lfsFilter {
		config += "\t" + setting[0] + " = " + quoteConfig(setting[1]) + "\n"
	}
	return appendFile(w.git("config"), config)
}

// isPointer reports whether a file holds what Git LFS has in place of a large one.
func isPointer(path string) (bool, error) {
	const begin = "version https://git-lfs.github.com/spec/"
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = file.Close() }()
	head := make([]byte, len(begin))
	n, err := io.ReadFull(file, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	return bytes.Equal(head[:n], []byte(begin)), nil
}
