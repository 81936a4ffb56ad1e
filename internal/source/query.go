// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"io/fs"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Query asks for a snapshot: which commit, and which of its files belong to which
// component.
type Query struct {
	Repository string // a URL, user@host:path, or a path on this machine
	Ref        string // branch, tag, full ref ("refs/…") or whole commit ID; empty means the repository's HEAD
	Paths      pipeline.Paths
}

// Validate checks every field for what would be refused. Its errors are CodeInvalid.
func (q Query) Validate() error {
	if err := ValidateRepository(q.Repository); err != nil {
		return err
	}
	if err := ValidateRef(q.Ref); err != nil {
		return err
	}
	return validatePaths(q.Paths)
}

func validatePaths(p pipeline.Paths) error {
	if err := ValidateDirectory(p.Directory); err != nil {
		return err
	}
	if p.Directory == "" && len(p.Include) > 0 {
		return pipeline.Errorf(pipeline.CodeInvalid, "check source", "include names files outside directory, but directory is not set").
			WithHint("Set directory to the part of the repository that the pipeline builds, or remove include: without directory every file counts.")
	}
	for _, patterns := range [][]string{p.Include, p.Ignore, p.Module, p.Infrastructure, p.Configuration, p.Data} {
		for _, pattern := range patterns {
			if err := ValidateGlob(pattern); err != nil {
				return err
			}
		}
	}
	return nil
}

// ValidateDirectory checks the form of a directory of a repository. The empty one is valid,
// and means its root.
func ValidateDirectory(dir string) error {
	if dir == "" || dir != "." && fs.ValidPath(dir) && !strings.Contains(dir, `\`) && !unprintable(dir) {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeInvalid, "check directory", "directory %q is not a path below the repository's root", clip(dir)).
		WithHint("Write it relative to the root, with slashes, such as \"services/shop\"; leave it out for the whole repository.")
}

// ValidateRef checks the form of a ref by the rules of git-check-ref-format. The
// empty ref is valid, and means HEAD.
func ValidateRef(ref string) error {
	reason := refFault(ref)
	if reason == "" {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeInvalid, "check ref", "ref %q %s", clip(ref), reason).
		WithHint("Set ref to a branch, a tag, a full ref (refs/…) or a whole commit ID, or leave it out for the repository's HEAD.")
}

// maxRef is the longest ref, in bytes, that every file system can hold as a path.
const maxRef = 1000

func refFault(ref string) string {
	switch {
	case ref == "":
		return ""
	case unprintable(ref):
		return "has a control character or is not UTF-8"
	case strings.HasPrefix(ref, "-"):
		return "begins with \"-\", which git takes for an option"
	case len(ref) > maxRef:
		return "is too long"
	case strings.Contains(ref, ".."):
		return "contains \"..\": a range is not a commit"
	case strings.ContainsAny(ref, " ~^:?*[\\"):
		return "contains a character that no ref can have: a space or one of ~ ^ : ? * [ \\"
	case strings.Contains(ref, "@{") || ref == "@":
		return "contains \"@\" where git gives it a meaning"
	case strings.HasSuffix(ref, "."):
		return "ends with \".\""
	}
	for part := range strings.SplitSeq(ref, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return "has an element that is empty, begins with \".\" or ends with \".lock\""
		}
	}
	return ""
}
