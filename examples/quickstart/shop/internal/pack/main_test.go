// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestPackIsReproducible(t *testing.T) {
	t.Parallel()
	var archives [][]byte
	for _, age := range []time.Duration{0, 1000 * time.Hour} {
		dir := t.TempDir()
		for name, mode := range map[string]os.FileMode{"tree/b/run.sh": 0o700, "tree/a.txt": 0o600} {
			file := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(name), mode); err != nil {
				t.Fatal(err)
			}
			then := time.Now().Add(-age)
			if err := os.Chtimes(file, then, then); err != nil {
				t.Fatal(err)
			}
		}
		archive := filepath.Join(dir, "out.tar.gz")
		if err := pack(archive, []string{filepath.Join(dir, "tree") + "=files"}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(archive)
		if err != nil {
			t.Fatal(err)
		}
		archives = append(archives, data)
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the same files gave two archives")
	}
}

func TestPackLeavesNothingOnFailure(t *testing.T) {
	t.Parallel()
	archive := filepath.Join(t.TempDir(), "out.tar.gz")
	if err := pack(archive, []string{"nowhere"}); err == nil {
		t.Error("a missing file was packed")
	}
	if _, err := os.Stat(archive); !os.IsNotExist(err) {
		t.Errorf("the archive is there: %v", err)
	}
}
