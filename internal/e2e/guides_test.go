// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	fence      = regexp.MustCompile("(?ms)^( *)```(?:terraform|hcl)\n(.*?)^ *```")
	namedBlock = regexp.MustCompile(`^# (\S+\.tf)\n`)
	declared   = regexp.MustCompile(`(?m)^(resource|data|variable) "(\w+)"(?: "(\w+)")?`)
	referred   = regexp.MustCompile(`\b(data\.)?(penstock_\w+)\.(\w+)|\b(var)\.(\w+)`)
	foreign    = regexp.MustCompile(`\b(aws|tls|random)_\w+"`)
)

// TestGuidesAreValid validates every piece of configuration in the guides and in the README,
// with stand-ins for what a piece refers to and does not show. Of those that need another
// provider it is the syntax. A piece that begins with the name of a file is that file, beside
// the others of the guide.
func TestGuidesAreValid(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(repository(t), "docs/guides/*.md"))
	if err != nil || len(files) < 15 {
		t.Fatalf("the guides are %q, %v", files, err)
	}
	pieces := 0
	for _, file := range append(files, filepath.Join(repository(t), "README.md")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		together := map[string]string{}
		for i, m := range fence.FindAllStringSubmatch(string(text), -1) {
			pieces++
			piece := regexp.MustCompile("(?m)^"+m[1]).ReplaceAllString(m[2], "")
			if name := namedBlock.FindStringSubmatch(piece); name != nil {
				together[name[1]] = piece
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", filepath.Base(file), i+1), func(t *testing.T) {
				t.Parallel()
				validate(t, map[string]string{"main.tf": complete(piece)})
			})
		}
		if len(together) > 0 {
			t.Run(filepath.Base(file), func(t *testing.T) {
				t.Parallel()
				validate(t, together)
			})
		}
	}
	if pieces < 20 {
		t.Errorf("there are %d pieces only", pieces)
	}
}

// complete makes a piece a configuration: arguments become those of a stage, and what it
// refers to and does not declare is declared.
func complete(piece string) string {
	switch first := strings.TrimSpace(piece); {
	case strings.HasPrefix(first, "{"):
		piece = "resource \"penstock_stage\" \"piece\" {\n  pipeline = \"p\"\n  type     = \"acceptance\"\n  steps = [" + strings.TrimRight(first, ",") + "]\n}\n"
	case strings.HasPrefix(first, "environment"):
		piece = "resource \"penstock_stage\" \"piece\" {\n  pipeline = \"p\"\n  type     = \"production\"\n" + piece + "}\n"
	}
	have := map[string]bool{}
	for _, m := range declared.FindAllStringSubmatch(piece, -1) {
		have[strings.Join(m[1:], " ")] = true
	}
	rest := map[string]string{}
	for _, m := range referred.FindAllStringSubmatch(piece, -1) {
		switch kind, name := m[2], m[3]; {
		case m[4] != "":
			if !have["variable "+m[5]+" "] {
				rest["var "+m[5]] = fmt.Sprintf("variable %q {}\n", m[5])
			}
		case m[1] != "":
			if !have["data "+kind+" "+name] {
				rest[m[0]] = fmt.Sprintf("data %q %q {\n%s}\n", kind, name, map[string]string{"penstock_source": "  repository = \"x\"\n"}[kind])
			}
		case !have["resource "+kind+" "+name]:
			rest[m[0]] = fmt.Sprintf("resource %q %q {\n%s}\n", kind, name, map[string]string{
				"penstock_pipeline":         "  name = \"p\"\n",
				"penstock_stage":            "  pipeline = \"p\"\n  type = \"custom\"\n  name = \"" + strings.ReplaceAll(name, "_", "-") + "\"\n  steps = [{ name = \"s\", command = \"true\" }]\n",
				"penstock_self_service_env": "  pipeline = \"p\"\n  name = \"e\"\n  build = \"b-0123456789\"\n",
				"penstock_baked_image":      "  pipeline = \"p\"\n  name = \"i\"\n  from = { directory = \"d\" }\n  source = { repository = \"x\", commit = \"c\", digest = \"d\" }\n",
			}[kind])
		}
	}
	if !strings.Contains(piece, "required_providers") {
		rest["terraform"] = "terraform {\n  required_providers {\n    penstock = { source = \"penstock-io/penstock\" }\n  }\n}\n"
	}
	return piece + "\n" + strings.Join(slices.Collect(maps.Values(rest)), "\n")
}

// validate checks files of a configuration.
func validate(t *testing.T, files map[string]string) {
	t.Helper()
	s := newSite(t, "")
	s.must(os.Remove(filepath.Join(s.dir, "main.tf")))
	all := ""
	for name, text := range files {
		file := filepath.Join(s.dir, filepath.FromSlash(name))
		s.must(os.MkdirAll(filepath.Dir(file), 0o755))
		s.write(file, text)
		all += text
	}
	if foreign.MatchString(all) {
		s.run(s.dir, terraform, "fmt", "-recursive")
		return
	}
	if out, err := s.try(s.dir, terraform, "init", "-backend=false", "-no-color", "-input=false"); err != nil {
		t.Fatalf("%s\n%s", out, all)
	}
	if out, err := s.try(s.dir, terraform, "validate", "-no-color"); err != nil {
		t.Errorf("%s\n%s", out, all)
	}
}
