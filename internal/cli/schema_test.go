// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
	"github.com/penstock-io/terraform-provider-penstock/internal/doctor"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/shape"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
	"github.com/penstock-io/terraform-provider-penstock/internal/watch"
)

var updateSchemas = flag.Bool("update-schemas", false, "write schemas.json")

// printed are the values that the commands print with --json.
var printed = map[string]any{
	"approve": pipeline.Decision{}, "reject": pipeline.Decision{}, "promote": pipeline.Promotion{}, "rollback": pipeline.Promotion{},
	"override": pipeline.Override{}, "evidence": report.Evidence{}, "pause": pipeline.Pause{}, "resume": pipeline.Pause{}, "retry": pipeline.Retry{},
	"bootstrap": bootstrapResult{}, "bootstrap --delete": bootstrapDeleted{}, "bootstrap local": envRow{},
	"builds": []buildRow{}, "runs": []report.RunView{}, "history": []report.HistoryEntry{}, "logs": pipeline.Run{}, "status": []statusPipeline{}, "images": []report.ImageUse{},
	"context list": []contextRow{}, "context set": contextRow{}, "context show": place{}, "context use": contextNamed{}, "context remove": contextNamed{},
	"diff": report.Diff{}, "doctor": []doctor.Finding{}, "gc": collect.Garbage{}, "graph": drawing{}, "metrics": pipeline.Metrics{}, "notify": []notifyRow{},
	"env launch": envRow{}, "env extend": envRow{}, "env destroy": envRow{}, "env forget": envRow{}, "env list": []envRow{}, "env show": envShown{}, "env open": envRow{},
	"init": scaffolded{}, "install": installation{}, "serve": served{}, "try": tried{}, "version": versionShape{}, "watch": watch.Event{},
	"ledger verify": verifiedLedger{}, "ledger head": []app.Head{}, "ledger import": []ledger.Imported{}, "ledger archive list": []pipeline.Archive{}, "ledger archive verify": verifiedArchive{},
	"schema": []string{}, "error": failure{},
}

// differing are the names of fields that have several types.
var differing = []string{
	"error",    // of all that failed the text; of a failure all there is about it
	"artifact", // a digest, and where it was made all there is about it
}

// unshaped are the commands that print something else than a value of a type with --json.
var unshaped = map[string]string{
	"":           "help",
	"help":       "help",
	"completion": "help", "completion bash": "a script", "completion fish": "a script", "completion zsh": "a script", "completion powershell": "a script",
	"context": "context list", "env": "help", "ledger": "help", "ledger archive": "ledger archive list",
	"env logs": "refuses --json", "env exec": "refuses --json",
	"ledger export": "a format of files", "ledger archive export": "a format of files", "ledger checkpoint": "a format of files",
	"load": "for the program itself", "note": "for the program itself",
}

// Each command that prints JSON has a schema, each field in it is documented, and has a name
// as the others have.
func TestSchemas(t *testing.T) {
	f, _, _ := testFactory()
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		name := strings.TrimSpace(strings.TrimPrefix(c.CommandPath(), "penstock"))
		if _, ok := printed[name]; !ok && unshaped[name] == "" {
			t.Errorf("command %q has no shape of its JSON in printed", name)
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(newRoot(f))

	known := comments{}
	used := map[string]bool{}
	made := shape.Schemas{Defs: map[string]any{}, Describe: func(owner reflect.Type, field, name string) string {
		text := known.of(owner, field)
		for i := range owner.NumField() {
			if f := owner.Field(i); f.Name != strings.ToUpper(f.Name) && regexp.MustCompile(`[a-z,;`+"`"+`] `+f.Name+`\b`).MatchString(text) {
				t.Errorf("field %s of %s is described as %q: say what %s is, for those who see the JSON only", field, owner, text, f.Name)
			}
		}
		if text == "" {
			if text, used[name] = meanings[name], true; text == "" {
				t.Errorf("field %s of %s is not documented: give it a comment", field, owner)
			}
		}
		return text
	}}
	file := shapes{Commands: map[string]map[string]any{}, Defs: map[string]json.RawMessage{}}
	for name, v := range printed {
		file.Commands[name] = made.Of(reflect.TypeOf(v))
	}
	for name, def := range made.Defs {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(def); err != nil {
			t.Fatal(err)
		}
		file.Defs[name] = b.Bytes()
	}
	kinds := map[string]any{}
	for name, def := range made.Defs {
		for _, field := range def.(map[string]any)["properties"].(shape.Properties) {
			if !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(field.Name) {
				t.Errorf("%s.%s is not in snake_case", name, field.Name)
			}
			if isTime := field.Schema["format"] == "date-time"; isTime != strings.HasSuffix(field.Name, "_at") {
				t.Errorf("%s.%s: the names of times, and of nothing else, end in _at", name, field.Name)
			}
			kind := field.Schema["type"]
			if kind == nil {
				kind = field.Schema["$ref"]
			}
			if kinds[field.Name] == nil {
				kinds[field.Name] = kind
			} else if kinds[field.Name] != kind && !slices.Contains(differing, field.Name) {
				t.Errorf("%s.%s is %v, and elsewhere %v", name, field.Name, kind, kinds[field.Name])
			}
		}
	}
	for name := range meanings {
		if !used[name] {
			t.Errorf("meanings has %q, which no field needs", name)
		}
	}
	var doc bytes.Buffer
	enc := json.NewEncoder(&doc)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(file); err != nil {
		t.Fatal(err)
	}
	if *updateSchemas {
		if err := os.WriteFile("schemas.json", doc.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(doc.Bytes(), schemas) {
		t.Error("schemas.json is not what the types say: look at what changes for those who read it, then `go test ./internal/cli -run TestSchemas -update-schemas`")
	}
}

// comments are those of the fields of structs, by package and type.
type comments map[string]map[string]string

// of returns the comment of a field. One that begins as Go's do, with the name of the field, loses
// that.
func (c comments) of(owner reflect.Type, name string) string {
	dir, ok := strings.CutPrefix(owner.PkgPath(), "github.com/penstock-io/terraform-provider-penstock/")
	if !ok {
		return ""
	}
	if c[dir] == nil {
		c[dir] = map[string]string{}
		files, err := filepath.Glob(filepath.Join("..", "..", dir, "*.go"))
		if err != nil {
			panic(err)
		}
		for _, file := range files {
			c.read(dir, file)
		}
	}
	return regexp.MustCompile(`^`+name+` (is|are|says) `).ReplaceAllString(c[dir][owner.Name()+"."+name], "")
}

func (c comments) read(dir, name string) {
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
	if err != nil {
		panic(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if fields, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range fields.Fields.List {
				for _, name := range f.Names {
					text := strings.Join(strings.Fields(strings.Join(slices.DeleteFunc([]string{f.Doc.Text(), f.Comment.Text()}, func(s string) bool { return s == "" }), " ")), " ")
					c[dir][spec.Name.Name+"."+name.Name] = text
				}
			}
		}
		return true
	})
}

// CheckJSON checks what a command line printed against the command's schema, and returns the
// command's name; empty for one that prints no JSON. It is for the scripts.
func CheckJSON(arguments []string, out []byte) (string, error) {
	f, _, _ := testFactory()
	root := newRoot(f)
	if !wantsJSON(arguments) || len(bytes.TrimSpace(out)) == 0 {
		return "", nil
	}
	c, _, err := root.Find(arguments)
	if err != nil {
		return "", err
	}
	name := strings.TrimSpace(strings.TrimPrefix(c.CommandPath(), "penstock"))
	if list := name + " list"; unshaped[name] == list {
		name = list
	}
	if _, ok := printed[name]; !ok {
		return "", nil
	}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); { // a stream has one for each line
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return name, err
		}
		as := name
		if failed := (failure{}); json.Unmarshal(raw, &failed) == nil && failed.Error.Code != "" {
			as = "error"
		}
		if err := validate(as, raw); err != nil {
			return name, fmt.Errorf("%s: %w", raw, err)
		}
	}
	return name, nil
}

// WantsJSON reports whether a command line asks for JSON.
func WantsJSON(arguments []string) bool { return wantsJSON(arguments) }

// elsewhere are the commands whose output other tests see than the scripts: they need AWS,
// Terraform or a browser, or write outside of their directory.
var elsewhere = []string{"bootstrap", "bootstrap --delete", "bootstrap local", "env open", "error", "init", "install", "serve", "watch"}

// PrintingJSON returns the commands that the scripts have to run with --json.
func PrintingJSON() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(printed)), func(c string) bool { return slices.Contains(elsewhere, c) })
}

// validate checks a document against the schema of a command.
func validate(command string, doc []byte) error {
	schema, err := schemaOf(command)
	if err != nil {
		return err
	}
	text, err := json.Marshal(schema)
	if err != nil {
		return err
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("penstock:"+command, parsed); err != nil {
		return err
	}
	compiled, err := c.Compile("penstock:" + command)
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		return err
	}
	return compiled.Validate(v)
}

// Each schema is one, and tells a wrong document.
func TestValidate(t *testing.T) {
	for name, v := range printed {
		doc, err := shape.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(name, doc); err != nil {
			t.Errorf("%s: %s: %v", name, doc, err)
		}
	}
	for doc, command := range map[string]string{
		`{"runs":[],"next":""}`: "runs", `null`: "runs", `[{"ID":"r-1"}]`: "runs", `[{"pipeline":"shop"}]`: "status",
		`{"event":"apply","created_at":"yesterday"}`: "watch", `{}`: "error",
	} {
		if err := validate(command, []byte(doc)); err == nil {
			t.Errorf("%s passes for what penstock %s prints", doc, command)
		}
	}
}
