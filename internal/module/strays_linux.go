// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// endPlugins ends the providers that work below a directory: those of a Terraform that was
// killed together with all who would have ended them. Nobody else may work there.
func endPlugins(dir string) {
	found, _ := filepath.Glob("/proc/[0-9]*")
	for _, proc := range found {
		at, err := os.Readlink(filepath.Join(proc, "cwd"))
		if err != nil || !strings.HasPrefix(at, dir+string(filepath.Separator)) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(proc))
		if err != nil {
			continue
		}
		plugin, alive := process.Identify(pid)
		env, err := os.ReadFile(filepath.Join(proc, "environ"))
		if err == nil && alive && bytes.Contains(env, []byte("TF_PLUGIN_MAGIC_COOKIE=")) {
			_ = plugin.Kill()
		}
	}
}
