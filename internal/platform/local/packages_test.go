// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestPackages(t *testing.T) {
	tree := t.TempDir()
	for name, content := range map[string]string{
		"var/lib/dpkg/status":  "Package: zlib1g\nStatus: install ok installed\nVersion: 1:1.2\nDescription: x\n Version: no\n\nPackage: bash\nVersion: 5.2\n",
		"lib/apk/db/installed": "P:musl\nV:1.2.5\nA:x86_64\n",
	} {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := fmt.Sprint(packages(tree)), "[{bash 5.2} {musl 1.2.5} {zlib1g 1:1.2}]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := packages(t.TempDir()); got != nil {
		t.Errorf("an empty tree has %v", got)
	}
}
