// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package store

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestRefusesWhatNoImageHolds(t *testing.T) {
	tree := plant(t, sample)
	if err := syscall.Mkfifo(filepath.Join(tree, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.TempDir()).Ingest(ctx, tree)
	if pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), "pipe") {
		t.Errorf("a pipe: %v", err)
	}
}
