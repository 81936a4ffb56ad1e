// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"os"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const shared, exclusive = 0, 1

func (s *Store) lock(context.Context, int) (func(), error) {
	return nil, pipeline.Errorf(pipeline.CodeInvalid, "open image store", "the local platform runs on Linux and macOS only").
		WithHint("On Windows use WSL.")
}

func clone(*os.File, string) bool { return false }
func syncObject(f *os.File) error { return f.Sync() }
func syncAll(string) error        { return nil }
func syncDir(string) error        { return nil }
