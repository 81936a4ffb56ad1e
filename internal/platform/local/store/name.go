// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Name leads to an image. While it does, the image can't be removed.
type Name struct {
	Pipeline string `json:"pipeline"`
	Name     string `json:"name"`
	Owner    string `json:"owner"` // the stage, or the run of the baked image
	Image    string `json:"image"`
	Build    string `json:"build,omitempty"` // that the image is of
}

const (
	namesDir   = "names"
	nameSuffix = ".json"
)

// validName is what the parts of a name are: those of the path of its file.
var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// ValidName reports whether a text can be a name.
func ValidName(name string) bool { return validName.MatchString(name) }

func (s *Store) namePath(pipelineName, name string) string {
	return filepath.Join(s.dir, namesDir, pipelineName, name+nameSuffix)
}

// Point lets a name lead to an image: whoever reads its file finds either what it led to
// before or the new image. It returns CodeNotFound for an image that does not exist.
// allowed is asked while nothing else can change, with what there is of the name; nil
// stands for none, or for a damaged file. An error of it is returned.
func (s *Store) Point(ctx context.Context, n Name, allowed func(before *Name) error) error {
	op := "point name " + n.Name
	if !validName.MatchString(n.Pipeline) || !validName.MatchString(n.Name) {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is no name: it is at most 100 letters, digits, dots, dashes and underscores, and begins with a letter or digit", n.Name)
	}
	unlock, err := s.lock(ctx, exclusive)
	if err != nil {
		return err
	}
	defer unlock()
	before, err := s.before(ctx, n.Pipeline, n.Name)
	if err != nil {
		return err
	}
	if err := allowed(before); err != nil {
		return err
	}
	if _, _, err := s.readManifest(n.Image); err != nil {
		return failed(ctx, op, err)
	}
	if before != nil && *before == n {
		return nil
	}
	data, err := json.Marshal(n)
	if err != nil {
		return failed(ctx, op, err)
	}
	path := s.namePath(n.Pipeline, n.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return failed(ctx, op, err)
	}
	temp, err := os.CreateTemp(filepath.Join(s.dir, objectsDir), "tmp-") // what a crash leaves there is swept
	if err != nil {
		return failed(ctx, op, err)
	}
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return failed(ctx, op, errors.Join(err, os.Remove(temp.Name())))
	}
	return failed(ctx, op, syncDir(filepath.Dir(path)))
}

// Unpoint removes a name, if allowed lets it. That is asked as by Point.
func (s *Store) Unpoint(ctx context.Context, pipelineName, name string, allowed func(before *Name) (leave bool, err error)) error {
	op := "remove name " + name
	if _, err := os.Stat(s.dir); errors.Is(err, fs.ErrNotExist) {
		_, err := allowed(nil)
		return err
	}
	unlock, err := s.lock(ctx, exclusive)
	if err != nil {
		return err
	}
	defer unlock()
	before, err := s.before(ctx, pipelineName, name)
	if err != nil {
		return err
	}
	if leave, err := allowed(before); err != nil || leave {
		return err
	}
	path := s.namePath(pipelineName, name)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed(ctx, op, err)
	}
	_ = os.Remove(filepath.Dir(path)) // stays where there are others
	_ = os.Remove(filepath.Join(s.dir, namesDir))
	return nil
}

// Name returns what there is of a name; nil where there is nothing. It returns CodeCorrupt for a
// file that something else has changed.
func (s *Store) Name(ctx context.Context, pipelineName, name string) (*Name, error) {
	op := "read name " + name
	data, err := os.ReadFile(s.namePath(pipelineName, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, failed(ctx, op, err)
	}
	var n Name
	if err := json.Unmarshal(data, &n); err != nil || n.Pipeline != pipelineName || n.Name != name || n.Owner == "" || n.Image == "" {
		return nil, damaged(op, s.namePath(pipelineName, name), err)
	}
	return &n, nil
}

// damaged is the error for the file of a name that something else has changed.
func damaged(op, path string, err error) error {
	if err == nil {
		err = errors.New("it does not say whose it is, or where it leads")
	}
	return pipeline.Errorf(pipeline.CodeCorrupt, op, "file %s is damaged: %w", path, err).
		WithHint("Something changed the files in the data directory. Remove %s: an apply writes it again if a channel has the name.", path)
}

// before returns what there is of a name that is about to be changed. A file that is damaged leads
// nobody anywhere, so it is like none.
func (s *Store) before(ctx context.Context, pipelineName, name string) (*Name, error) {
	n, err := s.Name(ctx, pipelineName, name)
	if pipeline.CodeOf(err) == pipeline.CodeCorrupt {
		return nil, nil
	}
	return n, err
}

// named returns a name that leads to an image; empty for none.
func (s *Store) named(ctx context.Context, image string) (string, error) {
	files, err := filepath.Glob(filepath.Join(s.dir, namesDir, "*", "*"+nameSuffix))
	if err != nil {
		return "", failed(ctx, "list names", err)
	}
	for _, file := range files {
		n, err := s.Name(ctx, filepath.Base(filepath.Dir(file)), strings.TrimSuffix(filepath.Base(file), nameSuffix))
		if err != nil {
			return "", err
		}
		if n != nil && n.Image == image {
			return n.Name, nil
		}
	}
	return "", nil
}
