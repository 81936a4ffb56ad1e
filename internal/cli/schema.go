// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// schemas are the shapes of what the commands print with --json. A test makes the file from
// the types that are printed; see schema_test.go.
//
//go:embed schemas.json
var schemas []byte

// dialect is the kind of JSON Schema.
const dialect = "https://json-schema.org/draft/2020-12/schema"

// shapes is the form of the file: a schema for each command, and those of the objects.
type shapes struct {
	Commands map[string]map[string]any  `json:"commands"`
	Defs     map[string]json.RawMessage `json:"$defs"` // as they are in the file, where fields are in the order in which they are printed
}

type schemaOptions struct {
	*factory
	command string // its words; empty for a list
}

func newSchema(f *factory, runF func(context.Context, *schemaOptions) error) *cobra.Command {
	o := &schemaOptions{factory: f}
	if runF == nil {
		runF = runSchema
	}
	return &cobra.Command{
		Use:   "schema [COMMAND]",
		Short: "Print the JSON Schema of what a command prints with --json",
		Long: "Print the JSON Schema of what a command prints with --json; `penstock schema env list`, for one. Without COMMAND,\n" +
			"list the commands that have one. \"error\" is what all of them print when they fail.",
		Args: args(0, 3),
		RunE: func(c *cobra.Command, given []string) error {
			o.command = strings.Join(given, " ")
			return runF(c.Context(), o)
		},
	}
}

func runSchema(_ context.Context, o *schemaOptions) error {
	if o.command == "" {
		all, err := readShapes()
		if err != nil {
			return err
		}
		names := slices.Sorted(maps.Keys(all.Commands))
		return o.printDone(nil, names, "%s", strings.Join(names, "\n"))
	}
	doc, err := schemaOf(o.command)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(o.Out)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}

func readShapes() (all shapes, err error) {
	err = json.Unmarshal(schemas, &all)
	return all, err
}

// schemaOf returns the schema of what a command prints, with the objects that are in it.
func schemaOf(command string) (map[string]any, error) {
	all, err := readShapes()
	if err != nil {
		return nil, err
	}
	doc, ok := all.Commands[command]
	if !ok {
		return nil, &usageError{fmt.Errorf("command %q prints no JSON; `penstock schema` lists those that do", command)}
	}
	defs := map[string]json.RawMessage{}
	var collect func(v any) error
	collect = func(v any) error {
		switch v := v.(type) {
		case []any:
			for _, at := range v {
				if err := collect(at); err != nil {
					return err
				}
			}
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				name := strings.TrimPrefix(ref, "#/$defs/")
				if _, known := defs[name]; known {
					return nil
				}
				defs[name] = all.Defs[name]
				var def map[string]any
				if err := json.Unmarshal(defs[name], &def); err != nil {
					return err
				}
				return collect(def)
			}
			for _, at := range v {
				if err := collect(at); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := collect(doc); err != nil {
		return nil, err
	}
	doc["$schema"], doc["title"], doc["$defs"] = dialect, "penstock "+command+" --json", defs
	return doc, nil
}
