// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package artifact

import (
	"context"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// s3Object reads an object, of which it fetches what is behind the offset that it was moved to
// and no more than is read. It ends where the object ended when it was opened.
type s3Object struct {
	ctx         context.Context // of whoever opened it
	client      *s3.Client
	bucket, key *string
	size, at    int64
	body        io.ReadCloser // from at on; nil before it is asked for
}

var _ io.ReadSeekCloser = (*s3Object)(nil)

// openObject returns an object for reading. It asks for its size only.
func openObject(ctx context.Context, client *s3.Client, bucket, key *string) (*s3Object, error) {
	head, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: key})
	if err != nil {
		return nil, err
	}
	return &s3Object{ctx: ctx, client: client, bucket: bucket, key: key, size: aws.ToInt64(head.ContentLength)}, nil
}

// Read implements io.Reader.
func (o *s3Object) Read(p []byte) (int, error) {
	if o.at >= o.size {
		return 0, io.EOF
	}
	if o.body == nil {
		out, err := o.client.GetObject(o.ctx, &s3.GetObjectInput{Bucket: o.bucket, Key: o.key, Range: aws.String(fmt.Sprintf("bytes=%d-%d", o.at, o.size-1))})
		if err != nil {
			return 0, cloud.Fault(o.ctx, "read log", err)
		}
		o.body = out.Body
	}
	n, err := o.body.Read(p)
	if o.at += int64(n); err == io.EOF && o.at < o.size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Seek implements io.Seeker.
func (o *s3Object) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += o.at
	case io.SeekEnd:
		offset += o.size
	}
	if offset < 0 {
		return o.at, pipeline.Errorf(pipeline.CodeInternal, "read log", "offset %d is before its beginning", offset)
	}
	if offset == o.at {
		return o.at, nil
	}
	o.at = offset
	return o.at, o.drop()
}

// Close implements io.Closer.
func (o *s3Object) Close() error { return o.drop() }

// drop gives up what is being fetched.
func (o *s3Object) drop() error {
	if o.body == nil {
		return nil
	}
	body := o.body
	o.body = nil
	return body.Close()
}
