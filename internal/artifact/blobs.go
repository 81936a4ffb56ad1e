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
)

// blobsPrefix is where records that are too large for a ledger's table are.
const blobsPrefix = "ledger/"

// Blobs keeps small objects in a bucket by a key of the caller's.
type Blobs struct {
	client *s3.Client
	bucket string
}

// NewBlobs returns the objects of a bucket.
func NewBlobs(client *s3.Client, bucket string) *Blobs { return &Blobs{client, bucket} }

// Put stores an object, in place of one of the key.
func (b *Blobs) Put(ctx context.Context, key string, data []byte) error {
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(b.bucket), Key: aws.String(blobsPrefix + key), Body: bytes.NewReader(data)})
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
