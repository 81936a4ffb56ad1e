// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestListPackages(t *testing.T) {
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
	var log bytes.Buffer
	listPackages(tree, &log)
	if want := "== package bash 5.2\n== package musl 1.2.5\n== package zlib1g 1:1.2\n"; log.String() != want {
		t.Errorf("%q, want %q", log.String(), want)
	}
	log.Reset()
	listPackages(t.TempDir(), &log)
	if log.Len() > 0 {
		t.Errorf("an empty tree has %q", log.String())
	}
}
