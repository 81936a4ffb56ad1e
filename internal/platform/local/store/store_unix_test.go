// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package store

import (
	"errors"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

func TestRefusesWhatNoImageHolds(t *testing.T) {
	tree := plant(t, sample)
	if err := syscall.Mkfifo(filepath.Join(tree, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.TempDir()).Ingest(ctx, tree, nil)
	if pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), "pipe") {
		t.Errorf("a pipe: %v", err)
	}
}

// A disk that is full while a tree is stored leaves nothing of it. The limit of a file's
// size stands for the disk, so the test runs beside no other.
func TestFull(t *testing.T) {
	tree := plant(t, map[string]string{"small": "s", "large": strings.Repeat("0123456789abcdef", 1<<16)})
	s := Open(t.TempDir())
	whole, err := s.Ingest(ctx, plant(t, map[string]string{"small": "s"}), nil)
	if err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	small := limit
	small.Cur = 256 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		t.Fatal(err)
	}
	_, err = s.Ingest(ctx, tree, nil)
	if restored := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); restored != nil {
		t.Fatal(restored)
	}
	signal.Reset(syscall.SIGXFSZ)
	if pipeline.CodeOf(err) != pipeline.CodeFailed || !errors.Is(err, syscall.EFBIG) || !strings.Contains(err.Error(), tree) {
		t.Errorf("store a tree that is too large: %v", err)
	}
	if list, err := s.List(ctx); err != nil || len(list) != 1 || list[0].ID != whole.ID {
		t.Errorf("there are %v, %v", list, err)
	}
	if files, err := filepath.Glob(filepath.Join(s.dir, objectsDir, "*", "tmp-*")); err != nil || len(files) > 0 {
		t.Errorf("files are left: %v, %v", files, err)
	}
	if err := s.Verify(ctx, whole.ID); err != nil {
		t.Error(err)
	}
	if hint := reason.Hint(failed(ctx, "store tree", syscall.ENOSPC)); !strings.Contains(hint, "disk is full") {
		t.Errorf("of a full disk is said %q", hint)
	}
	if _, err := s.Ingest(ctx, tree, nil); err != nil {
		t.Errorf("once there is room: %v", err)
	}
}
