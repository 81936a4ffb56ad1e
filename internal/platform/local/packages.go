// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/regular"
)

// packageFiles are where package managers say what is installed in a tree, with the
// beginnings of the lines that name a package and its version.
var packageFiles = []struct{ path, name, version string }{
	{"var/lib/dpkg/status", "Package: ", "Version: "},
	{"lib/apk/db/installed", "P:", "V:"},
}

// listPackages writes the packages of a tree to the log of its bake. A tree without any,
// or that can't be read, has none.
func listPackages(tree string, log io.Writer) {
	if log == nil {
		return
	}
	root, err := os.OpenRoot(tree)
	if err != nil {
		return
	}
	defer root.Close()
	var lines []string
	for _, f := range packageFiles {
		file, err := regular.OpenIn(root, filepath.FromSlash(f.path))
		if err != nil {
			continue
		}
		name := ""
		for scan := bufio.NewScanner(file); scan.Scan(); {
			line := scan.Text()
			if rest, ok := strings.CutPrefix(line, f.name); ok {
				name = rest
			} else if rest, ok := strings.CutPrefix(line, f.version); ok && name != "" {
				lines = append(lines, fmt.Sprintf("%s%s %s\n", pipeline.PackageMark, name, rest))
				name = ""
			}
		}
		_ = file.Close()
	}
	slices.Sort(lines)
	_, _ = io.WriteString(log, strings.Join(lines, ""))
}
