// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// processes lists the command lines, by process ID, of everything that was
// started on behalf of the site, however indirectly: the site's mark is in the
// environment of each.
func (s *site) processes() map[int]string {
	found := map[int]string{}
	entries, err := filepath.Glob("/proc/[0-9]*")
	s.must(err)
	for _, dir := range entries {
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil || !bytes.Contains(env, []byte("E2E_SITE="+s.root+"\x00")) {
			continue
		}
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(line) == 0 {
			continue // it has just ended
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		s.must(err)
		found[pid] = strings.TrimSpace(string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
	}
	return found
}
