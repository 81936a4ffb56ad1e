// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const (
	manifestVersion = 1
	manifestSuffix  = ".json"
)

type kind string

const (
	kindFile kind = "file"
	kindDir  kind = "dir"
	kindLink kind = "link"
)

// manifest lists the tree of an image, in lexical order, so that a directory comes
// before its entries.
type manifest struct {
	Version int     `json:"version"`
	Entries []entry `json:"entries"`
}

// entry is a file, directory or symbolic link. Names are bytes, as not every name
// is UTF-8; JSON shows them in base64.
type entry struct {
	Path   []byte `json:"path"` // slash-separated, relative to the root
	Kind   kind   `json:"kind"`
	Mode   uint32 `json:"mode"`             // permission bits
	Size   int64  `json:"size,omitempty"`   // bytes of a file
	Digest string `json:"digest,omitempty"` // hex SHA-256 of a file
	Target []byte `json:"target,omitempty"` // of a link
}

func (e entry) name() string     { return filepath.FromSlash(string(e.Path)) }
func (e entry) executable() bool { return e.Mode&0o111 != 0 }

var (
	imageID = regexp.MustCompile(`^img-[0-9a-f]{16}$`)
	hexSum  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func validID(id string) bool { return imageID.MatchString(id) }

// id derives the image's ID from all entries. Every part is written with its
// length, so that no two trees run into each other.
func (m manifest) id() string {
	h := sha256.New()
	for _, e := range m.Entries {
		put(h, e.Path, []byte(e.Kind), fmt.Append(nil, e.Mode), fmt.Append(nil, e.Size), []byte(e.Digest), e.Target)
	}
	return "img-" + hex.EncodeToString(h.Sum(nil))[:16]
}

func put(h hash.Hash, parts ...[]byte) {
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:", len(p)) // a hash takes everything
		_, _ = h.Write(p)
	}
}

// check reports an entry that would reach outside of the root, or is no entry.
func (m manifest) check() error {
	if m.Version != manifestVersion {
		return fmt.Errorf("it has version %d, and this program knows version %d", m.Version, manifestVersion)
	}
	dirs := map[string]bool{".": true}
	seen := map[string]bool{}
	for _, e := range m.Entries {
		name := string(e.Path)
		switch {
		case name == "" || !filepath.IsLocal(filepath.FromSlash(name)) || path.Clean(name) != name || name == "." || bytes.ContainsRune(e.Path, 0):
			return fmt.Errorf("path %q leads outside of the image", name)
		case seen[name]:
			return fmt.Errorf("path %q occurs twice", name)
		case !dirs[path.Dir(name)]:
			return fmt.Errorf("path %q is in no directory of the image", name)
		case e.Mode > 0o777 || e.Size < 0:
			return fmt.Errorf("path %q has mode %o and size %d", name, e.Mode, e.Size)
		}
		seen[name] = true
		switch e.Kind {
		case kindDir:
			dirs[name] = true
		case kindFile:
			if !hexSum.MatchString(e.Digest) {
				return fmt.Errorf("file %q has no digest", name)
			}
		case kindLink:
			if len(e.Target) == 0 || bytes.ContainsRune(e.Target, 0) {
				return fmt.Errorf("link %q has no target", name)
			}
		default:
			return fmt.Errorf("path %q is of unknown kind %q", name, e.Kind)
		}
	}
	return nil
}

func decodeManifest(data []byte) (manifest, error) {
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return m, err
	}
	return m, m.check()
}

func (s *Store) manifestPath(id string) string {
	return filepath.Join(s.dir, manifestsDir, id+manifestSuffix)
}

// readManifest reads and checks the manifest of an image.
func (s *Store) readManifest(id string) (manifest, fs.FileInfo, error) {
	if !validID(id) {
		return manifest{}, nil, pipeline.Errorf(pipeline.CodeNotFound, "read image", "%q is not the ID of a local image", id)
	}
	info, err := os.Stat(s.manifestPath(id))
	var data []byte
	if err == nil {
		data, err = os.ReadFile(s.manifestPath(id))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return manifest{}, nil, pipeline.Errorf(pipeline.CodeNotFound, "read image", "there is no image %s on this machine", id).
			WithHint("Bake it again by an apply.")
	}
	if err != nil {
		return manifest{}, nil, err
	}
	m, err := decodeManifest(data)
	if err == nil && m.id() != id {
		err = errors.New("it describes another image")
	}
	if err != nil {
		return m, info, corrupt("the manifest of image %s is damaged: %s: %w", id, s.manifestPath(id), err)
	}
	return m, info, nil
}

// writeManifest makes the image exist, last of all. It replaces a manifest that is damaged.
func (s *Store) writeManifest(m manifest) error {
	path := s.manifestPath(m.id())
	if _, _, err := s.readManifest(m.id()); err == nil {
		return nil
	}
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Join(s.dir, objectsDir), "tmp-") // what a crash leaves there is swept
	if err != nil {
		return err
	}
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return syncDir(filepath.Dir(path))
}
