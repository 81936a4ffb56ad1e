// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"encoding/json"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Check implements pipeline.Modules.
func (m *Modules) Check(of pipeline.Module) error {
	const op = "check module"
	invalid := func(format string, args ...any) *pipeline.Error {
		return pipeline.Errorf(pipeline.CodeInvalid, op, format, args...)
	}
	local := strings.HasPrefix(of.Source, ".") || filepath.IsAbs(of.Source)
	switch {
	case of.Directory == "" && of.Source == "":
		return invalid("it has neither a directory nor a source").WithHint("Set the directory of the source that has the module, or the address of one.")
	case of.Directory != "" && of.Source != "":
		return invalid("it has both a directory, %q, and a source, %q", of.Directory, of.Source).WithHint("Leave one of them out.")
	case of.Directory != "" && (!filepath.IsLocal(filepath.FromSlash(of.Directory)) || path.Clean(of.Directory) != of.Directory):
		return invalid("directory %q is not a plain path below the source", of.Directory).WithHint("Write it relative to the source, as in \"infrastructure/environment\".")
	case local:
		return invalid("source %q is a directory", of.Source).WithHint("A module beside the application is named by its directory, and rides with the build.")
	case of.Version != "" && of.Source == "":
		return invalid("version %q is for a source that is in a registry, and there is none", of.Version).WithHint("Remove the version: the module is that of each build's commit.")
	case of.Timeout < 0:
		return invalid("timeout %s is negative", of.Timeout)
	}
	for _, name := range slices.Sorted(maps.Keys(of.Variables)) {
		if name == factsVariable {
			return invalid("variable %q can't be set: Penstock says in it what environment it is", name).WithHint("Remove the value.")
		}
		if !json.Valid(of.Variables[name]) {
			return invalid("the value of variable %q is no JSON", name)
		}
	}
	for _, p := range of.Stateful {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			return invalid("%q in stateful is no pattern of types or addresses of resources", p).WithHint("Write a type, such as \"acme_database\", or an address; * stands for any text.")
		}
	}
	_, err := findProgram(of.Program)
	return err
}
