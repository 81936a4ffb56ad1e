// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package scaffold

import (
	"encoding/json"
	"os"
	"path"
	"regexp"
	"strings"
)

// packAll packs the checkout as it is. The file is made beside it: tar fails where what
// it packs changes meanwhile.
const packAll = "tar -czf ../dist.tar.gz --exclude=./dist.tar.gz --exclude=./.git . && mv ../dist.tar.gz ."

// manifest is what a package.json says.
type manifest struct {
	Main         string
	Scripts      map[string]string
	Engines      map[string]string
	Dependencies map[string]string
	Dev          map[string]string `json:"devDependencies"`
	Workspaces   json.RawMessage
}

func (r *repository) manifest() (m manifest) {
	_ = json.Unmarshal([]byte(r.found["package.json"]), &m) // what can't be read says nothing
	return m
}

// workspaces reports whether the packages below are what matters.
func (r *repository) workspaces() bool {
	return len(r.manifest().Workspaces) > 0 || r.has("pnpm-workspace.yaml")
}

func lookNode(r *repository, p *Project) bool {
	if !r.has("package.json") {
		return false
	}
	pkg := r.manifest()
	p.Language = "Node.js"
	if version := pkg.Engines["node"]; version != "" {
		p.Needs = "Node.js " + version + " (engines in package.json)"
	} else if file := r.first(".nvmrc", ".node-version"); file != "" {
		p.Needs = "Node.js " + strings.TrimPrefix(strings.TrimSpace(r.found[file]), "v") + " (" + file + ")"
	}
	run, install := r.packageManager(p)
	if len(pkg.Dependencies)+len(pkg.Dev) > 0 {
		p.Build = append(p.Build, Step{"dependencies", install})
	}
	for _, s := range []struct{ name, script string }{{"build", "build"}, {"unit tests", "test"}, {"static analysis", "lint"}} {
		if text := pkg.Scripts[s.script]; text != "" && !strings.Contains(text, "no test specified") {
			p.Build = append(p.Build, Step{s.name, strings.TrimSpace(strings.Replace(run+" run "+s.script, " run test", " test", 1))})
		}
	}
	p.Build = append(p.Build, Step{"pack", packAll})
	p.Install = unpack
	switch main := r.first(pkg.Main, "server.js", "index.js", "app.js", "src/server.js", "src/index.js"); {
	case pkg.Scripts["start"] != "":
		p.Start, p.Says = "exec "+run+" start", "package.json"
	case main != "":
		p.Start = "exec node " + main
	}
	return true
}

// packageManager returns the program that runs scripts, and how it installs what they need.
// In a workspace the lock file is that of a directory above.
func (r *repository) packageManager(p *Project) (run, install string) {
	locks := []struct{ file, run, install string }{
		{"pnpm-lock.yaml", "pnpm", "pnpm install --frozen-lockfile"},
		{"yarn.lock", "yarn", "yarn install --frozen-lockfile"},
		{"package-lock.json", "npm", "npm ci"},
	}
	for _, l := range locks {
		if r.has(l.file) {
			return l.run, l.install
		}
	}
	for at := r.within; at != ""; {
		if at = path.Dir(at); at == "." {
			at = ""
		}
		above := repository{root: r.root, within: at}
		for _, l := range locks {
			if _, err := os.Stat(above.path(l.file)); err == nil {
				p.Include = append(p.Include, "/"+path.Join(at, "package.json"), "/"+path.Join(at, l.file))
				return l.run, l.install
			}
		}
	}
	return "npm", "npm install"
}

func lookPython(r *repository, p *Project) bool {
	main := r.first("app.py", "main.py", "server.py", "wsgi.py", "src/app.py", "src/main.py")
	needs := strings.TrimSpace(r.found["requirements.txt"]) != ""
	if main == "" && !needs && r.first("pyproject.toml", "setup.py", "manage.py") == "" {
		return false
	}
	p.Language, p.Install = "Python", unpack
	if needs {
		p.Install += " && python3 -m venv venv && venv/bin/pip install --quiet -r requirements.txt"
	}
	if r.below("tests") || r.below("test") || r.pythonMentions(`(?m)^class \w+\((unittest\.)?TestCase\)`) {
		runner := "python3 -m unittest discover"
		if r.pythonMentions(`\bpytest\b`) || r.buildsWith("pytest") {
			runner = "python3 -m pytest"
		}
		p.Build = append(p.Build, Step{"unit tests", runner})
	}
	p.Build = append(p.Build, Step{"static analysis", "python3 -m compileall -q ."}, Step{"pack", packAll})
	module := strings.ReplaceAll(strings.TrimSuffix(main, ".py"), "/", ".")
	switch text := r.found[main]; {
	case main == "" && r.has("manage.py"):
		p.Start, p.OwnPort = r.python(`python manage.py runserver "$HOST:$PORT"`), true
	case main == "":
	case strings.Contains(text, "= FastAPI("):
		p.Start, p.OwnPort = r.python("uvicorn "+module+":app"), true
	case strings.Contains(text, "= Flask(") && !strings.Contains(text, ".run("):
		p.Start, p.OwnPort = r.python("flask --app "+module+" run"), true
	default:
		p.Start = r.python("python " + main)
	}
	return true
}

func (r *repository) pythonMentions(pattern string) bool {
	re := regexp.MustCompile(pattern)
	for name, text := range r.found {
		if strings.HasSuffix(name, ".py") && re.MatchString(text) {
			return true
		}
	}
	return false
}

// servers are programs of Python that serve an application, and the arguments that tell
// them where.
var servers = map[string]string{
	"gunicorn": `--bind "$HOST:$PORT"`, "hypercorn": `--bind "$HOST:$PORT"`, "uvicorn": `--host "$HOST" --port "$PORT"`,
	"flask": `--host "$HOST" --port "$PORT"`, "waitress": `--listen "$HOST:$PORT"`, "daphne": `--bind "$HOST" --port "$PORT"`,
}

var bound = regexp.MustCompile(`\s(-b|--bind|--host|--port|--listen|-h|-p)(=|\s+)("[^"]*"|'[^']*'|\S+)`)

// python returns how a command of Python's starts where the modules are in a virtual
// environment, which is copied with the image: its programs have the path of the original in
// them, so that it is the interpreter that is run. A server listens where its arguments say.
func (r *repository) python(line string) string {
	interpreter := "python3"
	if strings.TrimSpace(r.found["requirements.txt"]) != "" {
		interpreter = "venv/bin/python"
	}
	program, rest, _ := strings.Cut(line, " ")
	program = strings.TrimSuffix(path.Base(program), "-serve") // waitress-serve
	if program == "python" || program == "python3" {
		return strings.TrimSpace("exec " + interpreter + " " + rest)
	}
	if where := servers[program]; where != "" && !strings.Contains(rest, "$PORT") && !strings.Contains(rest, "${PORT") {
		rest = strings.TrimSpace(bound.ReplaceAllString(" "+rest, ""))
		if program == "flask" || program == "uvicorn" {
			rest += " " + where
		} else {
			rest = where + " " + rest
		}
	}
	return "exec " + interpreter + " -m " + program + " " + strings.TrimSpace(rest)
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

// jar is what a service in Java is called in its artifact.
const jar = "service.jar"

func lookJava(r *repository, p *Project) bool {
	pack := " && tar -czf dist.tar.gz " + jar
	switch {
	case r.has("pom.xml"):
		mvn := "mvn"
		if r.has("mvnw") {
			mvn = "sh ./mvnw"
		}
		p.Build = []Step{{"build and unit tests", mvn + " -B verify && cp target/*.jar " + jar + pack}}
	case r.first("build.gradle", "build.gradle.kts") != "":
		gradle := "gradle"
		if r.has("gradlew") {
			gradle = "sh ./gradlew"
		}
		// Beside the program there may be a library of the same classes.
		p.Build = []Step{{"build and unit tests", gradle + " build && cp $(ls build/libs/*.jar | grep -v plain) " + jar + pack}}
	default:
		return false
	}
	p.Language, p.Install, p.Start = "Java", unpack, "exec java -jar "+jar
	if r.buildsWith("org.springframework.boot") {
		p.Start, p.OwnPort = p.Start+` --server.address="$HOST" --server.port="$PORT"`, true
	}
	return true
}

func lookRuby(r *repository, p *Project) bool {
	if !r.has("Gemfile") {
		return false
	}
	p.Language, p.Install = "Ruby", unpack+" && bundle install --quiet"
	p.Build = []Step{{"pack", packAll}}
	if r.has("config.ru") {
		p.Start, p.OwnPort = `exec bundle exec rackup --host "$HOST" --port "$PORT"`, true
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
