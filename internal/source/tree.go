// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// entry is a file of a commit. ID is the hash that git gives its content: the
// text of a file, the target of a link, the commit of a submodule.
type entry struct{ mode, id, path string }

// File modes of git.
const (
	modeLink      = "120000"
	modeSubmodule = "160000"
)

// maxTreeLine is the longest entry that is read, in bytes: sixteen times the
// longest path that a file system takes.
const maxTreeLine = 64 << 10

var (
	treeLine = regexp.MustCompile(`^([0-7]{6}) (blob|commit) ([0-9a-f]{40}|[0-9a-f]{64})\t`)
	gitName  = regexp.MustCompile(`(?i)^\.git *\.*$`)
)

// readTree calls f for every entry that `git ls-tree -r -z` prints, in its order,
// which is that of the bytes of the paths. It refuses paths that no clean work tree
// can hold.
func readTree(r io.Reader, f func(entry) error) error {
	in := bufio.NewReaderSize(r, maxTreeLine)
	for {
		raw, err := in.ReadSlice(0)
		line := strings.TrimSuffix(string(raw), "\x00")
		switch {
		case errors.Is(err, io.EOF) && line == "":
			return nil
		case err != nil:
			return fmt.Errorf("list of files ends within the entry %q: %w", clip(line), err)
		}
		m := treeLine.FindStringSubmatch(line)
		if m == nil {
			return fmt.Errorf("list of files has the entry %q", clip(line))
		}
		e := entry{mode: m[1], id: m[3], path: line[len(m[0]):]}
		if reason := pathFault(e.path); reason != "" {
			return pipeline.Errorf(pipeline.CodeInvalid, "read commit", "path %q %s", clip(e.path), reason).
				WithHint("Somebody may have made this commit to write outside the checkout. Find out who, and build another commit.")
		}
		if err := f(e); err != nil {
			return err
		}
	}
}

func pathFault(path string) string {
	for part := range strings.SplitSeq(path, "/") {
		switch {
		case part == "":
			return "has an empty element"
		case part == "." || part == "..":
			return "has the element \"" + part + "\""
		case gitName.MatchString(part):
			return "leads into a git directory"
		}
	}
	return ""
}

// digests adds up the entries of each component.
type digests struct{ sums [components]hash.Hash }

func newDigests() *digests {
	d := &digests{}
	for i := range d.sums {
		d.sums[i] = sha256.New()
		_, _ = io.WriteString(d.sums[i], "penstock-component-1\n")
	}
	return d
}

// add counts a file. Neither mode, ID nor path can hold a NUL, so that no two
// lists of files run into each other.
func (d *digests) add(to component, e entry) {
	_, _ = io.WriteString(d.sums[to], e.mode+" "+e.id+" "+e.path+"\x00")
}

func (d *digests) components() pipeline.Components {
	return pipeline.Components{
		Application:    format(d.sums[application]),
		Configuration:  format(d.sums[configuration]),
		Infrastructure: format(d.sums[infrastructure]),
		Data:           format(d.sums[data]),
	}
}

func format(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// sourceDigest digests what concerns the application's stages.
func sourceDigest(q Query, c pipeline.Components) string {
	return combine(q, "application", c.Application, "configuration", c.Configuration, "data", c.Data)
}

// imageDigest digests what concerns the base image.
func imageDigest(q Query, c pipeline.Components) string {
	return combine(q, "infrastructure", c.Infrastructure, "configuration", c.Configuration)
}

// combine digests named digests, and the directory: the same files are built elsewhere in
// another one.
func combine(q Query, named ...string) string {
	if q.Directory != "" {
		named = append(named, "directory", strconv.Quote(q.Directory))
	}
	h := sha256.New()
	_, _ = io.WriteString(h, "penstock-source-1\n"+strings.Join(named, "\n")+"\n")
	return format(h)
}

// clip shortens foreign text for a message, which quotes it.
func clip(s string) string { return present.Cut(s, 200) }
