// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Store keeps small objects by key, and changes one only for who knows its present version:
// of two who change one at the same time, one gets CodeConflict. A change is durable when the
// call returns. After a lost answer it may have been made. All methods may be used
// concurrently, by several machines. Keys are slash-separated, and have no "." or "..".
type Store interface {
	// Get returns an object and its version; CodeNotFound without one.
	Get(ctx context.Context, key string) (data []byte, version string, err error)
	// Put writes an object, and returns its new version. With version "" it must not exist.
	Put(ctx context.Context, key string, data []byte, version string) (string, error)
	// Delete removes an object of any version. One that is not there is no error.
	Delete(ctx context.Context, key string) error
	// List returns the keys that begin with a prefix, sorted.
	List(ctx context.Context, prefix string) ([]string, error)
}

// escape makes one part of a key of any text.
func escape(name string) string {
	escaped := url.PathEscape(name)
	if strings.Trim(escaped, ".") == "" || strings.HasPrefix(escaped, ".") {
		escaped = strings.ReplaceAll(escaped, ".", "%2E")
	}
	return escaped
}

func conflict(key string) error {
	return pipeline.Errorf(pipeline.CodeConflict, "store "+key, "somebody else changed it at the same time")
}

func missing(key string) error {
	return pipeline.Errorf(pipeline.CodeNotFound, "read "+key, "there is none")
}

// DirStore is a Store in a directory that only its owner can read, for the processes of one
// machine. The directory is made with the first object.
type DirStore struct{ dir string }

var _ Store = (*DirStore)(nil)

// NewDirStore returns the store in a directory.
func NewDirStore(dir string) *DirStore { return &DirStore{dir} }

func (s *DirStore) path(key string) string { return filepath.Join(s.dir, filepath.FromSlash(key)) }

// Get implements Store.
func (s *DirStore) Get(_ context.Context, key string) ([]byte, string, error) {
	data, err := os.ReadFile(s.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", missing(key)
	}
	if err != nil {
		return nil, "", pipeline.Errorf(pipeline.CodeFailed, "read "+key, "%w", err)
	}
	return data, digestOf(data), nil
}

// digestOf returns "sha256:" and the hex SHA-256 of data.
func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Put implements Store. Writers take turns by a lock of the directory.
func (s *DirStore) Put(ctx context.Context, key string, data []byte, version string) (string, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	switch _, present, err := s.Get(ctx, key); {
	case err != nil && !pipeline.IsNotFound(err):
		return "", err
	case present != version:
		return "", conflict(key)
	}
	if err := writeFile(s.path(key), data); err != nil {
		return "", pipeline.Errorf(pipeline.CodeFailed, "store "+key, "%w", err)
	}
	return digestOf(data), nil
}

func (s *DirStore) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, pipeline.Errorf(pipeline.CodeFailed, "lock store", "%w", err)
	}
	file, err := lockFile(ctx, filepath.Join(s.dir, ".lock"), "the store of modules' states")
	if err != nil {
		return nil, err
	}
	return func() { _ = file.Close() }, nil
}

// Delete implements Store. Directories that have become empty go, too.
func (s *DirStore) Delete(ctx context.Context, key string) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.Remove(s.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return pipeline.Errorf(pipeline.CodeFailed, "remove "+key, "%w", err)
	}
	for dir := path.Dir(key); dir != "."; dir = path.Dir(dir) {
		if os.Remove(s.path(dir)) != nil {
			break
		}
	}
	return nil
}

// List implements Store.
func (s *DirStore) List(_ context.Context, prefix string) ([]string, error) {
	var keys []string
	err := filepath.WalkDir(s.dir, func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			return err
		}
		key, err := filepath.Rel(s.dir, name)
		if key = filepath.ToSlash(key); strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
		return err
	})
	if err != nil {
		return nil, pipeline.Errorf(pipeline.CodeFailed, "list states of modules", "%w", err)
	}
	slices.Sort(keys)
	return keys, nil
}

// writeFile replaces a file at once, for its owner only. It is on the disk when the call
// returns.
func writeFile(name string, data []byte) (err error) {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return syncDir(dir)
}
