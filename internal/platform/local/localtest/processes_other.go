// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build !linux

package localtest

import (
	"os/exec"
	"strings"
	"testing"
)

// ProcessesOf lists the processes that have the directory in their arguments or
// variables.
func ProcessesOf(t testing.TB, dir string) []string {
	t.Helper()
	out, err := exec.Command("ps", "-axEww", "-o", "pid=,command=").Output()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, dir) {
			found = append(found, line)
		}
	}
	return found
}
