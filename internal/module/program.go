// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/hashicorp/go-version"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// oldest are the oldest versions that Penstock runs modules with: the first ones that say in
// JSON what a plan would do and why, and that trust a shared cache of providers.
var oldest = map[string]string{"Terraform": "1.5.0", "OpenTofu": "1.6.0"}

// program is Terraform or OpenTofu.
type program struct {
	path string
	name string // "Terraform" or "OpenTofu"
}

// findProgram returns the program that a module is applied with: the named one, the one that
// runs the configuration, the first that is on PATH.
func findProgram(named string) (string, error) {
	const op = "find Terraform"
	if named != "" {
		path, err := exec.LookPath(named)
		if err != nil {
			return "", pipeline.Errorf(pipeline.CodeInvalid, op, "%q, which the module's \"terraform\" names, does not exist: %w", named, err).
				WithHint("Name a program that is on PATH, or its whole path; or remove the argument, to take the one that runs the configuration.")
		}
		return filepath.Abs(path)
	}
	if path := parentProgram(); path != "" {
		return path, nil
	}
	for _, name := range []string{"terraform", "tofu"} {
		if path, err := exec.LookPath(name); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", pipeline.Errorf(pipeline.CodeInvalid, op, "the pipeline has a module, but PATH has neither Terraform nor OpenTofu").
		WithHint("Install one of them, or name its path in the module's \"terraform\".")
}

// parentProgram returns the program that started this one, if that is Terraform or OpenTofu.
func parentProgram() string {
	if runtime.GOOS != "linux" {
		return ""
	}
	path, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(os.Getppid()), "exe"))
	if err != nil {
		return ""
	}
	name := filepath.Base(path)
	if name != "tofu" && name != "terraform" {
		return ""
	}
	if info, err := os.Stat(path); err != nil || info.IsDir() { // it was replaced meanwhile
		return ""
	}
	return path
}

// version finds out what a program is, once, and refuses one that is too old.
func (m *Modules) program(ctx context.Context, named string) (program, error) {
	path, err := findProgram(named)
	if err != nil {
		return program{}, err
	}
	m.shared.mu.Lock()
	defer m.shared.mu.Unlock()
	if p, ok := m.shared.programs[path]; ok {
		return p, nil
	}
	const op = "find Terraform"
	var out, errs bytes.Buffer
	err = m.start(ctx, command{program: path, args: []string{"version", "-json"}, dir: os.TempDir(), stdout: &out, stderr: &errs})
	if err != nil {
		return program{}, pipeline.Errorf(pipeline.CodeInvalid, op, "%s: %w%s", path, err, tail(errs.String())).WithHint("Name another program in the module's \"terraform\".")
	}
	p, err := identify(path, out.Bytes())
	if err != nil {
		return program{}, err
	}
	m.shared.programs[path] = p
	return p, nil
}

// identify reads what `version -json` prints. OpenTofu calls its version Terraform's.
func identify(path string, doc []byte) (program, error) {
	const op = "find Terraform"
	p := program{path: path, name: "Terraform"}
	if strings.Contains(filepath.Base(path), "tofu") {
		p.name = "OpenTofu"
	}
	var said struct {
		Version string `json:"terraform_version"`
	}
	if err := json.Unmarshal(doc, &said); err != nil {
		return p, pipeline.Errorf(pipeline.CodeInvalid, op, "%s is neither Terraform nor OpenTofu: its answer for its version is no JSON", path)
	}
	v, err := version.NewVersion(said.Version)
	if err != nil {
		return p, pipeline.Errorf(pipeline.CodeInvalid, op, "%s: version: %w", path, err)
	}
	if v.Core().LessThan(version.Must(version.NewVersion(oldest[p.name]))) {
		return p, pipeline.Errorf(pipeline.CodeInvalid, op, "%s is %s %s, and modules need at least %s", path, p.name, said.Version, oldest[p.name]).
			WithHint("Install a newer one, or name another in the module's \"terraform\".")
	}
	return p, nil
}
