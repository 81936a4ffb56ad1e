// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The rules of this repository's layout, kept by tests. Each rule is a function
// over plain values, and a table shows that it finds what it is there for.

const module = "github.com/penstock-io/terraform-provider-penstock"

// layers says which of the module's packages each package may import. A package
// that is not listed may import none. Those in testOnly import as they like, and
// only tests import them.
var layers = map[string][]string{
	"":                              {"internal/app", "internal/cli", "internal/platform/local/supervisor", "internal/process", "internal/provider"},
	"internal/pipeline":             {},
	"internal/gate":                 {"internal/pipeline"}, // pure: the standard library besides
	"internal/poll":                 {},
	"internal/regular":              {}, // opens what steps leave, for all who read it
	"internal/process":              {},
	"internal/present":              {"internal/pipeline"}, // makes text printable for all who take some from outside, adapters among them
	"internal/present/reason":       {"internal/gate", "internal/pipeline", "internal/present"},
	"internal/present/shape":        {},
	"internal/present/forge":        {}, // addresses of pages, for all who show commits and check what is configured
	"internal/present/ask":          {"internal/pipeline", "internal/present", "internal/report"},
	"internal/present/draw":         {"internal/gate", "internal/pipeline", "internal/present", "internal/present/reason"},
	"internal/workplace":            {"internal/pipeline"},
	"internal/runlog":               {"internal/pipeline", "internal/present"}, // how output gets into logs, for all who run commands
	"internal/state":                {"internal/gate", "internal/pipeline"},
	"internal/lock":                 {"internal/pipeline", "internal/poll"},
	"internal/decision":             {"internal/gate", "internal/pipeline", "internal/state"}, // ledger only: no platform, no leases
	"internal/modular":              {"internal/pipeline"},                                    // a platform, with the module of an environment
	"internal/places":               {"internal/pipeline"},                                    // a platform for each place
	"internal/collect":              {"internal/lock", "internal/modular", "internal/pipeline", "internal/places", "internal/state", "internal/workplace"},
	"internal/report":               {"internal/collect", "internal/gate", "internal/lock", "internal/pipeline", "internal/present", "internal/present/forge", "internal/state"},
	"internal/run":                  {"internal/gate", "internal/lock", "internal/modular", "internal/pipeline", "internal/places", "internal/poll", "internal/report", "internal/runlog", "internal/state", "internal/workplace"},
	"internal/engine":               {"internal/collect", "internal/decision", "internal/gate", "internal/lock", "internal/modular", "internal/pipeline", "internal/places", "internal/report", "internal/run", "internal/state"},
	"internal/ledger":               {"internal/cloud", "internal/pipeline", "internal/poll"},
	"internal/artifact":             {"internal/cloud", "internal/pipeline", "internal/poll", "internal/process", "internal/regular"},
	"internal/source":               {"internal/pipeline", "internal/poll", "internal/present", "internal/process"},
	"internal/step":                 {"internal/pipeline", "internal/poll", "internal/present", "internal/process", "internal/regular", "internal/runlog"},
	"internal/platform/local/store": {"internal/pipeline", "internal/poll", "internal/regular"},
	// The client and the supervisor are two processes: neither imports the other.
	"internal/platform/local":            {"internal/pipeline", "internal/platform/local/filetree", "internal/platform/local/protocol", "internal/platform/local/store", "internal/poll", "internal/process", "internal/regular", "internal/runlog", "internal/workplace"},
	"internal/platform/local/supervisor": {"internal/pipeline", "internal/platform/local/filetree", "internal/platform/local/protocol", "internal/platform/local/store", "internal/poll", "internal/process", "internal/runlog", "internal/workplace"},
	"internal/platform/local/protocol":   {"internal/pipeline", "internal/poll", "internal/present", "internal/process"},
	"internal/platform/local/filetree":   {"internal/platform/local/protocol", "internal/platform/local/store", "internal/regular", "internal/workplace"},
	"internal/cloud":                     {"internal/pipeline"},
	// The platform on AWS: stack and instance are for both; an image knows no fleets, a fleet no images.
	"internal/platform/aws/stack":    {"internal/cloud", "internal/pipeline", "internal/poll"},
	"internal/platform/aws/instance": {"internal/cloud", "internal/pipeline", "internal/platform/aws/stack", "internal/poll", "internal/runlog"},
	"internal/platform/aws/image":    {"internal/cloud", "internal/pipeline", "internal/platform/aws/instance", "internal/platform/aws/stack", "internal/poll"},
	"internal/platform/aws/fleet":    {"internal/cloud", "internal/pipeline", "internal/platform/aws/instance", "internal/platform/aws/stack", "internal/poll", "internal/regular"},
	"internal/platform/aws":          {"internal/pipeline", "internal/platform/aws/fleet", "internal/platform/aws/image", "internal/platform/aws/instance", "internal/platform/aws/stack"},
	"internal/codebuild":             {"internal/cloud", "internal/pipeline", "internal/poll", "internal/present", "internal/regular", "internal/runlog"},
	"internal/bootstrap":             {"internal/cloud", "internal/pipeline", "internal/poll"},
	"internal/audit":                 {"internal/bootstrap", "internal/cloud"},
	"internal/checkpoint":            {"internal/pipeline"},
	// A package of a module is packed and unpacked as artifacts are.
	"internal/module": {"internal/artifact", "internal/cloud", "internal/pipeline", "internal/poll", "internal/present", "internal/process", "internal/regular", "internal/runlog"},
	"internal/notice": {"internal/cloud", "internal/gate", "internal/pipeline", "internal/present", "internal/present/reason", "internal/process"},
	"internal/app": {
		"internal/artifact", "internal/audit", "internal/bootstrap", "internal/cloud", "internal/codebuild", "internal/engine", "internal/ledger", "internal/module", "internal/notice", "internal/pipeline",
		"internal/platform/aws", "internal/platform/local", "internal/platform/local/protocol",
		"internal/poll", "internal/process", "internal/source", "internal/step", "internal/workplace",
	},
	"internal/develop":  {"internal/pipeline", "internal/present", "internal/process", "internal/regular", "internal/run"},
	"internal/doctor":   {"internal/app", "internal/audit", "internal/collect", "internal/gate", "internal/lock", "internal/pipeline", "internal/present", "internal/present/reason"},
	"internal/install":  {"internal/pipeline"},
	"internal/scaffold": {"internal/pipeline"},
	"internal/board":    {"internal/decision", "internal/engine", "internal/gate", "internal/lock", "internal/pipeline", "internal/present", "internal/present/ask", "internal/present/draw", "internal/present/forge", "internal/present/reason", "internal/present/shape", "internal/report", "internal/run"},
	"internal/watch":    {"internal/app", "internal/gate", "internal/lock", "internal/pipeline", "internal/present", "internal/report", "internal/source"},
	"internal/cli":      {"internal/app", "internal/board", "internal/bootstrap", "internal/checkpoint", "internal/cloud", "internal/collect", "internal/decision", "internal/develop", "internal/doctor", "internal/engine", "internal/gate", "internal/install", "internal/pipeline", "internal/present", "internal/present/ask", "internal/present/draw", "internal/present/forge", "internal/present/reason", "internal/present/shape", "internal/report", "internal/run", "internal/scaffold", "internal/watch"},
	"internal/provider": {"internal/app", "internal/cloud", "internal/engine", "internal/gate", "internal/pipeline", "internal/present", "internal/present/ask", "internal/present/forge", "internal/present/reason", "internal/report", "internal/run", "internal/source", "internal/step"},
}

// testOnly are the packages that only tests use.
var testOnly = []string{"internal/acceptance", "internal/app/apptest", "internal/cloud/apitest", "internal/cloud/cloudtest", "internal/cloud/iamtest", "internal/docstest", "internal/e2e", "internal/lab", "internal/lab/serve", "internal/ledger/ledgertest", "internal/module/moduletest", "internal/pipeline/pipelinetest", "internal/platform/aws/awstest", "internal/platform/local/localtest", "internal/platform/platformtest", "internal/simulation", "internal/workplace/workplacetest"}

// confined says which packages alone may import modules with a prefix.
var confined = map[string][]string{
	"github.com/hashicorp/terraform-plugin-": {"", "internal/provider"},
	"github.com/spf13/cobra":                 {"internal/cli"},
	"github.com/hashicorp/terraform-exec":    {"internal/watch"},
	"modernc.org/sqlite":                     {"internal/ledger"},
	"github.com/aws/aws-sdk-go-v2": {
		"internal/app", "internal/artifact", "internal/audit", "internal/bootstrap", "internal/cloud", "internal/codebuild", "internal/ledger", "internal/module", "internal/notice",
		"internal/platform/aws", "internal/platform/aws/fleet", "internal/platform/aws/image", "internal/platform/aws/instance", "internal/platform/aws/stack",
	},
}

// faces are the packages that write for people, and so may name commands. The domain and the
// adapters return pipeline.Advice, which package present/reason has the words for.
var faces = []string{
	"internal/cli", "internal/provider", "internal/board", "internal/present/ask", "internal/present/reason",
	"internal/doctor",   // its findings are what `penstock doctor` prints, remedies included
	"internal/watch",    // prints what it does, and runs Terraform
	"internal/scaffold", // writes the files that `penstock init` explains to their reader
}

// interfaces are what only faces say: a command of Penstock or Terraform, and an assignment of
// a configuration.
var interfaces = regexp.MustCompile(`(^|[^-/.\w])(penstock|terraform) [a-z]|\b[a-z_]+ = (\{ |"|%q\b)`)

// flags are what hints of a package name that is not one command, whose parameters are flags.
var flags = regexp.MustCompile(`^(--[a-z]|([^a]|a[^w]).* --[a-z])`) // not "aws …"

// commands are the packages that are one command each.
var commands = []string{"internal/bootstrap", "internal/develop", "internal/install"}

// origins are no such words, but what a record says of where an environment is from.
var origins = []string{"penstock env", "penstock bootstrap local"}

// topLevel is what may lie at the top, beside dotfiles.
var topLevel = []string{
	"CHANGELOG.md", "GNUmakefile", "LICENSE", "README.md", "docs", "examples", "go.mod", "go.sum", "internal", "main.go", "prose_test.go",
	"repository_test.go", "terraform-registry-manifest.json", "tools",
}

// pure are the packages that need nothing but the standard library, and one another.
var pure = []string{"internal/pipeline", "internal/gate"}

// What is larger than this is several things: split it by what it is about. What one type
// embeds counts for the type that declares it.
const (
	maxLines         = 800 // of a file
	maxFunctionLines = 80
	maxMethods       = 40
)

func checkImports(pkg string, imports []string) []string {
	if slices.Contains(testOnly, pkg) {
		return nil
	}
	allowed, known := layers[pkg]
	if !known {
		return []string{fmt.Sprintf("package %s is in no layer: add it to layers", pkg)}
	}
	var wrong []string
	for _, imported := range imports {
		if own, ok := strings.CutPrefix(imported, module+"/"); ok {
			if !slices.Contains(allowed, own) {
				wrong = append(wrong, fmt.Sprintf("%s imports %s", pkg, own))
			}
			continue
		}
		if slices.Contains(pure, pkg) && strings.Contains(strings.Split(imported, "/")[0], ".") {
			wrong = append(wrong, fmt.Sprintf("%s imports %s, but only the standard library is allowed", pkg, imported))
		}
		for prefix, holders := range confined {
			if strings.HasPrefix(imported, prefix) && !slices.Contains(holders, pkg) {
				wrong = append(wrong, fmt.Sprintf("%s imports %s, which is for %q", pkg, imported, holders))
			}
		}
	}
	return wrong
}

// isShow reports whether a file is the script that shows an example.
func isShow(name string) bool {
	show, _ := path.Match("examples/*/run", name)
	return show
}

func checkHeader(name, text string) []string {
	first, _, _ := strings.Cut(strings.TrimPrefix(text, "#!/usr/bin/env bash\n"), "\n")
	if !strings.Contains(first, "Copyright (c) Penstock contributors") || !strings.Contains(text, "SPDX-License-Identifier: MPL-2.0") {
		return []string{name + " lacks the licence header"}
	}
	return nil
}

// checkWords checks that a Go file below the faces has no words of theirs in its texts.
func checkWords(name, text string) []string {
	if slices.Contains(faces, path.Dir(name)) {
		return nil
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, 0)
	if err != nil {
		return []string{err.Error()}
	}
	var wrong []string
	refuse := func(words *regexp.Regexp) func(ast.Node) bool {
		return func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			said, err := strconv.Unquote(lit.Value)
			if found := words.FindString(said); err == nil && found != "" && !slices.Contains(origins, said) {
				wrong = append(wrong, fmt.Sprintf("%s says %q, which is a face's to say: return a pipeline.Advice", fset.Position(lit.Pos()), found))
			}
			return true
		}
	}
	ast.Inspect(file, refuse(interfaces))
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || slices.Contains(commands, path.Dir(name)) {
			return true
		}
		if f, ok := call.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "WithHint" {
			ast.Inspect(call.Args[0], refuse(flags))
		}
		return true
	})
	return wrong
}

// zoneless are the layouts of package time that lack a zone.
var zoneless = []string{"DateTime", "DateOnly", "TimeOnly", "Kitchen", "Stamp", "StampMilli", "ANSIC"}

// checkSource checks a Go file that is no test for what is kept out of them.
func checkSource(name, text string) []string {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, 0)
	if err != nil {
		return []string{err.Error()}
	}
	var wrong []string
	if n := strings.Count(text, "\n"); n > maxLines {
		wrong = append(wrong, fmt.Sprintf("%s has %d lines: split it", name, n))
	}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			wrong = append(wrong, name+" has an init function")
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok {
			if s, ok := c.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "ParseInLocation" {
				return false // it reads a time in a zone that it names
			}
		}
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Sleep" {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
				wrong = append(wrong, fmt.Sprintf("%s calls time.Sleep: wait with poll.Until or a timer and the context", fset.Position(n.Pos())))
			}
		}
		if s, ok := n.(*ast.SelectorExpr); ok && slices.Contains(zoneless, s.Sel.Name) {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
				wrong = append(wrong, fmt.Sprintf("%s has time.%s, which lacks a zone: say a time with pipeline.Moment or Clock", fset.Position(n.Pos()), s.Sel.Name))
			}
		}
		return true
	})
	return wrong
}

// checkSizes checks the types and functions of a package, which is in the given files.
// Those of them that are excepted must be too large.
func checkSizes(pkg string, texts []string, excepted ...string) []string {
	var wrong []string
	large := func(name, format string, args ...any) {
		if i := slices.Index(excepted, name); i >= 0 {
			excepted = slices.Delete(slices.Clone(excepted), i, i+1)
			return
		}
		wrong = append(wrong, name+fmt.Sprintf(format, args...)+": split it by what it is about")
	}
	methods := map[string]map[string]bool{} // by type: a method may be there for each system
	for _, text := range texts {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, pkg, text, 0)
		if err != nil {
			return []string{err.Error()}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				name := pkg + "."
				if n.Recv != nil {
					name += receiver(n.Recv.List[0].Type)
					if methods[name] == nil {
						methods[name] = map[string]bool{}
					}
					methods[name][n.Name.Name] = true
					name += "."
				}
				if lines := fset.Position(n.End()).Line - fset.Position(n.Pos()).Line + 1; lines > maxFunctionLines {
					large(name+n.Name.Name, " has %d lines", lines)
				}
			case *ast.TypeSpec:
				if i, ok := n.Type.(*ast.InterfaceType); ok && i.Methods.NumFields() > maxMethods {
					large(pkg+"."+n.Name.Name, " has %d methods", i.Methods.NumFields())
				}
			}
			return true
		})
	}
	for _, name := range slices.Sorted(maps.Keys(methods)) {
		if n := len(methods[name]); n > maxMethods {
			large(name, " has %d methods", n)
		}
	}
	for _, name := range excepted {
		if strings.HasPrefix(name, pkg+".") {
			wrong = append(wrong, name+" is not too large any more: remove it from the exceptions")
		}
	}
	return wrong
}

// viewers show what the rooms and reports return, and reach no port.
var viewers = []string{"internal/board", "internal/cli", "internal/develop", "internal/doctor", "internal/provider", "internal/scaffold", "internal/watch"}

// openers know the ports, and show nobody one.
var openers = []string{"internal/app", "internal/engine"}

// ofHidden reports whether a method is of a type that is not exported: it is there for a port.
func ofHidden(method *ast.FuncDecl) bool {
	if method.Recv == nil {
		return false
	}
	of := method.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	name, ok := of.(*ast.Ident)
	return ok && !name.IsExported()
}

// checkPorts checks that no face names a port of package pipeline, and that no method and no
// field, but those of configurations, shows one.
func checkPorts(pkg, name, text string, ports []string) []string {
	file, err := parser.ParseFile(token.NewFileSet(), name, text, 0)
	if err != nil {
		return []string{err.Error()}
	}
	// named returns the ports that a piece of code names.
	named := func(n ast.Node) (found []string) {
		ast.Inspect(n, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && slices.Contains(ports, s.Sel.Name) {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "pipeline" {
					found = append(found, s.Sel.Name)
				}
			}
			return true
		})
		return found
	}
	var wrong []string
	if slices.Contains(viewers, pkg) {
		for _, port := range named(file) {
			wrong = append(wrong, fmt.Sprintf("%s has pipeline.%s: use a report, or declare what you need of it", name, port))
		}
	}
	if !slices.Contains(openers, pkg) {
		return wrong
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Name.IsExported() && n.Type.Results != nil && !ofHidden(n) {
				for _, port := range named(n.Type.Results) {
					wrong = append(wrong, fmt.Sprintf("%s: %s returns pipeline.%s to whoever asks", name, n.Name.Name, port))
				}
			}
			return false
		case *ast.TypeSpec:
			fields, ok := n.Type.(*ast.StructType)
			if !ok || !n.Name.IsExported() || n.Name.Name == "Config" {
				return false
			}
			for _, f := range fields.Fields.List {
				if len(f.Names) == 0 || f.Names[0].IsExported() {
					for _, port := range named(f.Type) {
						wrong = append(wrong, fmt.Sprintf("%s: %s shows pipeline.%s", name, n.Name.Name, port))
					}
				}
			}
		}
		return true
	})
	return wrong
}

// interfacesOf returns the names of the exported interfaces that a file declares.
func interfacesOf(text string) (names []string, err error) {
	file, err := parser.ParseFile(token.NewFileSet(), "", text, 0)
	if err != nil {
		return nil, err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.IsExported() {
			if _, ok := spec.Type.(*ast.InterfaceType); ok {
				names = append(names, spec.Name.Name)
			}
		}
		return true
	})
	return names, nil
}

// receiver returns the name of the type that a method is of.
func receiver(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return receiver(t.X)
	case *ast.IndexExpr: // of a generic type
		return receiver(t.X)
	case *ast.IndexListExpr:
		return receiver(t.X)
	case *ast.Ident:
		return t.Name
	}
	return ""
}

// checkDocs checks that exactly one of a package's files has the package's doc.
func checkDocs(pkg string, docs []string) []string {
	var said []string
	for _, d := range docs {
		if strings.TrimSpace(d) != "" {
			said = append(said, d)
		}
	}
	switch {
	case len(said) != 1:
		return []string{fmt.Sprintf("package %s has %d package docs, not one", pkg, len(said))}
	case !strings.HasPrefix(said[0], "Package ") && !strings.HasPrefix(said[0], "Command "):
		return []string{fmt.Sprintf("the doc of package %s begins %q", pkg, strings.SplitN(said[0], "\n", 2)[0])}
	}
	return nil
}

func checkTopLevel(names []string) []string {
	var wrong []string
	for _, name := range names {
		if !strings.HasPrefix(name, ".") && !slices.Contains(topLevel, name) {
			wrong = append(wrong, name+" does not belong to the top level")
		}
	}
	return wrong
}

func TestRules(t *testing.T) {
	const header = "// Copyright (c) Penstock contributors\n// SPDX-License-Identifier: MPL-2.0\n\n"
	methods := func(n int) (text string) {
		for i := range n {
			text += fmt.Sprintf("func (*t) m%d() {}\n", i)
		}
		return "package a\ntype t int\n" + text
	}
	function := "package a\nfunc f() {" + strings.Repeat("\n", maxFunctionLines) + "}\n"
	tests := map[string]struct {
		got  []string
		want string
	}{
		"a domain with a library":    {checkImports("internal/pipeline", []string{"time", "github.com/spf13/cobra"}), "standard library"},
		"a planner with a library":   {checkImports("internal/gate", []string{"slices", module + "/internal/pipeline", "github.com/hashicorp/go-hclog"}), "standard library"},
		"a planner with the engine":  {checkImports("internal/gate", []string{module + "/internal/engine"}), "imports internal/engine"},
		"an adapter with an adapter": {checkImports("internal/step", []string{module + "/internal/ledger"}), "imports internal/ledger"},
		"a front end with the other": {checkImports("internal/cli", []string{module + "/internal/provider"}), "imports internal/provider"},
		"a client with a supervisor": {checkImports("internal/platform/local", []string{module + "/internal/platform/local/supervisor"}), "imports internal/platform/local/supervisor"},
		"a supervisor with a client": {checkImports("internal/platform/local/supervisor", []string{module + "/internal/platform/local"}), "imports internal/platform/local"},
		"cobra in the engine":        {checkImports("internal/engine", []string{"github.com/spf13/cobra"}), "which is for"},
		"a package in no layer":      {checkImports("internal/util", nil), "in no layer"},
		"a fleet with an image":      {checkImports("internal/platform/aws/fleet", []string{module + "/internal/platform/aws/image"}), "imports internal/platform/aws/image"},
		"an image with a fleet":      {checkImports("internal/platform/aws/image", []string{module + "/internal/platform/aws/fleet"}), "imports internal/platform/aws/fleet"},
		"an import as it should be":  {checkImports("internal/engine", []string{"context", module + "/internal/pipeline"}), ""},
		"no header":                  {checkHeader("a.go", "package a\n"), "licence"},
		"a script's header":          {checkHeader("run", "#!/usr/bin/env bash\n# Copyright (c) Penstock contributors\n# SPDX-License-Identifier: MPL-2.0\n"), ""},
		"an init":                    {checkSource("a.go", header+"package a\nfunc init() {}\n"), "init function"},
		"a method called init":       {checkSource("a.go", header+"package a\ntype t int\nfunc (t) init() {}\n"), ""},
		"a sleep":                    {checkSource("a.go", header+"package a\nimport \"time\"\nfunc f() { time.Sleep(1) }\n"), "a.go:6"},
		"a time without a zone":      {checkSource("a.go", header+"package a\nimport \"time\"\nvar f = time.DateTime\n"), "a.go:6"},
		"a command in the domain":    {checkWords("internal/run/a.go", header+"package a\nvar f = \"See `penstock logs %s`.\"\n"), "a.go:5"},
		"a command of Terraform":     {checkWords("internal/run/a.go", header+"package a\nvar f = \"terraform apply\"\n"), "a.go:5"},
		"an edit in the domain":      {checkWords("internal/run/a.go", header+"package a\nvar f = `Set approval = \"x\"`\n"), "a.go:5"},
		"a block in the domain":      {checkWords("internal/run/a.go", header+"package a\nvar f = \"Set service = { start = … }\"\n"), "a.go:5"},
		"a flag in the domain":       {checkWords("internal/run/a.go", header+"package a\nvar f = e.WithHint(\"Pass --reason.\")\n"), "a.go:5"},
		"a flag of git":              {checkWords("internal/run/a.go", header+"package a\nvar f = g(\"--quiet\")\n"), ""},
		"a flag of a command":        {checkWords("internal/install/a.go", header+"package a\nvar f = e.WithHint(\"Pass --bin.\")\n"), ""},
		"a command in a face":        {checkWords("internal/cli/a.go", header+"package a\nvar f = \"penstock logs\"\n"), ""},
		"a command in a comment":     {checkWords("internal/run/a.go", header+"package a\n// f is for penstock logs.\nvar f = \"a penstock-x y, /penstock it\"\n"), ""},
		"the origin of a record":     {checkWords("internal/run/a.go", header+"package a\nvar f = \"penstock env\"\n"), ""},
		"a long file":                {checkSource("a.go", header+"package a\n"+strings.Repeat("\n", maxLines)), "split"},
		"many methods":               {checkSizes("a", []string{methods(maxMethods + 1)}), "a.t has 41 methods"},
		"many methods in two files":  {checkSizes("a", []string{methods(maxMethods), "package a\nfunc (t) another() {}\n"}), "a.t has 41 methods"},
		"methods of two systems":     {checkSizes("a", []string{methods(maxMethods), methods(maxMethods)}), ""},
		"methods of a generic type":  {checkSizes("a", []string{strings.ReplaceAll(methods(maxMethods+1), "*t", "*t[K, V]")}), "a.t has 41 methods"},
		"a large interface":          {checkSizes("a", []string{"package a\ntype t interface {\n" + strings.Repeat("m()\n", maxMethods+1) + "}\n"}), "a.t has 41 methods"},
		"a long function":            {checkSizes("a", []string{function}), "a.f has 81 lines"},
		"a long method":              {checkSizes("a", []string{strings.Replace(function, "func f", "func (t) f", 1)}), "a.t.f has 81 lines"},
		"sizes as they should be":    {checkSizes("a", []string{methods(maxMethods), strings.Replace(function, "\n}", "}", 1)}, "b/a.t", "c.f"), ""},
		"sizes that are excepted":    {checkSizes("b/a", []string{methods(maxMethods + 1), function}, "b/a.t", "b/a.f"), ""},
		"an exception too many":      {checkSizes("b/a", []string{methods(maxMethods), function}, "b/a.t", "b/a.f"), "b/a.t is not too large any more"},
		"a face with a port":         {checkPorts("internal/cli", "a.go", "package a\nfunc f(l pipeline.Ledger) {}\n", []string{"Ledger"}), "a.go has pipeline.Ledger"},
		"a face with a value":        {checkPorts("internal/cli", "a.go", "package a\nfunc f(l pipeline.Lease) {}\n", []string{"Ledger"}), ""},
		"a port that is returned":    {checkPorts("internal/app", "a.go", "package a\nfunc (T) Ledger() pipeline.Ledger { return nil }\n", []string{"Ledger"}), "Ledger returns pipeline.Ledger"},
		"a port that is shown":       {checkPorts("internal/engine", "a.go", "package a\ntype T struct { pipeline.Ledger }\n", []string{"Ledger"}), "T shows pipeline.Ledger"},
		"ports as they should be":    {checkPorts("internal/engine", "a.go", "package a\ntype Config struct { L pipeline.Ledger }\ntype T struct { l pipeline.Ledger }\nfunc (T) ledger() pipeline.Ledger { return nil }\n", []string{"Ledger"}), ""},
		"two docs":                   {checkDocs("a", []string{"Package a is.", "", "Package a is too."}), "2 package docs"},
		"no doc":                     {checkDocs("a", []string{"", ""}), "0 package docs"},
		"another doc":                {checkDocs("a", []string{"This is a."}), "begins"},
		"a doc":                      {checkDocs("a", []string{"", "Package a is."}), ""},
		"a stray at the top":         {checkTopLevel([]string{"main.go", ".ci", "scripts"}), "scripts"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			all := strings.Join(test.got, "\n")
			if (test.want == "") != (all == "") || !strings.Contains(all, test.want) {
				t.Errorf("got %q, want %q", all, test.want)
			}
		})
	}
}

// report fails a test once for each violation.
func report(t *testing.T, wrong []string) {
	t.Helper()
	for _, w := range wrong {
		t.Error(w)
	}
}

func TestImports(t *testing.T) {
	// Every system's files count: the imports of each are joined.
	for _, system := range []string{"linux", "darwin", "windows"} {
		cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
		cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages := 0
		for d := json.NewDecoder(bytes.NewReader(out)); ; packages++ {
			var p struct {
				ImportPath string
				Imports    []string
			}
			if err := d.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			report(t, checkImports(strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/"), p.Imports))
		}
		if packages < len(layers) {
			t.Errorf("go list for %s gives %d packages; layers has %d", system, packages, len(layers))
		}
	}
}

// tracked lists the files of the repository.
func tracked(t *testing.T) []string {
	t.Helper()
	names, err := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	return strings.Split(strings.TrimRight(string(names), "\x00"), "\x00")
}

// production reports whether a file is one of Go that is built into the program.
func production(name string) bool {
	return path.Ext(name) == ".go" && !strings.HasSuffix(name, "_test.go") && (strings.HasPrefix(name, "internal/") || name == "main.go") &&
		!slices.Contains(testOnly, path.Dir(name))
}

// sources returns the files of Go that are built into the program, by their names.
func sources(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, name := range tracked(t) {
		if !production(name) {
			continue
		}
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	return texts
}

// counted are things of which there may be one.
var counted = regexp.MustCompile(`(?:^|[^f] )%d (answers|approvals|builds|errors|events|files|instances|lines|runs|times|votes)\b`)

// ARCHITECTURE names each package, and files that exist.
func TestArchitecture(t *testing.T) {
	text, err := os.ReadFile(".github/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range layers {
		if name := strings.TrimPrefix(pkg, "internal/"); name != "" && !regexp.MustCompile("`(\\w+/)*"+regexp.QuoteMeta(path.Base(name))+"`").Match(text) {
			t.Errorf("ARCHITECTURE has no package %s", name)
		}
	}
	for _, m := range regexp.MustCompile("`([a-z_]+(?:/[a-z_]+)*/[a-z_]+\\.go)`").FindAllSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join("internal", string(m[1]))); err != nil {
			t.Errorf("ARCHITECTURE has a file that does not exist: %v", err)
		}
	}
}

// Nothing says "1 instances".
func TestPlurals(t *testing.T) {
	for name, text := range sources(t) {
		for _, found := range counted.FindAllString(text, -1) {
			t.Errorf("%s: %q: use pipeline.Count", name, found)
		}
	}
}

func TestSizes(t *testing.T) {
	texts := map[string][]string{} // by package
	for name, text := range sources(t) {
		texts[path.Dir(name)] = append(texts[path.Dir(name)], text)
	}
	if len(texts) < len(layers) {
		t.Errorf("%d packages found", len(texts))
	}
	for pkg, files := range texts {
		report(t, checkSizes(pkg, files))
	}
}

func TestPorts(t *testing.T) {
	texts := map[string]string{}
	var ports []string
	for _, name := range tracked(t) {
		pkg := path.Dir(name)
		if !production(name) || pkg != "internal/pipeline" && !slices.Contains(viewers, pkg) && !slices.Contains(openers, pkg) {
			continue
		}
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
		if pkg == "internal/pipeline" {
			names, err := interfacesOf(string(text))
			if err != nil {
				t.Fatal(err)
			}
			ports = append(ports, names...)
		}
	}
	for _, port := range []string{"Ledger", "Platform", "Sources"} {
		if !slices.Contains(ports, port) {
			t.Errorf("package pipeline has no port %s", port)
		}
	}
	for name, text := range texts {
		report(t, checkPorts(path.Dir(name), name, text, ports))
	}
}

func TestFiles(t *testing.T) {
	docs := map[string][]string{}
	for _, name := range tracked(t) {
		report(t, checkTopLevel([]string{strings.SplitN(name, "/", 2)[0]}))
		if path.Ext(name) != ".go" && name != ".ci/run" && name != "examples/show.sh" && !isShow(name) {
			continue
		}
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		// What the quickstart's service brings is the reader's to copy.
		if !strings.HasPrefix(name, "examples/quickstart/shop/") && !strings.HasPrefix(name, "examples/quickstart/commits/") {
			report(t, checkHeader(name, string(text)))
		}
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || !strings.HasPrefix(name, "internal/") && name != "main.go" {
			continue
		}
		if production(name) {
			report(t, checkSource(name, string(text)))
			report(t, checkWords(name, string(text)))
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Dir(name)
		docs[dir] = append(docs[dir], file.Doc.Text())
	}
	if len(docs) < len(layers) {
		t.Errorf("%d packages found", len(docs))
	}
	for pkg, d := range docs {
		report(t, checkDocs(pkg, d))
	}
}
