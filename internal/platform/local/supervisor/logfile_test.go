// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
)

func TestLogFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	l, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	line := strings.Repeat("x", 999) + "\n"
	for range 3 * maxLog / len(line) {
		if _, err := l.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 2 {
		t.Fatalf("there are %v, %v", entries, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Size() > maxLog || info.Size() == 0 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has %d bytes and mode %v, %v", e.Name(), info.Size(), info.Mode(), err)
		}
	}
	if got := protocol.LastLines(path, 3); len(got) != 3 || got[2] != strings.TrimSpace(line) {
		t.Errorf("the last lines are %d", len(got))
	}
	if got := protocol.LastLines(path+".none", 3); got != nil {
		t.Errorf("a log that isn't there gives %q", got)
	}
}
