// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
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

// clip shortens foreign text for a message, which quotes it.
func clip(s string) string { return present.Cut(s, 200) }
