// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// projects are small repositories, as people have them.
var projects = map[string]struct {
	files   map[string]string
	needs   string // the program without which it can't be built; empty: it is validated only
	answers string
}{
	"go": {map[string]string{
		"go.mod":     "module example.com/hello\n\ngo 1.24\n",
		"main.go":    "package main\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n\t\"os\"\n)\n\nfunc main() {\n\thttp.HandleFunc(\"/healthz\", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, \"hello from go\") })\n\tpanic(http.ListenAndServe(os.Getenv(\"HOST\")+\":\"+os.Getenv(\"PORT\"), nil))\n}\n",
		"db/1.sql":   "create table t (a int);\n",
		"Dockerfile": "FROM scratch\n",
		"Makefile":   "test:\n\tgo test ./...\n",
	}, "go", "hello from go"},
	"node": {map[string]string{
		"package.json": `{"name": "hello", "scripts": {"start": "node server.js", "test": "node --test"}}`,
		"server.js":    "require('http').createServer((_, res) => res.end('hello from node')).listen(process.env.PORT, process.env.HOST);\n",
	}, "node", "hello from node"},
	"python": {map[string]string{
		"app.py":           "import http.server, os\n\nclass H(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        self.send_response(200)\n        self.end_headers()\n        self.wfile.write(b'hello from python')\n\nif __name__ == '__main__':\n    http.server.HTTPServer((os.environ['HOST'], int(os.environ['PORT'])), H).serve_forever()\n",
		"requirements.txt": "",
		"test_app.py":      "import unittest\n\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertTrue(True)\n",
	}, "python3", "hello from python"},
	"container": {map[string]string{
		"pyproject.toml": "[project]\nname = \"hello\"\nversion = \"1\"\n",
		"serve/run.py":   "import http.server, os\n\nclass H(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        self.send_response(200)\n        self.end_headers()\n        self.wfile.write(b'hello from a container')\n\nhttp.server.HTTPServer((os.environ['HOST'], int(os.environ.get('PORT', '5000'))), H).serve_forever()\n",
		"Dockerfile":     "FROM python:3\nWORKDIR /app\nCOPY . .\nEXPOSE 5000\nCMD [\"python\", \"/app/serve/run.py\"]\n",
	}, "python3", "hello from a container"},
	"program":        {map[string]string{"Dockerfile": "FROM scratch\nEXPOSE 80\nENTRYPOINT [\"/bin/program\", \"--name\", \"${it} \\\"is\\\"\"]\n"}, "", ""},
	"7-static-pages": {map[string]string{"index.html": "hello from a page\n", "docs/a.md": "words"}, "python3", "hello from a page"},
	"rust":           {map[string]string{"Cargo.toml": "[package]\nname = \"hello\"\n", "src/main.rs": "fn main() {}\n"}, "", ""},
	"java":           {map[string]string{"pom.xml": "<project/>", "config/a.yml": "a: 1\n"}, "", ""},
	"unknown":        {map[string]string{"README": "nothing \"${here}\"\n", "Makefile": "test:\n\ttrue\nlint:\n\ttrue\n"}, "", ""},
}

// TestInit writes a pipeline for each of them, and applies it where it can.
func TestInit(t *testing.T) {
	for name, project := range projects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "terraform {\n  required_providers {\n    penstock = { source = \"penstock-io/penstock\" }\n  }\n}\nprovider \"penstock\" {}\n")
			repo := filepath.Join(s.root, name)
			for file, content := range project.files {
				s.must(os.MkdirAll(filepath.Dir(filepath.Join(repo, file)), 0o755))
				s.write(filepath.Join(repo, file), content)
			}
			s.run(repo, "git", "init", "-q", "-b", "main")
			s.run(repo, "git", "add", "-A")
			s.run(repo, "git", "commit", "-q", "-m", "first")
			s.run(s.root, binary, "init", repo)
			s.dir = filepath.Join(repo, "deploy")
			if out, err := s.try(s.root, binary, "init", repo); err == nil || !strings.Contains(out, "not overwritten") {
				t.Errorf("it is written again: %s", out)
			}
			s.run(s.dir, terraform, "init", "-no-color", "-input=false")
			s.run(s.dir, terraform, "validate", "-no-color")
			if out, err := s.try(s.dir, terraform, "fmt", "-check", "-diff"); err != nil {
				t.Errorf("it is not formatted:\n%s", out)
			}
			s.onAWS(repo)
			if _, err := exec.LookPath(project.needs); project.needs == "" || err != nil {
				return
			}
			s.apply()
			if code, plan := s.planned(); code != 0 {
				t.Errorf("a second plan has changes:\n%s", plan)
			}
			pipelineName := strings.TrimPrefix("app-"+name, "app-")
			if strings.HasPrefix(name, "7") {
				pipelineName = "app-" + name
			}
			s.penstock("approve", pipelineName, "exploratory")
			s.apply()
			s.penstock("promote", "--yes", pipelineName, "production")
			s.apply()
			health := ""
			if name == "go" {
				health = "healthz"
			}
			if got := s.answer(strings.TrimRight(s.output("production"), "/") + "/" + health); got != project.answers {
				t.Errorf("production answers %q", got)
			}
			s.destroy()
		})
	}
}

// onAWS checks that the configuration for AWS is valid.
func (s *site) onAWS(repo string) {
	s.t.Helper()
	dir := filepath.Join(s.root, "aws", filepath.Base(repo))
	s.must(os.MkdirAll(filepath.Dir(dir), 0o755))
	s.run(s.root, "git", "clone", "-q", repo, dir)
	s.run(s.root, binary, "init", dir, "--platform", "aws")
	s.run(filepath.Join(dir, "deploy"), terraform, "init", "-no-color", "-input=false")
	s.run(filepath.Join(dir, "deploy"), terraform, "validate", "-no-color")
	if out, err := s.try(filepath.Join(dir, "deploy"), terraform, "fmt", "-check", "-diff"); err != nil {
		s.t.Errorf("it is not formatted:\n%s", out)
	}
}
