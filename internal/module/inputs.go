// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// factsVariable is the variable of a module that gets the facts of the environment.
const factsVariable = "penstock"

// inputsOf returns the inputs of a request for the package with a digest.
func inputsOf(r pipeline.ModuleRequest, digest string) (*inputs, error) {
	in := &inputs{Package: digest, Fleet: r.Fleet, Program: r.Program, Variables: r.Variables, Facts: r.Facts, Stateful: r.Stateful, Timeout: r.Timeout}
	if !r.Target.Home() {
		in.Target = &r.Target
	}
	for name, secret := range r.Secrets {
		if in.Secrets == nil {
			in.Secrets = map[string]json.RawMessage{}
		}
		in.Secrets[name] = json.RawMessage(secret.Reveal())
	}
	for _, values := range []map[string]json.RawMessage{in.Variables, in.Secrets} {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			if !json.Valid(values[name]) {
				return nil, pipeline.Errorf(pipeline.CodeInvalid, "apply module", "the value of variable %q is no JSON", name)
			}
		}
	}
	return in, nil
}

// lend lets the inputs have the write-only values of what was applied last, where they have
// none of their own.
func (in *inputs) lend(last *inputs) {
	if last == nil {
		return
	}
	for name, value := range last.Secrets {
		_, plain := in.Variables[name]
		if _, own := in.Secrets[name]; own || plain {
			continue
		}
		if in.Secrets == nil {
			in.Secrets = map[string]json.RawMessage{}
		}
		in.Secrets[name] = value
		in.lent = append(in.lent, name)
	}
}

// values returns the values of the module's variables: all of them, and those that an apply of
// a plan needs once more, as no plan keeps them. A variable that the module lacks, or that it
// requires and does not get, is CodeInvalid. shown is what the module is called.
func (in *inputs) values(c configuration, shown string) (all, ephemeral map[string]json.RawMessage, err error) {
	const op = "apply module"
	all, ephemeral = map[string]json.RawMessage{}, map[string]json.RawMessage{}
	for _, given := range []map[string]json.RawMessage{in.Variables, in.Secrets} {
		for _, name := range slices.Sorted(maps.Keys(given)) {
			if _, declared := c.variables[name]; !declared {
				if slices.Contains(in.lent, name) {
					continue
				}
				return nil, nil, pipeline.Errorf(pipeline.CodeInvalid, op, "module %q has no variable %q, and gets a value for it", shown, name).
					WithHint("Declare the variable in the module, or remove the value. The module's variables are %s.", quoted(slices.Collect(maps.Keys(c.variables))))
			}
			all[name] = given[name]
		}
	}
	if _, declared := c.variables[factsVariable]; declared {
		if _, given := all[factsVariable]; given {
			return nil, nil, pipeline.Errorf(pipeline.CodeInvalid, op, "variable %q of module %q can't be set: it says what environment it is", factsVariable, shown).WithHint("Remove the value.")
		}
		facts, err := json.Marshal(in.Facts)
		if err != nil {
			return nil, nil, err
		}
		all[factsVariable] = facts
	}
	var without []string
	for name, v := range c.variables {
		value, given := all[name]
		if v.required && !given {
			without = append(without, name)
		}
		if v.ephemeral && given {
			ephemeral[name] = value
		}
	}
	if len(without) > 0 {
		return nil, nil, pipeline.Errorf(pipeline.CodeInvalid, op, "module %q requires values of %s, and gets none", shown, quoted(without)).
			WithHint("Set them in the module's variables, or give the variables defaults.")
	}
	return all, ephemeral, nil
}

// quoted lists names.
func quoted(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return `"` + strings.Join(sorted(names), `", "`) + `"`
}
