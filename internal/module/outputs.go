// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// expandOutputs reads the outputs that have a meaning. An output of another type than its
// meaning takes is CodeInvalid.
func expandOutputs(all map[string]output) (pipeline.ModuleOutputs, error) {
	var o pipeline.ModuleOutputs
	for _, name := range slices.Sorted(maps.Keys(all)) {
		var err error
		out := all[name]
		if isNull(out.Value) {
			continue
		}
		var dense bytes.Buffer // a state is indented
		if json.Compact(&dense, out.Value) == nil {
			out.Value = dense.Bytes()
		}
		switch name {
		case "env", secretEnv:
			err = expandEnv(&o, name, out)
		case "endpoint":
			o.Endpoint, err = expandEndpoint(out)
		case "instance":
			o.Instance, err = expandInstance(out)
		case "data":
			o.Data, err = expandData(out)
		default:
			if !out.Sensitive {
				if o.Others == nil {
					o.Others = map[string]json.RawMessage{}
				}
				o.Others[name] = out.Value
			}
		}
		if err != nil {
			return pipeline.ModuleOutputs{}, wrongOutput("read outputs of module", name, err)
		}
	}
	return o, nil
}

func wrongOutput(op, name string, err error) error {
	return pipeline.Errorf(pipeline.CodeInvalid, op, "output %q %w", name, err).WithHint("Correct the output in the module.")
}

func isNull(value json.RawMessage) bool {
	return len(value) == 0 || bytes.Equal(bytes.TrimSpace(value), []byte("null"))
}

// kind names what a JSON value is, in Terraform's words.
func kind(value json.RawMessage) string {
	switch value = bytes.TrimSpace(value); {
	case isNull(value):
		return "null"
	case value[0] == '{':
		return "an object"
	case value[0] == '[':
		return "a list"
	case value[0] == '"':
		return "a string"
	case value[0] == 't' || value[0] == 'f':
		return "a bool"
	}
	return "a number"
}

// secretEnv is the output of variables that are secrets, beside those in the output "env".
const secretEnv = "secret_env"

var errNotSensitive = errors.New("is not sensitive, so that Terraform would show it: set sensitive = true there")

// ownPrefix begins the names of the variables that Penstock sets itself.
const ownPrefix = "PENSTOCK_"

// expandEnv reads the variables of the service and of steps from one of the outputs that have
// them. A null one is left out.
func expandEnv(o *pipeline.ModuleOutputs, from string, out output) error {
	var values map[string]json.RawMessage
	if from == secretEnv && !out.Sensitive {
		return errNotSensitive
	}
	if json.Unmarshal(out.Value, &values) != nil {
		return fmt.Errorf("is %s, but must be a map of strings", kind(out.Value))
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		text, ok := scalar(values[name])
		_, plain := o.Env[name]
		_, secret := o.SecretEnv[name]
		switch {
		case isNull(values[name]):
			continue
		case plain || secret: // of the other output: a map has a name once
			return fmt.Errorf("has %q, and so has the output \"env\": a variable has one value", name)
		case !ok:
			return fmt.Errorf("has %s as %q, but each of its values must be a string, a number or a bool: encode it, with jsonencode for instance", kind(values[name]), name)
		case name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(text, 0):
			return fmt.Errorf("has %q, which can't be the name of an environment variable", name)
		case strings.HasPrefix(name, ownPrefix):
			return fmt.Errorf("has %q, but Penstock itself sets the variables that begin with %s", name, ownPrefix)
		case out.Sensitive:
			if o.SecretEnv == nil {
				o.SecretEnv = pipeline.Secrets{}
			}
			o.SecretEnv[name] = pipeline.Secret(text)
		default:
			if o.Env == nil {
				o.Env = map[string]string{}
			}
			o.Env[name] = text
		}
	}
	return nil
}

// scalar returns a string, number or bool as Terraform converts it to a string.
func scalar(value json.RawMessage) (string, bool) {
	var text string
	if json.Unmarshal(value, &text) == nil && value[0] == '"' {
		return text, true
	}
	switch kind(value) {
	case "a bool", "a number":
		return string(bytes.TrimSpace(value)), true
	}
	return "", false
}

func expandEndpoint(out output) (string, error) {
	text, ok := scalar(out.Value)
	if !ok {
		return "", fmt.Errorf("is %s, but must be a URL", kind(out.Value))
	}
	if out.Sensitive {
		return "", fmt.Errorf("is sensitive, but the address of an environment is shown to people")
	}
	at, err := url.Parse(text)
	if err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" {
		return "", fmt.Errorf("is %q, but must be a URL with http or https and a host", text)
	}
	return text, nil
}

// expandData reads what the next environment gets as penstock.from.
func expandData(out output) (json.RawMessage, error) {
	if kind(out.Value) != "an object" {
		return nil, fmt.Errorf("is %s, but must be an object", kind(out.Value))
	}
	return out.Value, nil
}

func expandInstance(out output) (pipeline.ModuleInstance, error) {
	var i pipeline.ModuleInstance
	d := json.NewDecoder(bytes.NewReader(out.Value))
	d.DisallowUnknownFields()
	if err := d.Decode(&i); err != nil {
		return i, fmt.Errorf("must be an object of security_group_ids, instance_profile, subnet_ids and target_group_arns, of which each may be left out: %w", err)
	}
	return i, nil
}
