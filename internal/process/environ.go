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

// Environ returns this process's environment as a command should see it, with the
// extra variables laid over it. Left out is what belongs to this process alone: the
// plugin handshake (a command that is itself a plugin host or a Terraform would take
// it for its own), Terraform's logging and arguments, and the variables by which git
// passes the state of one repository to what it runs.
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

// ofARepository are the variables that mean one repository: those that `git rev-parse
// --local-env-vars` lists, and what else git hands to its hooks and aliases. A command
// that a hook started has them, and they mean another repository than its own. What says
// who the user is and what they have configured (GIT_CONFIG_GLOBAL, GIT_CONFIG_COUNT,
// GIT_SSH_COMMAND, GIT_ASKPASS) is not among them: git sets none of it by itself.
var ofARepository = []string{
	"GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_ATTR_SOURCE", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS",
	"GIT_DEFAULT_HASH", "GIT_DEFAULT_REF_FORMAT", "GIT_DIR", "GIT_DISCOVERY_ACROSS_FILESYSTEM", "GIT_EXTERNAL_DIFF",
	"GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_INTERNAL_SUPER_PREFIX", "GIT_LITERAL_PATHSPECS",
	"GIT_NAMESPACE", "GIT_NO_REPLACE_OBJECTS", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_QUARANTINE_PATH",
	"GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_TEMPLATE_DIR", "GIT_WORK_TREE",
}

func private(name string) bool {
	switch name {
	case "TF_PLUGIN_MAGIC_COOKIE", "TF_REATTACH_PROVIDERS", markVariable:
		return true
	}
	return slices.Contains(ofARepository, name) ||
		strings.HasPrefix(name, "PLUGIN_") ||
		strings.HasPrefix(name, "TF_LOG") ||
		strings.HasPrefix(name, "TF_CLI_")
}

// CeilingVariable sets the directories above which git does not look for a
// repository.
const CeilingVariable = "GIT_CEILING_DIRECTORIES"

// Ceiling returns the value of CeilingVariable with which git finds no repository in the
// directories, nor above them, and those of this process's own environment besides.
func Ceiling(dirs ...string) string {
	if own := os.Getenv(CeilingVariable); own != "" {
		dirs = append(slices.Clone(dirs), own)
	}
	return strings.Join(dirs, string(os.PathListSeparator))
}

// marked returns env with the mark of a tree; with "" without any.
func marked(env []string, mark string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		return strings.HasPrefix(kv, markVariable+"=")
	})
	if mark == "" {
		return env
	}
	return append(env, markVariable+"="+mark)
}
