// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/doctor"
	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/shape"
	"github.com/penstock-io/terraform-provider-penstock/internal/watch"
)

var updateSchemas = flag.Bool("update-schemas", false, "write schemas.json")

// printed are the values that the commands print with --json.
var printed = map[string]any{
	"approve": pipeline.Decision{}, "reject": pipeline.Decision{}, "promote": pipeline.Promotion{}, "rollback": pipeline.Promotion{},
	"override": pipeline.Override{}, "pause": pipeline.Pause{}, "resume": pipeline.Pause{}, "retry": pipeline.Retry{},
	"bootstrap": bootstrapResult{}, "bootstrap --delete": bootstrapDeleted{}, "bootstrap local": statusEnvironment{},
	"builds": []buildRow{}, "runs": pipeline.RunPage{}, "logs": pipeline.Run{}, "status": []statusPipeline{}, "images": []engine.ImageUse{},
	"context list": []contextRow{}, "context set": place{}, "context show": place{}, "context use": contextUsed{}, "context remove": contextRemoved{},
	"diff": engine.Diff{}, "doctor": []doctor.Finding{}, "gc": engine.Garbage{}, "graph": drawing{}, "metrics": pipeline.Metrics{}, "notify": []notifyRow{},
	"env launch": statusEnvironment{}, "env extend": statusEnvironment{}, "env destroy": statusEnvironment{}, "env list": []envRow{}, "env show": envShown{}, "env open": opened{},
	"init": scaffolded{}, "install": installation{}, "serve": served{}, "try": tried{}, "version": versionShape{}, "watch": watch.Event{},
	"ledger verify": verifiedLedger{}, "ledger head": []app.Head{}, "ledger import": []ledger.Imported{}, "ledger archive list": []pipeline.Archive{}, "ledger archive verify": verifiedArchive{},
	"schema": []string{}, "error": failure{},
}

// unshaped are the commands that print something else than a value of a type with --json.
var unshaped = map[string]string{
	"":           "help",
	"help":       "help",
	"completion": "help", "completion bash": "a script", "completion fish": "a script", "completion zsh": "a script", "completion powershell": "a script",
	"context": "context list", "env": "help", "ledger": "help", "ledger archive": "help",
	"env logs": "refuses --json", "env exec": "refuses --json",
	"ledger export": "a format of files", "ledger archive export": "a format of files", "ledger checkpoint": "a format of files",
	"load": "for the program itself",
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
	made := shape.Schemas{Defs: map[string]any{}, Describe: known.of}
	file := shapes{Commands: map[string]map[string]any{}, Defs: made.Defs}
	for name, v := range printed {
		file.Commands[name] = made.Of(reflect.TypeOf(v))
	}
	for name, def := range made.Defs {
		for field := range def.(map[string]any)["properties"].(map[string]any) {
			if !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(field) {
				t.Errorf("%s.%s is not in snake_case", name, field)
			}
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

// of returns the comment of a field.
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
	return c[dir][owner.Name()+"."+name]
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
