// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// modulesFile says which repositories the submodules of a commit are.
const modulesFile = ".gitmodules"

// maxNested is how deep submodules may be nested: one that holds itself ends there.
const maxNested = 10

// submodule is what modulesFile says of one.
type submodule struct{ name, path, url, update string }

// checkOutSubmodules checks out the submodules of a work tree, each at the commit that it
// is pinned to. One that modulesFile does not name, or says not to update, stays an empty
// directory, as git leaves it.
func (w workTree) checkOutSubmodules(ctx context.Context, paths *paths) error {
	if len(paths.submodules) == 0 || !paths.modules {
		return nil
	}
	modules, err := w.submodules(ctx)
	if err != nil {
		return err
	}
	for _, m := range modules {
		commit, pinned := paths.submodules[m.path]
		if !pinned || m.update == "none" {
			continue
		}
		if err := w.checkOutSubmodule(ctx, m, commit); err != nil {
			return fmt.Errorf("submodule %q: %w", clip(m.path), err)
		}
	}
	return nil
}

func (w workTree) checkOutSubmodule(ctx context.Context, m submodule, commit string) error {
	if w.depth == maxNested {
		return pipeline.Errorf(pipeline.CodeInvalid, "check out submodule", "submodules are nested more than %d deep", maxNested)
	}
	at, err := w.at.submodule(m.url)
	if err != nil {
		return err
	}
	dir := filepath.Join(w.dir, filepath.FromSlash(m.path))
	err = w.store.with(ctx, at, commit, func() error {
		if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)); err != nil {
			return err
		}
		return workTree{store: w.store, at: at, commit: commit, dir: dir, travels: w.travels, depth: w.depth + 1}.checkOut(ctx)
	})
	if err != nil {
		return err
	}
	return appendFile(w.git("config"), fmt.Sprintf("[submodule %s]\n\tactive = true\n\turl = %s\n", quoteConfig(m.name), quoteConfig(at.public())))
}

// submodules reads what the commit says of its submodules, in the order of their paths.
func (w workTree) submodules(ctx context.Context) ([]submodule, error) {
	text, err := w.store.output(ctx, w.store.local(w.at, "config", "-z", "--blob="+w.commit+":"+modulesFile, "--get-regexp", `^submodule\..*\.(path|url|update)$`))
	var said *gitError
	if errors.As(err, &said) && said.status == 1 {
		return nil, nil
	}
	if errors.As(err, &said) {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, "read submodules", "%s of commit %s: %w", modulesFile, w.commit, err).
			WithHint("Correct the file, and commit it.")
	}
	byName := map[string]submodule{}
	for setting := range strings.SplitSeq(text, "\x00") {
		key, value, _ := strings.Cut(setting, "\n")
		end := strings.LastIndexByte(key, '.')
		if end < len("submodule.") {
			continue
		}
		name := key[len("submodule."):end]
		m := byName[name]
		m.name = name
		switch key[end+1:] {
		case "path":
			m.path = value
		case "url":
			m.url = value
		case "update":
			m.update = value
		}
		byName[name] = m
	}
	return slices.SortedFunc(maps.Values(byName), func(a, b submodule) int { return strings.Compare(a.path, b.path) }), err
}

// submodule locates a submodule of the repository. Its URL may be relative to the
// repository's. The repository's credentials are for its own host only, and a repository
// from elsewhere may name none on this machine.
func (l location) submodule(url string) (location, error) {
	if strings.HasPrefix(url, "./") || strings.HasPrefix(url, "../") {
		url = relativeTo(l.public(), url)
	}
	at, err := locate(url, l.dir)
	if err != nil {
		return location{}, err
	}
	if at.dir != "" && l.dir == "" {
		return location{}, badRepository(redact(url), "is on this machine, but the repository that names it as a submodule is not")
	}
	if l.password != "" && at.password == "" && at.dir == "" && strings.Contains(at.address, "://") && hostOf(at.address) == hostOf(l.address) {
		at.username, at.password = l.username, l.password
	}
	return at, nil
}

// relativeTo resolves a relative URL as git does: each "../" takes an element from the end
// of the base, which may stand behind a colon.
func relativeTo(base, url string) string {
	base = strings.TrimRight(base, "/")
	for {
		if rest, ok := strings.CutPrefix(url, "./"); ok {
			url = rest
			continue
		}
		rest, ok := strings.CutPrefix(url, "../")
		cut := strings.LastIndexAny(base, "/:")
		if !ok || cut < 0 {
			break
		}
		url = rest
		if base[cut] == ':' {
			return base[:cut+1] + url
		}
		base = base[:cut]
	}
	return base + "/" + strings.TrimRight(url, "/")
}
