// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
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

// maxPackageFile bounds how much of such a file is read.
const maxPackageFile = 64 << 20

// packages returns the packages of a tree; nil for one in which no package manager says.
func packages(tree string) []pipeline.Package {
	root, err := os.OpenRoot(tree)
	if err != nil {
		return nil
	}
	defer root.Close()
	var list []pipeline.Package
	for _, f := range packageFiles {
		file, err := regular.OpenIn(root, filepath.FromSlash(f.path))
		if err != nil {
			continue
		}
		name := ""
		scan := bufio.NewScanner(io.LimitReader(file, maxPackageFile))
		scan.Buffer(nil, 1<<20)
		for scan.Scan() {
			line := scan.Text()
			if rest, ok := strings.CutPrefix(line, f.name); ok {
				name = rest
			} else if rest, ok := strings.CutPrefix(line, f.version); ok && name != "" {
				list = append(list, pipeline.Package{Name: name, Version: rest})
				name = ""
			}
		}
		_ = file.Close()
	}
	if list = pipeline.Packages(list); len(list) == 0 {
		return nil
	}
	return list
}
