// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package protocol

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Coded returns err a code where it has none: cancelled when ctx ended, failed for
// what the system refused, such as a full disk.
func Coded(ctx context.Context, op string, err error) error {
	var own *pipeline.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own) && (own.Code == pipeline.CodeCancelled || ctx.Err() == nil):
		return err
	case ctx.Err() != nil:
		return &pipeline.Error{Code: pipeline.CodeCancelled, Op: op, Err: err}
	}
	failed := pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return failed.WithHint("Give this user the right to write there, or set data_dir to another directory.")
	case errors.Is(err, syscall.ENOSPC):
		return failed.WithHint("The disk is full.").WithAdvice(pipeline.Advice{Verb: pipeline.VerbCollect})
	}
	return failed
}
