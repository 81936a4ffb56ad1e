// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build !linux

package e2e_test

import (
	"os/exec"
	"strconv"
	"strings"
)

// processes lists the processes whose command line names the site's directory.
func (s *site) processes() map[int]string {
	found := map[int]string{}
	out, err := exec.Command("ps", "-axo", "pid=,command=").Output()
	s.must(err)
	for line := range strings.Lines(string(out)) {
		pid, command, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.Atoi(pid); err == nil && strings.Contains(command, s.root) {
			found[n] = command
		}
	}
	return found
}
