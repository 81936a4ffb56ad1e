// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package develop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A pipe in a file's place is refused. To open it would wait for ever.
func TestTakeRefusesAPipe(t *testing.T) {
	tr := &tree{dir: t.TempDir(), copy: t.TempDir()}
	if err := unix.Mkfifo(filepath.Join(tr.dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tr.dir, "file"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tr.take("pipe"); err == nil || !strings.Contains(err.Error(), "is a named pipe, not a file") {
		t.Errorf("take returns %v", err)
	}
	if err := tr.take("file"); err != nil {
		t.Error(err)
	}
}
