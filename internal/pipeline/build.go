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

// Revision is one commit of a repository, with a digest of each component's files if it is
// known which files those are.
type Revision struct {
	Repository string     `json:"repository"`
	Ref        string     `json:"ref,omitempty"`
	Commit     string     `json:"commit"`
	Author     string     `json:"author,omitempty"`
	Committer  string     `json:"committer,omitempty"` // the author of the commit; unknown in old records
	Time       time.Time  `json:"time,omitzero" shape:"committed_at"`
	Message    string     `json:"message,omitempty"` // the first line
	Components Components `json:"components,omitzero"`
}

// Components are the digests of the files of each component: "sha256:" and the
// hex of it. A component without files has a digest too, always the same.
type Components struct {
	Application    string `json:"application"`
	Configuration  string `json:"configuration"`
	Infrastructure string `json:"infrastructure"`
	Data           string `json:"data"`
}

// Build is an immutable combination of inputs: component revisions and base image.
type Build struct {
	ID        string    `json:"id"`
	Pipeline  string    `json:"pipeline"`
	Stage     string    `json:"stage"` // the commit stage that makes it
	Order     int64     `json:"order"` // higher is newer; set by the ledger where it is zero
	Digest    string    `json:"digest"`
	Revision  Revision  `json:"revision"`
	Directory string    `json:"directory,omitempty"` // of the repository, in which steps run; empty for its root
	Authors   []string  `json:"authors,omitempty"`   // and committers of the commits since the build before
	BaseImage string    `json:"base_image,omitempty"`
	Artifact  *Artifact `json:"artifact,omitempty"` // once the commit stage passed
	Image     string    `json:"image,omitempty"`    // application image, once a stage baked it
	BakedBy   string    `json:"baked_by,omitempty"` // that stage
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by,omitempty"`
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
