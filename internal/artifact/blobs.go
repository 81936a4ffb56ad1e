// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package artifact

import (
	"bytes"
	"context"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// blobsPrefix is where records that are too large for a ledger's table are.
const blobsPrefix = "ledger/"

// Blobs keeps small objects in a bucket by a key of the caller's, which names the content:
// what is there under a key is never replaced by something else.
type Blobs struct {
	client *s3.Client
	bucket string
}

// NewBlobs returns the objects of a bucket.
func NewBlobs(client *s3.Client, bucket string) *Blobs { return &Blobs{client, bucket} }

// Put stores an object. The same one may be there already. Another one under its key was put
// there by who knew what was to come: whoever may, replaces it, and AWS refuses the others.
func (b *Blobs) Put(ctx context.Context, key string, data []byte) error {
	in := &s3.PutObjectInput{Bucket: aws.String(b.bucket), Key: aws.String(blobsPrefix + key), IfNoneMatch: aws.String("*")}
	err := poll.Until(ctx, rivalry, func(ctx context.Context) (poll.Probe, error) {
		in.Body = bytes.NewReader(data)
		_, err := b.client.PutObject(ctx, in)
		switch {
		case cloud.Is(err, "PreconditionFailed"):
			there, read := b.Get(ctx, key)
			if read != nil || bytes.Equal(there, data) {
				return poll.Probe{Done: true}, read
			}
			in.IfNoneMatch = nil
			return poll.Probe{State: "another object is there"}, nil
		case cloud.Is(err, "ConditionalRequestConflict"):
			return poll.Probe{State: "another uploads it"}, poll.Retryable(err)
		}
		return poll.Probe{Done: true}, err
	})
	return cloud.Fault(ctx, "store "+key, err)
}

// Get reads an object; CodeNotFound where there is none.
func (b *Blobs) Get(ctx context.Context, key string) ([]byte, error) {
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(b.bucket), Key: aws.String(blobsPrefix + key)})
	if err != nil {
		return nil, cloud.Fault(ctx, "read "+key, err)
	}
	defer out.Body.Close()
	data, err := io.ReadAll(out.Body)
	return data, cloud.Fault(ctx, "read "+key, err)
}

// Delete removes an object. One that is not there is no error.
func (b *Blobs) Delete(ctx context.Context, key string) error {
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(b.bucket), Key: aws.String(blobsPrefix + key)})
	return cloud.Fault(ctx, "remove "+key, err)
}
