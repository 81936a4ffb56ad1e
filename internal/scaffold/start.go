// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package scaffold

import (
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// started finds out how the service starts, and where it listens: what a Procfile says comes
// first, then a Dockerfile, then a compose file. Where none of them says it in words that
// mean something in an unpacked checkout, what the language's files say stays.
func (r *repository) started(p *Project) {
	processes, c := r.processes(), r.container()
	fromCompose, composePort := r.composition()
	for _, declared := range []struct{ file, line string }{
		{"the Procfile", processes["web"]}, {"the Dockerfile", c.run.line()}, {"the compose file", fromCompose},
	} {
		if declared.line == "" || strings.ContainsFunc(declared.line, unicode.IsControl) {
			continue
		}
		if p.Declared == "" {
			p.Declared, p.Declares = declared.line, declared.file
		}
		if r.translate(p, c, declared.line, declared.file == "the Procfile") {
			p.Says = declared.file
			break
		}
	}
	if p.Migrate = processes["release"]; p.Migrate != "" && p.Language == "Python" {
		p.Migrate = strings.TrimPrefix(r.python(p.Migrate), "exec ")
	}
	if port := regexp.MustCompile(`\$\{?PORT\b`); port.MatchString(p.Start) {
		p.OwnPort = true
	}
	p.Port = c.port
	at, where := r.listensAt()
	if p.Port == 0 {
		p.Port = at
	}
	if p.Port == 0 {
		p.Port = composePort
	}
	if at == p.Port && !p.OwnPort {
		p.Listens = where
	}
}

var processLine = regexp.MustCompile(`(?m)^([A-Za-z0-9_-]+):[ \t]*(.+?)[ \t\r]*$`)

// processes reads the Procfile: commands by process type.
func (r *repository) processes() map[string]string {
	all := map[string]string{}
	for _, m := range processLine.FindAllStringSubmatch(r.found["Procfile"], -1) {
		if readCommand(m[2]).shell != "" {
			all[m[1]] = m[2]
		}
	}
	return all
}

var (
	assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=\S*\s+`)
	jarFile    = regexp.MustCompile(`\S+\.(jar|war)\b`)
)

// interpreters are programs that start a file of the repository, as they are called on
// other machines.
var interpreters = map[string]string{"node": "node", "ruby": "ruby"}

// translate makes a command of a Procfile or a container the service's start, where what it
// starts is in the artifact. A Procfile's command is for an unpacked checkout already.
func (r *repository) translate(p *Project, c container, line string, native bool) bool {
	line = strings.TrimPrefix(strings.TrimSpace(line), "exec ")
	if strings.ContainsAny(line, "&|;<>`") {
		if native && p.Language != "" && p.Language != "Go" && p.Language != "Python" && p.Install != "" {
			p.Start = line
			return true
		}
		return false
	}
	set := ""
	for {
		more := assignment.FindString(line)
		if more == "" {
			break
		}
		set, line = set+more, strings.TrimPrefix(line, more)
	}
	program, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	start := ""
	switch name := path.Base(program); p.Language {
	case "Go":
		return r.translateGo(p, set, program, rest)
	case "Node.js":
		start = r.translateNode(c, name, rest, native, slices.ContainsFunc(p.Build, func(s Step) bool { return s.Name == "build" }))
	case "Python":
		start = r.translatePython(c, name, rest, native)
	case "Java":
		if name == "java" && jarFile.MatchString(rest) {
			start = "exec java " + jarFile.ReplaceAllString(rest, jar)
			if !strings.Contains(rest, "PORT") {
				start = "" // the guess says where to listen
			}
		}
	case "Rust":
		if p.Start == "exec ./"+name {
			start = strings.TrimSpace(p.Start + " " + rest)
		}
	case "Ruby":
		if native || name == "bundle" {
			start = "exec " + line
		} else if interpreters[name] != "" {
			start = r.interpret(c, name, rest, false)
		}
	}
	if start == "" {
		return false
	}
	p.Start = set + start
	return true
}

func (r *repository) translateGo(p *Project, set, program, rest string) bool {
	if program == "go" {
		main, more, _ := strings.Cut(strings.TrimPrefix(rest, "run "), " ")
		if !strings.HasPrefix(rest, "run ") {
			return false
		}
		program, rest = main, more
	}
	main := r.mainOf(program)
	if main == "" {
		return false
	}
	r.build(p, main)
	if strings.Contains(rest, "port") || strings.Contains(rest, "addr") || strings.Contains(rest, "$PORT") {
		p.Start = "exec ./service" // it says itself where to listen
	}
	p.Start = strings.TrimSpace(set + p.Start + " " + rest)
	return true
}

func (r *repository) translateNode(c container, name, rest string, native, builds bool) string {
	switch name {
	case "npm", "yarn", "pnpm", "npx":
		script := strings.TrimPrefix(firstWord(strings.TrimPrefix(rest, "run ")), "--")
		if native || r.manifest().Scripts[script] != "" {
			return "exec " + name + " " + rest
		}
	case "node":
		if start := r.interpret(c, name, rest, builds); start != "" {
			return start
		}
		if native {
			return "exec node " + rest
		}
	default:
		if native {
			return "exec npx " + strings.TrimSpace(name+" "+rest)
		}
	}
	return ""
}

func (r *repository) translatePython(c container, name, rest string, native bool) string {
	switch {
	case servers[strings.TrimSuffix(name, "-serve")] != "":
		return r.python(name + " " + rest)
	case name != "python" && name != "python3":
		if native {
			return r.python(name + " " + rest)
		}
		return ""
	case strings.HasPrefix(rest, "-m "):
		return r.python("python " + rest)
	}
	start := r.interpret(c, "python", rest, false)
	return strings.Replace(start, "exec python ", strings.TrimSuffix(r.python("python"), " ")+" ", 1)
}

// interpret returns how a file of the repository, or of what is built from it, is started
// with an interpreter; empty where it is none.
func (r *repository) interpret(c container, name, rest string, builds bool) string {
	file, arguments, _ := strings.Cut(rest, " ")
	if strings.HasPrefix(file, "-") {
		return ""
	}
	at := c.origin(r, file, builds)
	if at == "" {
		return ""
	}
	return strings.TrimSpace("exec " + name + " " + at + " " + arguments)
}

// composeFile is what is read of a compose file.
type composeFile struct {
	Services map[string]struct {
		Build   yaml.Node
		Command yaml.Node
		Ports   []yaml.Node
	}
}

// compose reads the compose file of the directory, or of one above: the services in it whose
// build is a directory of the repository, by that directory.
func (r *repository) compose() map[string]composed {
	for at := r.within; ; at = path.Dir(at) {
		if at == "." {
			at = ""
		}
		above := repository{root: r.root, within: at}
		for _, name := range []string{"compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"} {
			text, err := os.ReadFile(above.path(name))
			if err != nil || len(text) > mostBytes {
				continue
			}
			return readCompose(text, at)
		}
		if at == "" {
			return nil
		}
	}
}

// composed is a service of a compose file.
type composed struct {
	run  command
	port int // of the container
}

func readCompose(text []byte, at string) map[string]composed {
	var file composeFile
	if yaml.Unmarshal(text, &file) != nil {
		return nil
	}
	all := map[string]composed{}
	for _, s := range file.Services {
		var dir string
		if s.Build.Decode(&dir) != nil {
			var build struct{ Context string }
			_ = s.Build.Decode(&build) // another shape names no directory
			dir = build.Context
		}
		if dir == "" || strings.Contains(dir, "$") {
			continue
		}
		var found composed
		if s.Command.Decode(&found.run.words) != nil {
			var line string
			_ = s.Command.Decode(&line) // none
			found.run = readCommand(line)
		}
		for _, p := range s.Ports {
			port := p.Value[strings.LastIndex(p.Value, ":")+1:]
			port, _, _ = strings.Cut(port, "/")
			if n, err := strconv.Atoi(port); err == nil && validPort(n) && found.port == 0 {
				found.port = n
			}
		}
		if dir = path.Join(at, dir); dir == "." {
			dir = ""
		}
		if _, ok := all[dir]; !ok || found.port != 0 {
			all[dir] = found
		}
	}
	return all
}

// composition returns how the compose file starts this service, and the port that it gives.
func (r *repository) composition() (line string, port int) {
	found := r.compose()[r.within]
	return found.run.line(), found.port
}

// composed returns the directories, below this one, of services of the compose file.
func (r *repository) composed() (dirs []string) {
	for dir := range r.compose() {
		if rest, ok := strings.CutPrefix(dir, strings.TrimPrefix(r.within+"/", "/")); ok && rest != "" {
			dirs = append(dirs, rest)
		}
	}
	return dirs
}
