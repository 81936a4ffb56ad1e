// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package process

import (
	"maps"
	"os"
	"slices"
	"strings"
)

// markVariable marks every process of a tree, so that one can be found whose
// guard was killed.
const markVariable = "PENSTOCK_GUARD"

// Environ gives this process's environment as a command should see it, with the
// extra variables laid over it. Left out is what belongs to this process alone:
// the plugin handshake (a command that is itself a plugin host or a Terraform
// would take it for its own), Terraform's logging and arguments, and what git
// sets for its hooks.
func Environ(extra map[string]string) []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if _, replaced := extra[name]; !replaced && !private(name) {
			env = append(env, kv)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		env = append(env, name+"="+extra[name])
	}
	return env
}

func private(name string) bool {
	switch name {
	case "TF_PLUGIN_MAGIC_COOKIE", "TF_REATTACH_PROVIDERS",
		"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", markVariable:
		return true
	}
	return strings.HasPrefix(name, "PLUGIN_") ||
		strings.HasPrefix(name, "TF_LOG") ||
		strings.HasPrefix(name, "TF_CLI_")
}

// marked gives env with the mark of a tree.
func marked(env []string, mark string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		return strings.HasPrefix(kv, markVariable+"=")
	})
	return append(env, markVariable+"="+mark)
}
