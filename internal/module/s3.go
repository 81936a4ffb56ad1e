// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
)

// S3Prefix is where the states of modules are in a stack's bucket. What is below it is
// secret, as states have passwords: deployers may read all of it, and launchers what is below
// its environments/. The bucket keeps earlier versions.
const S3Prefix = "modules/"

// S3Store is a Store in a bucket. An object's version is its ETag.
type S3Store struct {
	client *s3.Client
	bucket string
}

var _ Store = (*S3Store)(nil)

// NewS3Store returns the store in a bucket.
func NewS3Store(client *s3.Client, bucket string) *S3Store { return &S3Store{client, bucket} }

func (s *S3Store) key(key string) *string { return aws.String(S3Prefix + key) }

// Get implements Store.
func (s *S3Store) Get(ctx context.Context, key string) ([]byte, string, error) {
	op := "read " + key
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(s.bucket), Key: s.key(key)})
	if cloud.IsNotFound(err) {
		return nil, "", missing(key)
	}
	if err != nil {
		return nil, "", cloud.Fault(ctx, op, err)
	}
	defer func() { _ = out.Body.Close() }()
	data, err := io.ReadAll(out.Body)
	return data, aws.ToString(out.ETag), cloud.Fault(ctx, op, err)
}

// Put implements Store. S3 answers with a conflict also while another writes, or when the
// object is gone.
func (s *S3Store) Put(ctx context.Context, key string, data []byte, version string) (string, error) {
	in := &s3.PutObjectInput{Bucket: aws.String(s.bucket), Key: s.key(key), Body: bytes.NewReader(data), IfMatch: aws.String(version)}
	if version == "" {
		in.IfMatch, in.IfNoneMatch = nil, aws.String("*")
	}
	out, err := s.client.PutObject(ctx, in)
	if cloud.Is(err, "PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey") {
		return "", conflict(key)
	}
	if err != nil {
		return "", cloud.Fault(ctx, "store "+key+" in s3://"+s.bucket, err)
	}
	return aws.ToString(out.ETag), nil
}

// Delete implements Store.
func (s *S3Store) Delete(ctx context.Context, key string) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(s.bucket), Key: s.key(key)})
	return cloud.Fault(ctx, "remove "+key, err)
}

// List implements Store.
func (s *S3Store) List(ctx context.Context, prefix string) ([]string, error) {
	var keys []string
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: aws.String(s.bucket), Prefix: s.key(prefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, cloud.Fault(ctx, "list states of modules", err)
		}
		for _, o := range page.Contents {
			keys = append(keys, strings.TrimPrefix(aws.ToString(o.Key), S3Prefix))
		}
	}
	slices.Sort(keys)
	return keys, nil
}
