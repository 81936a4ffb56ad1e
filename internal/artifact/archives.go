// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package artifact

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Archives keeps the histories of removed pipelines as files of a directory, which is made
// with the first one.
type Archives struct{ dir string }

var _ pipeline.Archives = (*Archives)(nil)

// NewArchives returns the archives in a directory.
func NewArchives(dir string) *Archives { return &Archives{dir} }

// Put implements pipeline.Archives.
func (s *Archives) Put(_ context.Context, a pipeline.Archive, write func(io.Writer) error) (err error) {
	failed := func(err error) error { return pipeline.Errorf(pipeline.CodeFailed, "store archive", "%w", err) }
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return failed(err)
	}
	file, err := os.CreateTemp(s.dir, ".new-")
	if err != nil {
		return failed(err)
	}
	err = write(file)
	if synced := file.Sync(); err == nil && synced != nil {
		err = failed(synced)
	}
	if closed := file.Close(); err == nil && closed != nil {
		err = failed(closed)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	if err := os.Rename(file.Name(), s.path(a)); err != nil {
		return errors.Join(failed(err), os.Remove(file.Name()))
	}
	if err := syncDir(s.dir); err != nil {
		return failed(err)
	}
	return nil
}

func (s *Archives) path(a pipeline.Archive) string { return filepath.Join(s.dir, a.FileName()) }

// List implements pipeline.Archives.
func (s *Archives) List(context.Context) ([]pipeline.Archive, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, pipeline.Errorf(pipeline.CodeFailed, "list archives", "%w", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return parseArchives(names), nil
}

// parseArchives returns what names stand for, the newest first.
func parseArchives(names []string) []pipeline.Archive {
	all := []pipeline.Archive{}
	for _, name := range names {
		if a, ok := pipeline.ParseArchive(name); ok {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, func(a, b pipeline.Archive) int { return strings.Compare(b.FileName(), a.FileName()) })
	return all
}

// Open implements pipeline.Archives.
func (s *Archives) Open(_ context.Context, a pipeline.Archive) (io.ReadCloser, error) {
	file, err := os.Open(s.path(a))
	if err != nil {
		code := pipeline.CodeFailed
		if errors.Is(err, fs.ErrNotExist) {
			code = pipeline.CodeNotFound
		}
		return nil, pipeline.Errorf(code, "read archive", "%w", err)
	}
	return file, nil
}

// Remove implements pipeline.Archives.
func (s *Archives) Remove(_ context.Context, a pipeline.Archive) error {
	if err := os.Remove(s.path(a)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return pipeline.Errorf(pipeline.CodeFailed, "remove archive", "%w", err)
	}
	return nil
}

// archivesPrefix is where archives are in a bucket: apart from the ledger's other objects,
// which more people may write, and which have the names of pipelines.
const archivesPrefix = "archive/"

// S3Archives keeps the histories of removed pipelines as objects of a bucket.
type S3Archives struct {
	client *s3.Client
	bucket string
	dir    string // for what is on its way
}

var _ pipeline.Archives = (*S3Archives)(nil)

// NewS3Archives returns the archives in a bucket; dir is where they are while they are
// written.
func NewS3Archives(client *s3.Client, bucket, dir string) *S3Archives {
	return &S3Archives{client, bucket, dir}
}

// Put implements pipeline.Archives.
func (s *S3Archives) Put(ctx context.Context, a pipeline.Archive, write func(io.Writer) error) (err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, "store archive", "%w", err)
	}
	file, err := os.CreateTemp(s.dir, "archive-")
	if err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, "store archive", "%w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	if err := write(file); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, "store archive", "%w", err)
	}
	_, err = s.client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(s.bucket), Key: s.key(a), Body: file})
	return cloud.Fault(ctx, "store archive", err)
}

func (s *S3Archives) key(a pipeline.Archive) *string {
	return aws.String(archivesPrefix + a.FileName())
}

// List implements pipeline.Archives.
func (s *S3Archives) List(ctx context.Context) ([]pipeline.Archive, error) {
	var names []string
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: aws.String(s.bucket), Prefix: aws.String(archivesPrefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, cloud.Fault(ctx, "list archives", err)
		}
		for _, o := range page.Contents {
			names = append(names, strings.TrimPrefix(aws.ToString(o.Key), archivesPrefix))
		}
	}
	return parseArchives(names), nil
}

// Open implements pipeline.Archives.
func (s *S3Archives) Open(ctx context.Context, a pipeline.Archive) (io.ReadCloser, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(s.bucket), Key: s.key(a)})
	if err != nil {
		return nil, cloud.Fault(ctx, "read archive", err)
	}
	return out.Body, nil
}

// Remove implements pipeline.Archives.
func (s *S3Archives) Remove(ctx context.Context, a pipeline.Archive) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(s.bucket), Key: s.key(a)})
	return cloud.Fault(ctx, "remove archive", err)
}
