// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package install

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/hashicorp/hcl"
	"github.com/hashicorp/hcl/hcl/ast"
)

// Setting is what a file of a user's settings of Terraform or OpenTofu makes of the provider.
type Setting struct {
	File     string `json:"file"`
	Override string `json:"dev_override,omitempty"` // the directory of a dev_overrides that names the provider
	Hides    bool   `json:"hides_mirror,omitempty"` // it says where providers are installed from, and names the mirror nowhere
}

// Settings reads the user's settings, and returns those that have a say in where the
// provider comes from. A file that can't be read has none: Terraform says so itself. Files
// in JSON are passed over; it is tokens that programs write there.
func Settings() []Setting {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	var found []Setting
	for _, file := range settingsFiles(home) {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if s, ok := readSettings(string(text), mirror(home)); ok {
			s.File = file
			found = append(found, s)
		}
	}
	return found
}

// settingsFiles returns the files that the two read: one that the environment names, else
// those in the home directory.
func settingsFiles(home string) []string {
	for _, name := range []string{"TF_CLI_CONFIG_FILE", "TERRAFORM_CONFIG"} {
		if file := os.Getenv(name); file != "" {
			return []string{file}
		}
	}
	if runtime.GOOS == "windows" {
		data := os.Getenv("APPDATA")
		return []string{filepath.Join(data, "terraform.rc"), filepath.Join(data, "tofu.rc")}
	}
	files := []string{filepath.Join(home, ".terraformrc"), filepath.Join(home, ".tofurc")}
	dirs := []string{filepath.Join(home, ".terraform.d")}
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		files, dirs = append(files, filepath.Join(dir, "opentofu", "tofurc")), append(dirs, filepath.Join(dir, "opentofu"))
	}
	for _, dir := range dirs {
		more, _ := filepath.Glob(filepath.Join(dir, "*.tfrc")) // fails for a malformed pattern only
		files = append(files, more...)
	}
	return files
}

// readSettings reads a file of settings; not ok where it says nothing of where providers
// come from.
func readSettings(text, mirror string) (s Setting, ok bool) {
	file, err := hcl.Parse(text)
	if err != nil {
		return s, false
	}
	root, isList := file.Node.(*ast.ObjectList)
	if !isList {
		return s, false
	}
	for _, block := range root.Filter("provider_installation").Items {
		body, isObject := block.Val.(*ast.ObjectType)
		if !isObject {
			continue
		}
		ok, s.Hides = true, true
		for _, method := range body.List.Items {
			switch name, _ := method.Keys[0].Token.Value().(string); name {
			case "dev_overrides":
				var overrides map[string]string
				_ = hcl.DecodeObject(&overrides, method.Val)
				for address, dir := range overrides {
					if matches(address) {
						s.Override = dir
					}
				}
			case "filesystem_mirror":
				var m struct {
					Path             string
					Include, Exclude []string
				}
				_ = hcl.DecodeObject(&m, method.Val)
				if filepath.Clean(m.Path) == mirror && (len(m.Include) == 0 || matchesAny(m.Include)) && !matchesAny(m.Exclude) {
					s.Hides = false
				}
			}
		}
	}
	return s, ok
}

func matchesAny(patterns []string) bool {
	for _, p := range patterns {
		if matches(p) {
			return true
		}
	}
	return false
}

// matches reports whether an address, or a pattern of addresses, is the provider's.
func matches(pattern string) bool {
	parts := strings.Split(pattern, "/")
	if len(parts) == 2 {
		parts = append([]string{"*"}, parts...)
	}
	if len(parts) != 3 {
		return false
	}
	for _, registry := range registries {
		own, all := strings.Split(registry+"/"+provider, "/"), true
		for i, part := range parts {
			all = all && (part == "*" || strings.EqualFold(part, own[i]))
		}
		if all {
			return true
		}
	}
	return false
}
