// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package artifact

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// TestPutRefusesSpecialFiles stores what a step may have left in an artifact's place. To
// open a pipe would wait for ever.
func TestPutRefusesSpecialFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.MkdirAll(at("dist/deep"), 0o700))
	must(t, unix.Mkfifo(at("pipe"), 0o600))
	must(t, unix.Mkfifo(at("dist/deep/pipe"), 0o600))
	must(t, os.Symlink("pipe", at("link")))
	must(t, os.Symlink("/dev/zero", at("zero")))
	s := NewStore(filepath.Join(t.TempDir(), "store"))
	for name, says := range map[string]string{
		"pipe": "is a named pipe", "link": "is a named pipe", "zero": "is a device", "dist": `"deep/pipe" is a named pipe`,
	} {
		_, err := s.Put(t.Context(), at(name))
		refused(t, err, pipeline.CodeInvalid, says)
	}
	if stored, err := s.List(t.Context()); err != nil || len(stored) > 0 {
		t.Errorf("stored %v, %v", stored, err)
	}
}
