// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package artifact

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// part is an object that holds some bytes of a log. Parts are never changed.
type part struct {
	key    string
	writer string // who wrote it: a later one sorts behind an earlier one
	at     int64  // the offset of its first byte in the log
	size   int64
}

// end returns the offset behind its last byte.
func (p part) end() int64 { return p.at + p.size }

// partKey returns the key of a part: writer and offset sort as they come.
func partKey(prefix, writer string, at int64) string {
	return fmt.Sprintf("%s%s-%015d", prefix, writer, at)
}

// nextWriter returns the name of one who begins to write now, behind the parts of a log: it
// sorts behind theirs, whatever the clock of their machine said.
func nextWriter(log []part, now time.Time) string {
	name := now.UTC().Format("20060102T150405.000000000Z")
	if len(log) > 0 && name <= log[len(log)-1].writer {
		name = log[len(log)-1].writer + "z"
	}
	return name
}

// parsePart returns the part of an object; false for an object that is none.
func parsePart(prefix string, o types.Object) (part, bool) {
	key := aws.ToString(o.Key)
	writer, offset, ok := strings.Cut(strings.TrimPrefix(key, prefix), "-")
	at, err := strconv.ParseInt(offset, 10, 64)
	return part{key, writer, at, aws.ToInt64(o.Size)}, ok && err == nil
}

// assemble returns the parts that make the log, in order. A writer begins where the log ended
// then. One that was displaced may write on for a while: what the later one wrote counts.
func assemble(all []part) []part {
	slices.SortFunc(all, func(a, b part) int {
		return cmp.Or(cmp.Compare(a.writer, b.writer), cmp.Compare(a.at, b.at))
	})
	var log []part
	for i, p := range all {
		if i == 0 || p.writer != all[i-1].writer {
			log = before(log, p.at)
		}
		if last := len(log) - 1; last < 0 && p.at == 0 || last >= 0 && log[last].end() == p.at {
			log = append(log, p)
		}
	}
	return log
}

// before returns the parts of a log that hold what comes before an offset.
func before(log []part, offset int64) []part {
	for last := len(log) - 1; last >= 0 && log[last].end() > offset; last-- {
		if log[last].size = offset - log[last].at; log[last].size <= 0 {
			log = log[:last]
		}
	}
	return log
}

// listParts returns the parts of the log whose keys begin with a prefix.
func listParts(ctx context.Context, client *s3.Client, bucket, prefix string) ([]part, error) {
	var all []part
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: aws.String(prefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, o := range page.Contents {
			if p, ok := parsePart(prefix, o); ok {
				all = append(all, p)
			}
		}
	}
	return all, nil
}

// partsReader reads a log in parts, of which it fetches what is behind the offset that it was
// moved to and no more than is read. It ends where the log ended when it was opened.
type partsReader struct {
	ctx    context.Context // of whoever opened it
	client *s3.Client
	bucket string
	parts  []part
	at     int64
	body   io.ReadCloser // the rest of a part, from at on; nil before it is asked for
	until  int64         // where it ends
}

var _ io.ReadSeekCloser = (*partsReader)(nil)

// size returns the length of the log in bytes.
func (r *partsReader) size() int64 {
	if len(r.parts) == 0 {
		return 0
	}
	return r.parts[len(r.parts)-1].end()
}

// Read implements io.Reader.
func (r *partsReader) Read(p []byte) (int, error) {
	if r.at >= r.size() {
		return 0, io.EOF
	}
	if r.body == nil {
		if err := r.fetch(); err != nil {
			return 0, cloud.Fault(r.ctx, "read log", err)
		}
	}
	n, err := r.body.Read(p)
	r.at += int64(n)
	switch {
	case r.at >= r.until: // the next part follows
		err = r.drop()
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// fetch asks for the rest of the part that holds what is next.
func (r *partsReader) fetch() error {
	i, _ := slices.BinarySearchFunc(r.parts, r.at, func(p part, at int64) int { return cmp.Compare(p.end(), at+1) })
	p := r.parts[i]
	out, err := r.client.GetObject(r.ctx, &s3.GetObjectInput{
		Bucket: aws.String(r.bucket), Key: aws.String(p.key), Range: aws.String(fmt.Sprintf("bytes=%d-%d", r.at-p.at, p.size-1)),
	})
	if err != nil {
		return err
	}
	r.body, r.until = out.Body, p.end()
	return nil
}

// Seek implements io.Seeker.
func (r *partsReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.size()
	}
	if offset < 0 {
		return r.at, pipeline.Errorf(pipeline.CodeInternal, "read log", "offset %d is before its beginning", offset)
	}
	if offset == r.at {
		return r.at, nil
	}
	r.at = offset
	return r.at, r.drop()
}

// Close implements io.Closer.
func (r *partsReader) Close() error { return r.drop() }

// drop gives up what is being fetched.
func (r *partsReader) drop() error {
	if r.body == nil {
		return nil
	}
	body := r.body
	r.body = nil
	return body.Close()
}
