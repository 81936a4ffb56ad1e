// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package scaffold looks at a repository and writes a first pipeline for it: a Terraform
// configuration that validates and says what to change. It looks at files and runs none.
//
//	text, notes, err := scaffold.Write(scaffold.Look(dir), scaffold.Local)
package scaffold

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Project is what a repository holds, as far as its files tell.
type Project struct {
	Name     string
	Language string // empty where no file tells
	Build    []Step
	Artifact string // that the steps make
	Install  string
	Start    string // empty where it can't be told
	Health   string // a path that the service knows
	OwnPort  bool   // the service takes its port from $PORT
	Port     int    // at which it listens where nobody says another; 0 where it can't be told

	Container string // how its Dockerfile starts it; empty where it does not say

	Infrastructure, Configuration, Data, Ignore []string // patterns
}

// Step is a command of the commit stage.
type Step struct{ Name, Command string }

// Look finds out what the repository in a directory holds.
func Look(dir string) Project {
	r := repository{dir: dir, found: map[string]string{}}
	r.read()
	p := Project{Name: nameOf(dir), Artifact: "dist.tar.gz", Health: r.health(), OwnPort: r.mentions(`\bPORT\b`)}
	for _, look := range []func(*repository, *Project) bool{lookGo, lookNode, lookPython, lookRust, lookJava, lookRuby, lookStatic} {
		if look(&r, &p) {
			break
		}
	}
	r.container(&p)
	r.targets(&p)
	r.components(&p)
	r.pack(&p)
	return p
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// nameOf makes the name of a pipeline from that of the directory.
func nameOf(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		abs = dir
	}
	name := strings.Trim(notInName.ReplaceAllString(strings.ToLower(filepath.Base(abs)), "-"), "-")
	if name == "" || name[0] < 'a' { // Terraform's names begin with a letter
		name = strings.Trim("app-"+name, "-")
	}
	return name[:min(len(name), 40)]
}

const (
	mostFiles = 2000      // that are looked at
	mostBytes = 256 << 10 // of a file that is read
)

// repository is what was found in a directory: the text of small files, by slash-separated
// path, and the names of others.
type repository struct {
	dir   string
	found map[string]string
}

// passedOver are directories that others fill.
var passedOver = []string{".git", "node_modules", "vendor", "target", "dist", "build", "venv", ".venv", ".terraform", ".penstock", "deploy"}

func (r *repository) read() {
	_ = filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || len(r.found) >= mostFiles {
			return fs.SkipAll
		}
		if d.IsDir() {
			if path != r.dir && slices.Contains(passedOver, d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		name, err := filepath.Rel(r.dir, path)
		if info, statErr := d.Info(); err == nil && statErr == nil && info.Mode().IsRegular() {
			text := []byte{}
			if info.Size() <= mostBytes {
				text, _ = os.ReadFile(path)
			}
			r.found[filepath.ToSlash(name)] = string(text)
		}
		return nil
	})
}

func (r *repository) has(name string) bool { _, ok := r.found[name]; return ok }

// first gives the first of the files that there is.
func (r *repository) first(names ...string) string {
	for _, name := range names {
		if r.has(name) {
			return name
		}
	}
	return ""
}

// mentions reports whether a source file has what a pattern matches.
func (r *repository) mentions(pattern string) bool {
	re := regexp.MustCompile(pattern)
	for name, text := range r.found {
		if !strings.HasSuffix(name, ".md") && !strings.HasSuffix(name, ".lock") && re.MatchString(text) {
			return true
		}
	}
	return false
}

// health gives a path at which the service says that it is well; "/" where none is known.
func (r *repository) health() string {
	for _, path := range []string{"/healthz", "/health", "/readyz", "/livez", "/status"} {
		if r.mentions(`["'` + "`" + `]` + path + `["'` + "`" + `]`) {
			return path
		}
	}
	return "/"
}

// below reports whether there is a file below a directory.
func (r *repository) below(dir string) bool {
	for name := range r.found {
		if strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return false
}

func lookGo(r *repository, p *Project) bool {
	if !r.has("go.mod") {
		return false
	}
	main := ""
	for name, text := range r.found {
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && strings.Contains(text, "package main\n") && strings.Contains(text, "func main()") {
			dir := "./" + strings.TrimSuffix(name[:strings.LastIndex("/"+name, "/")], "/")
			if main == "" || len(dir) < len(main) || len(dir) == len(main) && dir < main {
				main = dir
			}
		}
	}
	p.Language = "Go"
	p.Build = []Step{{"unit tests", "go test ./..."}, {"static analysis", "go vet ./..."}}
	if main != "" {
		p.Build = append([]Step{{"build", "CGO_ENABLED=0 go build -o service " + strings.TrimSuffix(main, "/") + " && tar -czf dist.tar.gz service"}}, p.Build...)
		p.Install, p.Start = unpack, "exec ./service"
	}
	return true
}

// unpack installs an artifact that is a tar file.
const unpack = `tar -xzf "$PENSTOCK_ARTIFACT"`

// packAll packs the checkout as it is. The file is made beside it: tar fails where what
// it packs changes meanwhile.
const packAll = "tar -czf ../dist.tar.gz --exclude=./dist.tar.gz --exclude=./.git . && mv ../dist.tar.gz ."

func lookNode(r *repository, p *Project) bool {
	if !r.has("package.json") {
		return false
	}
	var pkg struct {
		Main    string
		Scripts map[string]string
	}
	_ = json.Unmarshal([]byte(r.found["package.json"]), &pkg)
	p.Language = "Node.js"
	if r.mentions(`"(dev)?[dD]ependencies"\s*:\s*\{\s*"`) {
		install := "npm install"
		if r.has("package-lock.json") {
			install = "npm ci"
		}
		p.Build = append(p.Build, Step{"dependencies", install})
	}
	for _, s := range []Step{{"build", "npm run build"}, {"unit tests", "npm test"}, {"static analysis", "npm run lint"}} {
		script := strings.TrimPrefix(strings.TrimPrefix(s.Command, "npm run "), "npm ")
		if text := pkg.Scripts[script]; text != "" && !strings.Contains(text, "no test specified") {
			p.Build = append(p.Build, s)
		}
	}
	p.Build = append(p.Build, Step{"pack", packAll})
	p.Install = unpack
	switch main := r.first(pkg.Main, "server.js", "index.js", "app.js", "src/server.js", "src/index.js"); {
	case pkg.Scripts["start"] != "":
		p.Start = "exec npm start"
	case main != "":
		p.Start = "exec node " + main
	}
	return true
}

func lookPython(r *repository, p *Project) bool {
	main := r.first("app.py", "main.py", "server.py", "wsgi.py", "src/app.py", "src/main.py")
	needs := strings.TrimSpace(r.found["requirements.txt"]) != ""
	if main == "" && !needs && !r.has("pyproject.toml") && !r.has("setup.py") {
		return false
	}
	p.Language, p.Install = "Python", unpack
	python := "python3"
	if needs {
		p.Install += " && python3 -m venv venv && venv/bin/pip install --quiet -r requirements.txt"
		python = "venv/bin/python"
	}
	if r.below("tests") || r.below("test") || r.mentions(`(?m)^class \w+\(unittest\.TestCase\)`) {
		runner := "python3 -m unittest discover"
		if r.mentions(`\bpytest\b`) {
			runner = "python3 -m pytest"
		}
		p.Build = append(p.Build, Step{"unit tests", runner})
	}
	p.Build = append(p.Build, Step{"static analysis", "python3 -m compileall -q ."}, Step{"pack", packAll})
	if main != "" {
		p.Start = "exec " + python + " " + main
	}
	return true
}

var crate = regexp.MustCompile(`(?m)^name\s*=\s*"([^"]+)"`)

func lookRust(r *repository, p *Project) bool {
	name := crate.FindStringSubmatch(r.found["Cargo.toml"])
	if name == nil {
		return false
	}
	p.Language, p.Install, p.Start = "Rust", unpack, "exec ./"+name[1]
	p.Build = []Step{{"build", "cargo build --release && tar -czf dist.tar.gz -C target/release " + name[1]}, {"unit tests", "cargo test --release"}}
	return true
}

func lookJava(r *repository, p *Project) bool {
	switch {
	case r.has("pom.xml"):
		p.Build = []Step{{"build and unit tests", "mvn -B verify && cp target/*.jar service.jar && tar -czf dist.tar.gz service.jar"}}
	case r.first("build.gradle", "build.gradle.kts") != "":
		gradle := "gradle"
		if r.has("gradlew") {
			gradle = "./gradlew"
		}
		p.Build = []Step{{"build and unit tests", gradle + " build && cp build/libs/*.jar service.jar && tar -czf dist.tar.gz service.jar"}}
	default:
		return false
	}
	p.Language, p.Install, p.Start = "Java", unpack, "exec java -jar service.jar"
	return true
}

func lookRuby(r *repository, p *Project) bool {
	if !r.has("Gemfile") {
		return false
	}
	p.Language, p.Install = "Ruby", unpack+" && bundle install --quiet"
	p.Build = []Step{{"pack", packAll}}
	if r.has("config.ru") {
		p.Start = `exec bundle exec rackup --host "$HOST" --port "$PORT"`
	}
	return true
}

func lookStatic(r *repository, p *Project) bool {
	root := map[string]string{"index.html": ".", "public/index.html": "public", "site/index.html": "site"}[r.first("index.html", "public/index.html", "site/index.html")]
	if root == "" {
		return false
	}
	p.Language, p.Install, p.OwnPort = "static pages", unpack, true
	p.Build = []Step{{"pack", strings.Replace(packAll, " . &&", " -C "+root+" . &&", 1)}}
	p.Start = `exec python3 -m http.server --bind "$HOST" "$PORT"`
	return true
}

// container takes from a Dockerfile, and from the sources, what else there is to know of
// the service.
func (r *repository) container(p *Project) {
	c := readDockerfile(r.found["Dockerfile"])
	p.Container = c.run.line()
	if p.Port = c.port; p.Port == 0 {
		p.Port = r.listensAt()
	}
	if p.Start == "" && p.Install != "" {
		p.Start = c.start(r)
	}
}

var target = regexp.MustCompile(`(?m)^([a-z][a-z-]*):`)

// targets takes steps from a Makefile, which knows better.
func (r *repository) targets(p *Project) {
	has := map[string]bool{}
	for _, m := range target.FindAllStringSubmatch(r.found[r.first("Makefile", "makefile", "GNUmakefile")], -1) {
		has[m[1]] = true
	}
	for _, s := range []struct {
		name    string
		targets []string
	}{{"unit tests", []string{"test", "check"}}, {"static analysis", []string{"lint", "vet"}}} {
		for _, t := range s.targets {
			if !has[t] {
				continue
			}
			i := slices.IndexFunc(p.Build, func(b Step) bool { return b.Name == s.name })
			if i < 0 {
				p.Build = append(p.Build, Step{s.name, "make " + t})
			} else {
				p.Build[i].Command = "make " + t
			}
			break
		}
	}
}

// components finds out which paths belong to which component.
func (r *repository) components(p *Project) {
	add := func(list *[]string, pattern string, there bool) {
		if there {
			*list = append(*list, pattern)
		}
	}
	for _, dir := range []string{"image", "packer", "infrastructure", "infra", "ansible"} {
		add(&p.Infrastructure, dir+"/**", r.below(dir))
	}
	add(&p.Infrastructure, "Dockerfile", r.has("Dockerfile"))
	for _, dir := range []string{"config", "conf"} {
		add(&p.Configuration, dir+"/**", r.below(dir))
	}
	for _, dir := range []string{"db", "migrations", "data", "sql"} {
		add(&p.Data, dir+"/**", r.below(dir))
	}
	p.Ignore = []string{"deploy/**", "*.md"}
	add(&p.Ignore, "docs/**", r.below("docs"))
	add(&p.Ignore, ".github/**", r.below(".github"))
}

// pack adds what a service reads when it runs to an artifact that is only what was built:
// configuration, data, and files that it serves.
func (r *repository) pack(p *Project) {
	var dirs string
	for _, pattern := range slices.Concat(p.Configuration, p.Data) {
		dirs += " " + strings.TrimSuffix(pattern, "/**")
	}
	for _, dir := range []string{"assets", "public", "resources", "static", "templates", "views", "web", "www"} {
		if r.below(dir) {
			dirs += " " + dir
		}
	}
	for i, step := range p.Build {
		_, packed, ok := strings.Cut(step.Command, "tar -czf dist.tar.gz ")
		if !ok || dirs == "" {
			continue
		}
		if strings.HasPrefix(packed, "-C target/release ") {
			p.Build[i].Command += " -C ../.."
		}
		p.Build[i].Command += dirs
	}
}
