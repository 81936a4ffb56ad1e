// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/zclconf/go-cty/cty"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// configuration is what has to be known of a Terraform module before Terraform runs.
type configuration struct {
	variables map[string]variable
	outputs   map[string]bool // by name, whether it is sensitive
	calls     []call
	backend   string // "cloud" or "backend", where the module has one
	encrypts  bool   // OpenTofu shall encrypt its state
	providers map[string]string
}

type variable struct {
	required, ephemeral bool
}

// call is a module block.
type call struct {
	source string
	at     hcl.Range
}

// local reports whether the module is one of a directory beside the calling one.
func (c call) local() bool {
	return strings.HasPrefix(c.source, "./") || strings.HasPrefix(c.source, "../")
}

// isConfiguration reports whether Terraform or OpenTofu reads a file as configuration.
func isConfiguration(name string) bool {
	base := strings.TrimSuffix(name, ".json")
	return slices.Contains([]string{".tf", ".tofu"}, filepath.Ext(base)) && !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, "~")
}

// hasValues reports whether Terraform reads a file for values of variables by itself.
func hasValues(name string) bool {
	base := strings.TrimSuffix(name, ".json")
	return base == "terraform.tfvars" || strings.HasSuffix(base, ".auto.tfvars")
}

// hasConfiguration reports whether a directory is a module.
func hasConfiguration(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && slices.ContainsFunc(entries, func(e os.DirEntry) bool { return !e.IsDir() && isConfiguration(e.Name()) })
}

var topSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
	{Type: "variable", LabelNames: []string{"name"}}, {Type: "module", LabelNames: []string{"name"}}, {Type: "output", LabelNames: []string{"name"}}, {Type: "terraform"},
}}

var terraformSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
	{Type: "backend", LabelNames: []string{"type"}}, {Type: "cloud"}, {Type: "encryption"}, {Type: "required_providers"},
}}

var (
	variableSchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "default"}, {Name: "ephemeral"}}}
	outputSchema   = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "sensitive"}}}
	callSchema     = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "source"}}}
)

// isTrue reports whether an argument is the word true.
func isTrue(a *hcl.Attribute) bool {
	if a == nil {
		return false
	}
	value, _ := a.Expr.Value(nil)
	return value.RawEquals(cty.True)
}

// readConfiguration reads the module in a directory. The error names file and line, with the
// file's path below the directory that shown names.
func readConfiguration(dir, shown string) (configuration, error) {
	c := configuration{variables: map[string]variable{}, outputs: map[string]bool{}, providers: map[string]string{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return c, err
	}
	parser := hclparse.NewParser()
	valued := map[string]bool{}
	for _, e := range entries {
		if e.IsDir() || !isConfiguration(e.Name()) && !hasValues(e.Name()) || e.Name() == overrideName {
			continue
		}
		parse := parser.ParseHCLFile
		if strings.HasSuffix(e.Name(), ".json") {
			parse = parser.ParseJSONFile
		}
		file, diags := parse(filepath.Join(dir, e.Name()))
		switch {
		case diags.HasErrors():
		case hasValues(e.Name()):
			values, _ := file.Body.JustAttributes()
			for name := range values {
				valued[name] = true
			}
		default:
			diags = c.read(file.Body)
		}
		if diags.HasErrors() {
			return c, malformed(dir, shown, diags)
		}
	}
	for name := range valued {
		if v, ok := c.variables[name]; ok {
			v.required = false
			c.variables[name] = v
		}
	}
	return c, nil
}

// malformed returns the first error of some.
func malformed(dir, shown string, diags hcl.Diagnostics) error {
	first := diags[slices.IndexFunc(diags, func(d *hcl.Diagnostic) bool { return d.Severity == hcl.DiagError })]
	text := first.Summary
	if first.Detail != "" {
		text += ": " + first.Detail
	}
	if first.Subject != nil {
		text = place(dir, shown, *first.Subject) + ": " + text
	}
	return pipeline.Errorf(pipeline.CodeInvalid, "read module", "%s", text)
}

// place says where something is in a module: "environment/main.tf, line 3".
func place(dir, shown string, at hcl.Range) string {
	name := at.Filename
	if rel, err := filepath.Rel(dir, name); err == nil {
		name = filepath.ToSlash(filepath.Join(shown, rel))
	}
	return fmt.Sprintf("%s, line %d", name, at.Start.Line)
}

func (c *configuration) read(body hcl.Body) hcl.Diagnostics {
	content, _, diags := body.PartialContent(topSchema)
	if diags.HasErrors() {
		return diags
	}
	for _, b := range content.Blocks {
		switch b.Type {
		case "variable":
			attributes, _, _ := b.Body.PartialContent(variableSchema)
			has, known := c.variables[b.Labels[0]]
			has.required = (!known || has.required) && attributes.Attributes["default"] == nil // an override may add one
			has.ephemeral = has.ephemeral || isTrue(attributes.Attributes["ephemeral"])
			c.variables[b.Labels[0]] = has
		case "module":
			attributes, _, _ := b.Body.PartialContent(callSchema)
			if source := attributes.Attributes["source"]; source != nil {
				if value, _ := source.Expr.Value(nil); value.Type() == cty.String && value.IsKnown() && !value.IsNull() {
					c.calls = append(c.calls, call{value.AsString(), source.Range})
				}
			}
		case "output":
			attributes, _, _ := b.Body.PartialContent(outputSchema)
			c.outputs[b.Labels[0]] = c.outputs[b.Labels[0]] || isTrue(attributes.Attributes["sensitive"])
		case "terraform":
			c.readSettings(b.Body)
		}
	}
	return diags
}

// readSettings reads a block "terraform".
func (c *configuration) readSettings(body hcl.Body) {
	content, _, _ := body.PartialContent(terraformSchema)
	for _, b := range content.Blocks {
		switch b.Type {
		case "required_providers":
		case "encryption":
			c.encrypts = true
			continue
		default:
			c.backend = b.Type
			continue
		}
		providers, _ := b.Body.JustAttributes()
		for name, a := range providers {
			if value, _ := a.Expr.Value(nil); value.IsWhollyKnown() && value.Type().IsObjectType() && value.Type().HasAttribute("source") && value.GetAttr("source").Type() == cty.String {
				c.providers[name] = value.GetAttr("source").AsString()
			}
		}
	}
}
