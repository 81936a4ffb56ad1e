// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package artifact

import (
	"context"
	"io"

	"github.com/penstock-io/terraform-provider-penstock/internal/regular"
)

// copyFile writes a file's content to w, in pieces, so that a cancel is honoured
// within a large one.
func copyFile(ctx context.Context, path string, w io.Writer) error {
	file, err := regular.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return copyContent(ctx, w, file)
}

// copyContent copies r to w until r ends or ctx does.
func copyContent(ctx context.Context, w io.Writer, r io.Reader) error {
	// The struct hides ReadFrom and WriteTo, which would copy the whole in one call.
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, reader{ctx, r}, make([]byte, 256<<10))
	return err
}

// reader reads until its context ends.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}

// counter counts the bytes written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
