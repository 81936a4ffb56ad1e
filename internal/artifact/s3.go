// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package artifact

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// artifactsPrefix is where artifacts are in a bucket: by digest, as in the store.
const artifactsPrefix = "artifacts/"

// singlePut is the size up to which an object is put in one request, which S3
// checks against the SHA-256. Larger ones go in parts, each checked by itself.
const singlePut = 64 << 20

// abortTimeout bounds the removal of the parts of an upload that failed.
const abortTimeout = 30 * time.Second

// rivalry is how an upload waits for another of the same object: an object has
// one's whole content soon.
var rivalry = poll.Schedule{First: 200 * time.Millisecond, Max: 5 * time.Second, Factor: 2, Limit: 2 * time.Minute, What: "another upload of the object"}

// S3Store keeps files in a bucket by the digest of their content, with a Store on
// this machine as its cache. It may be used concurrently, from several machines.
type S3Store struct {
	client *s3.Client
	bucket string
	cache  *Store
}

var _ pipeline.Artifacts = (*S3Store)(nil)

// NewS3Store gives the store in a bucket. dir is the cache's.
func NewS3Store(client *s3.Client, bucket, dir string) *S3Store {
	return &S3Store{client, bucket, NewStore(dir)}
}

func (s *S3Store) key(digest string) string {
	return artifactsPrefix + strings.Replace(digest, ":", "/", 1)
}

// URL returns the object's URL.
func (s *S3Store) URL(a pipeline.Artifact) string { return "s3://" + s.bucket + "/" + s.key(a.Digest) }

// Put stores a file or directory as Store.Put does, and uploads it unless the bucket
// has it.
func (s *S3Store) Put(ctx context.Context, file string) (pipeline.Artifact, error) {
	const op = "store artifact"
	record, err := s.cache.Put(ctx, file)
	if err != nil {
		return record, err
	}
	cached, err := s.cache.Get(ctx, record)
	if err != nil {
		return record, err
	}
	body, err := os.Open(cached)
	if err != nil {
		return record, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	defer body.Close()
	return record, cloud.Fault(ctx, op+" in s3://"+s.bucket, s.upload(ctx, record, body))
}

// upload puts the object where there is none. Objects are never changed: their key
// says what they hold. While another puts the same one, S3 asks to try again.
func (s *S3Store) upload(ctx context.Context, a pipeline.Artifact, body *os.File) error {
	return poll.Until(ctx, rivalry, func(ctx context.Context) (poll.Probe, error) {
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			return poll.Probe{}, err
		}
		put := s.putWhole
		if a.Size > singlePut {
			put = s.putParts
		}
		err := put(ctx, a, body)
		switch {
		case cloud.Is(err, "PreconditionFailed"): // it is there
			err = nil
		case cloud.Is(err, "ConditionalRequestConflict"):
			return poll.Probe{State: "another uploads it"}, poll.Retryable(err)
		}
		return poll.Probe{Done: true}, err
	})
}

func (s *S3Store) putWhole(ctx context.Context, a pipeline.Artifact, body *os.File) error {
	sum, err := hex.DecodeString(strings.TrimPrefix(a.Digest, algorithm+":"))
	if err != nil {
		return err
	}
	_, err = s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(s.bucket), Key: aws.String(s.key(a.Digest)), Body: body,
		IfNoneMatch: aws.String("*"), ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum)),
	})
	return err
}

// putParts asks first, as the condition is looked at when all parts are there.
func (s *S3Store) putParts(ctx context.Context, a pipeline.Artifact, body *os.File) error {
	bucket, key := aws.String(s.bucket), aws.String(s.key(a.Digest))
	head, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: key})
	if err == nil && aws.ToInt64(head.ContentLength) == a.Size {
		return nil
	}
	parts := transfermanager.New(s.client, func(o *transfermanager.Options) { o.PartSizeBytes, o.FailTimeout = singlePut, abortTimeout })
	_, err = parts.UploadObject(ctx, &transfermanager.UploadObjectInput{
		Bucket: bucket, Key: key, Body: body, IfNoneMatch: aws.String("*"), ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	})
	return err
}

// Get returns a verified copy on this machine, downloaded where the cache lacks it or
// holds a damaged one.
func (s *S3Store) Get(ctx context.Context, a pipeline.Artifact) (string, error) {
	if cached, err := s.cache.Get(ctx, a); err == nil || pipeline.CodeOf(err) == pipeline.CodeInvalid {
		return cached, err
	}
	op := "read artifact"
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(s.bucket), Key: aws.String(s.key(a.Digest))})
	if cloud.IsNotFound(err) {
		return "", pipeline.Errorf(pipeline.CodeNotFound, op, "artifact %q (%s) is not in s3://%s", a.Name, a.Digest, s.bucket).
			WithHint("It was removed. Its commit stage makes it again in its next run: on a new commit, or when its `steps` change.")
	}
	if err != nil {
		return "", cloud.Fault(ctx, op, err)
	}
	defer out.Body.Close()
	got, err := s.cache.put(func(w io.Writer) error {
		_, err := io.Copy(w, out.Body)
		return err
	})
	if err != nil {
		return "", s.cache.failed(ctx, op, err)
	}
	if got.Digest != a.Digest {
		err := pipeline.Errorf(pipeline.CodeCorrupt, op, "s3://%s/%s has the digest %s", s.bucket, s.key(a.Digest), got.Digest).
			WithHint("Don't deploy it. Find out who changed the object; the bucket keeps its versions.")
		return "", errors.Join(err, s.cache.Remove(ctx, got.Digest))
	}
	return s.cache.Get(ctx, a)
}

// Remove removes the object and the cached copy. One that is not there is no error.
func (s *S3Store) Remove(ctx context.Context, digest string) error {
	if err := s.cache.Remove(ctx, digest); err != nil {
		return err
	}
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(s.bucket), Key: aws.String(s.key(digest))})
	return cloud.Fault(ctx, "remove artifact "+digest, err)
}

// List lists the digests of the bucket's artifacts.
func (s *S3Store) List(ctx context.Context) ([]string, error) {
	var digests []string
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: aws.String(s.bucket), Prefix: aws.String(artifactsPrefix + algorithm + "/")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, cloud.Fault(ctx, "list artifacts", err)
		}
		for _, o := range page.Contents {
			digests = append(digests, algorithm+":"+path.Base(aws.ToString(o.Key)))
		}
	}
	return digests, nil
}
