// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package scaffold_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/scaffold"
)

// repository makes a directory with files.
func repository(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A Dockerfile, and the sources, say where the service listens and how it starts.
func TestContainer(t *testing.T) {
	node := func(dockerfile, server string) map[string]string {
		return map[string]string{"package.json": "{}", "Dockerfile": dockerfile, "lib/serve.js": server}
	}
	for name, tt := range map[string]struct {
		files  map[string]string
		port   int
		start  string // empty where it can't be told
		writes string // in the configuration
		notes  string // part of what there is to do
	}{
		"all":                   {node("FROM node:22\nWORKDIR /app\nEXPOSE 3000/tcp 9090\nCMD [\"node\", \"lib/serve.js\", \"--name\", \"a b\"]\n", ""), 3000, "exec node lib/serve.js --name 'a b'", "    port         = 3000\n", "listens on port 3000"},
		"an absolute path":      {node("FROM node\nWORKDIR /srv\nWORKDIR app\nENTRYPOINT [\"node\"]\nCMD [\"/srv/app/lib/serve.js\"]\n", ""), 0, "exec node lib/serve.js", "", ""},
		"a line for the shell":  {node("from node\nexpose 80\ncmd node ./lib/serve.js --port $PORT\n", ""), 80, "exec node lib/serve.js --port $PORT", "port         = 80", ""},
		"several lines":         {node("FROM node\n# EXPOSE 1\nEXPOSE \\\n  8081\nCMD node \\\n  lib/serve.js\n", ""), 8081, "exec node lib/serve.js", "", ""},
		"the last stage counts": {node("FROM node AS build\nEXPOSE 1234\nCMD [\"node\", \"lib/serve.js\"]\nFROM scratch\n", ""), 0, "", "", "could not be determined"},
		"a variable for a port": {node("FROM node\nARG P=8080\nEXPOSE $P\n", ""), 0, "", "", ""},
		"no port at all":        {node("FROM node\nEXPOSE 99999\n", ""), 0, "", "", ""},
		"not in the repository": {node("FROM node\nCMD [\"node\", \"/elsewhere.js\"]\n", ""), 0, "", `#   start   = "node /elsewhere.js"`, "could not be determined"},
		"more than a command":   {node("FROM node\nCMD node lib/serve.js && true\n", ""), 0, "", `#   start   = "node lib/serve.js && true"`, ""},
		"a program":             {node("FROM node\nENTRYPOINT [\"/bin/${x}\", \"say \\\"hi\\\"\"]\n", ""), 0, "", `#   start   = "'/bin/$${x}' 'say \"hi\"'"`, ""},
		"what is no line":       {node("FROM node\nCMD [\"node\", \"a\\nb\"]\n", ""), 0, "", `#   start   = "exec ./service"`, ""},
		"what is known already": {map[string]string{"package.json": `{"scripts": {"start": "node ."}}`, "Dockerfile": "FROM node\nCMD node x.js\n"}, 0, "exec npm start", "  # Its Dockerfile starts it with: node x.js\n  service = {", ""},
		"the same":              {map[string]string{"package.json": `{"scripts": {"start": "node ."}}`, "Dockerfile": "FROM node\nCMD npm start\n"}, 0, "exec npm start", "start the service, as the Dockerfile says. It must listen on $PORT.\n  # EDIT: ", ""},
		"sources in JavaScript": {node("", "app.listen(process.env.PORT || 4000)"), 4000, "", "", ""},
		"sources in Go":         {map[string]string{"go.mod": "module a", "main.go": "package main\n\nfunc main() { http.ListenAndServe(\":8080\", nil) }\n", "main_test.go": "ListenAndServe(\":9\")"}, 8080, "exec ./service", "port         = 8080", "main.go:3 listens on port 8080. Make it listen on $PORT"},
		"sources in Python":     {map[string]string{"app.py": "app.run(host='0.0.0.0', port=5000)\n"}, 5000, "exec python3 app.py", "", ""},
		"a default in Python":   {map[string]string{"app.py": "os.environ.get('PORT', '5001')\n"}, 5001, "exec python3 app.py", "", ""},
		"sources that differ":   {map[string]string{"app.py": "app.run(port=5000)\n", "admin.py": "app.run(port=5001)\n"}, 0, "exec python3 app.py", "", ""},
		"a Dockerfile knows":    {map[string]string{"app.py": "app.run(port=5000)\n", "Dockerfile": "FROM python\nEXPOSE 80\n"}, 80, "exec python3 app.py", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := scaffold.Look(repository(t, tt.files), "")
			if p.Port != tt.port || p.Start != tt.start {
				t.Errorf("port %d, start %q", p.Port, p.Start)
			}
			text, notes := scaffold.Write(p, scaffold.Local)
			if !strings.Contains(text, tt.writes) || !strings.Contains(strings.Join(notes, "\n"), tt.notes) {
				t.Errorf("%s\n%s", text, notes)
			}
			if _, notes := scaffold.Write(p, scaffold.AWS); tt.port != 0 && p.Start != "" && !strings.Contains(strings.Join(notes, "\n"), fmt.Sprintf("--port %d", tt.port)) {
				t.Errorf("on AWS: %s", notes)
			}
		})
	}
}

// What is built says so, with what it needs beside it.
func TestBuild(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  string // the command that packs
		start string
	}{
		"Go": {map[string]string{"go.mod": "module example.com/a", "main.go": "package main\n\nfunc main() {}\n"},
			"CGO_ENABLED=0 go build -o service . && tar -czf dist.tar.gz service", "exec ./service"},
		"Go with configuration and data": {map[string]string{"go.mod": "module example.com/a", "main.go": "package main\n\nfunc main() {}\n", "config/a.json": "{}", "db/1.sql": "", "templates/index.html": ""},
			"CGO_ENABLED=0 go build -o service . && tar -czf dist.tar.gz service config db templates", "exec ./service"},
		"Rust with data": {map[string]string{"Cargo.toml": "[package]\nname = \"shop\"\n", "src/main.rs": "", "migrations/1.sql": ""},
			"cargo build --release && tar -czf dist.tar.gz -C target/release shop -C ../.. migrations", "exec ./shop"},
		"Python": {map[string]string{"app.py": "import flask", "requirements.txt": "flask", "config/a": ""},
			"tar -czf ../dist.tar.gz --exclude=./dist.tar.gz --exclude=./.git . && mv ../dist.tar.gz .", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := scaffold.Look(repository(t, tt.files), "")
			for _, step := range p.Build {
				if strings.Contains(step.Command, "tar ") {
					if !strings.HasSuffix(step.Command, tt.want) {
						t.Errorf("it packs with %q, want %q", step.Command, tt.want)
					}
					if tt.start != "" && p.Start != tt.start {
						t.Errorf("it starts with %q, want %q", p.Start, tt.start)
					}
					return
				}
			}
			t.Errorf("nothing packs: %+v", p)
		})
	}
}
