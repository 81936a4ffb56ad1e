// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Build is an immutable combination of inputs: component revisions and base image.
type Build struct {
	ID        string         `json:"id"`
	Number    int64          `json:"number,omitempty"` // 1, 2, 3, … in the pipeline, for people; set by the ledger, and never given again
	Pipeline  string         `json:"pipeline"`
	Stage     string         `json:"stage"` // the commit stage that makes it
	Order     int64          `json:"order"` // higher is newer; set by the ledger where it is zero
	Digest    string         `json:"digest"`
	Revision  Revision       `json:"revision"`
	Directory string         `json:"directory,omitempty"` // of the repository, in which steps run; empty for its root
	Authors   []string       `json:"authors,omitempty"`   // and committers of the commits since the build before
	BaseImage string         `json:"base_image,omitempty"`
	Artifact  *Artifact      `json:"artifact,omitempty"`                      // once the commit stage passed
	Module    *ModulePackage `json:"module,omitempty" shape:"module_package"` // once the commit stage passed, of a pipeline with a module
	Image     string         `json:"image,omitempty"`                         // application image, once a stage baked it
	BakedBy   string         `json:"baked_by,omitempty"`                      // that stage
	CreatedAt time.Time      `json:"created_at"`
	CreatedBy string         `json:"created_by,omitempty"`
}

// Artifact is the distribution that a commit stage stored.
type Artifact struct {
	Digest string `json:"digest"` // "sha256:" + hex of the content
	Name   string `json:"name"`   // base name of the file
	Size   int64  `json:"size"`   // bytes
}

var buildID = regexp.MustCompile(`^b-[0-9a-f]{10}$`)

// ValidBuildID reports whether id has the form of a build ID.
func ValidBuildID(id string) bool { return buildID.MatchString(id) }

// BuildID derives the ID of the build of a pipeline from its inputs: the digest
// of the source components and the base image. The same inputs give the same ID
// on every machine. Each part is written with its length, so that no two lists of
// inputs run into each other.
func BuildID(pipeline, sourceDigest, baseImage string) string {
	h := sha256.New()
	for _, part := range []string{"penstock-build-1", pipeline, sourceDigest, baseImage} {
		h.Write([]byte(strconv.Itoa(len(part)) + ":" + part + "\n"))
	}
	return "b-" + hex.EncodeToString(h.Sum(nil))[:10]
}

// BuildIDOf returns the ID of the build that a commit stage of the pipeline makes of its
// source. A module that does not ride with the source is one more input.
func BuildIDOf(p Pipeline, s Stage) string {
	digest := s.Source.Digest
	if m := p.Module; m != nil && m.Source != "" {
		digest += " " + hashJSON([]string{m.Source, m.Version})
	}
	return BuildID(s.Pipeline, digest, s.BaseImage)
}

// ParseBuildNumber reads the number of a build as people write it: 412 or #412. It reports
// false for any other text.
func ParseBuildNumber(text string) (int64, bool) {
	digits := strings.TrimPrefix(text, "#")
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, err == nil && n > 0 && digits[0] != '+'
}

// NamesBuild reports whether a text has the form of a build's ID or number. No pipeline and
// no stage has such a name.
func NamesBuild(text string) bool {
	_, number := ParseBuildNumber(text)
	return number || ValidBuildID(text)
}

// FirstLine returns the first line of s without surrounding space, and the second line with
// it if the first ends with a colon.
func FirstLine(s string) string {
	line, rest, _ := strings.Cut(strings.TrimSpace(s), "\n")
	if line = strings.TrimSpace(line); strings.HasSuffix(line, ":") {
		next, _, _ := strings.Cut(rest, "\n")
		return strings.TrimSpace(line + " " + strings.TrimSpace(next))
	}
	return line
}
