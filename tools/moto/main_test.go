// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakePython makes an environment whose pip notes each installation, and fails
// while the file broken exists.
const fakePython = `#!/bin/sh
dir=$(dirname "$0")
if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; echo "$dir" > "$3/home"; exit; fi
home=$(cat "$dir/../home")
[ ! -e "$home/broken" ] || { echo "no network" >&2; exit 1; }
echo "$*" >> "$home/installations"
`

func TestInstalled(t *testing.T) {
	home, dir := t.TempDir(), filepath.Join(t.TempDir(), "moto")
	broken := filepath.Join(home, "broken")
	for path, content := range map[string]string{filepath.Join(home, "python3"): fakePython, broken: ""} {
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", home+":"+os.Getenv("PATH"))
	if _, err := installed(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "MOTO_SERVER") {
		t.Fatalf("a failed installation: got %v; want the remedy", err)
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to do
		got, err := installed(t.Context(), dir)
		if want := filepath.Join(dir, "bin", "moto_server"); got != want || err != nil {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
	done, err := os.ReadFile(filepath.Join(home, "installations"))
	if err != nil || strings.Count(string(done), "\n") != 1 || !strings.Contains(string(done), release) {
		t.Errorf("installed %q, %v; want %s once", done, err, release)
	}
}
