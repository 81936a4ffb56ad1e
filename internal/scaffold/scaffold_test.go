// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package scaffold_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/scaffold"
)

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
			dir := t.TempDir()
			for path, text := range tt.files {
				path = filepath.Join(dir, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			p := scaffold.Look(dir)
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
