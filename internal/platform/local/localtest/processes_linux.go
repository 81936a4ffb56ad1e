// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package localtest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ProcessesOf lists the processes that have the directory in their arguments or
// variables.
func ProcessesOf(t testing.TB, dir string) []string {
	t.Helper()
	var found []string
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range all {
		line, _ := os.ReadFile(filepath.Join(process, "cmdline"))
		env, _ := os.ReadFile(filepath.Join(process, "environ"))
		if bytes.Contains(append(line, env...), []byte(dir)) {
			found = append(found, filepath.Base(process)+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}
