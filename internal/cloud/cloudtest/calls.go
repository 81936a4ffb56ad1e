// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// callsFile lists who calls what, a role and an action a line. The guide to IAM has it as
// a table, and the policies are compared with it.
const callsFile = "../../bootstrap/testdata/calls.txt"

// made are the calls that who had a role made in this test binary, and that IAM let pass.
var made struct {
	sync.Mutex
	calls map[string]bool // by role and action
}

func note(role string, actions []string) {
	made.Lock()
	defer made.Unlock()
	if made.calls == nil {
		made.calls = map[string]bool{}
	}
	for _, action := range actions {
		made.calls[role+" "+action] = true
	}
}

// checkCalls compares the calls of this test binary with the list. With PENSTOCK_UPDATE
// they are added to it: not every run needs every call.
func checkCalls() error {
	_, here, _, _ := runtime.Caller(0)
	path := filepath.Join(filepath.Dir(here), callsFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		known[strings.TrimSpace(line)] = true
	}
	made.Lock()
	defer made.Unlock()
	var fresh []string
	for call := range made.calls {
		if !known[call] {
			fresh = append(fresh, call)
			known[call] = true
		}
	}
	switch {
	case len(fresh) == 0:
		return nil
	case os.Getenv("PENSTOCK_UPDATE") == "":
		slices.Sort(fresh)
		return fmt.Errorf("these calls are not in %s: run this test with PENSTOCK_UPDATE=1, then that of the guide to IAM:\n%s", path, strings.Join(fresh, "\n"))
	}
	return os.WriteFile(path, []byte(strings.Join(slices.Sorted(maps.Keys(known)), "\n")+"\n"), 0o644)
}
