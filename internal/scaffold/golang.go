// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package scaffold

import (
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
)

// unpack installs an artifact that is a tar file.
const unpack = `tar -xzf "$PENSTOCK_ARTIFACT"`

func lookGo(r *repository, p *Project) bool {
	top, above, module := r.module()
	if module == "" || above && len(r.mains()) == 0 {
		return false
	}
	p.Language = "Go"
	p.Build = []Step{{"unit tests", "go test ./..."}, {"static analysis", "go vet ./..."}}
	p.OwnPort = r.goMentions(portVariable)
	if above {
		p.Include = r.imported(top, module)
	}
	if main := r.chooseMain(module); main != "" {
		r.build(p, main)
	}
	return true
}

// portVariable matches the name of the variable that says where to listen, as sources in Go have it.
const portVariable = `["\x60]PORT["\x60]`

// build makes one of the programs the service.
func (r *repository) build(p *Project, main string) {
	pkg := "./" + main
	if main == "." {
		pkg = "."
	}
	build := Step{"build", "CGO_ENABLED=0 go build -o service " + pkg + " && tar -czf dist.tar.gz service"}
	if len(p.Build) > 0 && p.Build[0].Name == build.Name {
		p.Build = p.Build[1:]
	}
	p.Build = append([]Step{build}, p.Build...)
	p.Install, p.Start = unpack, "exec ./service"
	if flags := r.portFlags(main); flags != "" && !r.goMentions(portVariable) {
		p.Start, p.OwnPort = p.Start+" "+flags, true
	}
}

var moduleLine = regexp.MustCompile(`(?m)^module\s+"?([^\s"]+)`)

// module finds the Go module that the directory is of: its own, or that of a directory
// above. It returns that directory, relative to the repository's root, and the module's
// path, empty for none.
func (r *repository) module() (top string, above bool, name string) {
	if m := moduleLine.FindStringSubmatch(r.found["go.mod"]); m != nil {
		return r.within, false, m[1]
	}
	for at := r.within; at != ""; {
		if at = path.Dir(at); at == "." {
			at = ""
		}
		above := repository{root: r.root, within: at}
		if text, err := os.ReadFile(above.path("go.mod")); err == nil {
			if m := moduleLine.FindStringSubmatch(string(text)); m != nil {
				return at, true, m[1]
			}
		}
	}
	return "", false, ""
}

// mains returns the directories with a program in Go, and its text; "." for the first.
func (r *repository) mains() map[string]string {
	all := map[string]string{}
	for name, text := range r.found {
		if isGo(name) && mainPackage.MatchString(text) {
			all[path.Dir(name)] += text
		}
	}
	for dir, text := range all {
		if !strings.Contains(text, "func main()") {
			delete(all, dir)
		}
	}
	return all
}

func isGo(name string) bool {
	return strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
}

var (
	mainPackage = regexp.MustCompile(`(?m)^package main\b`)
	serves      = regexp.MustCompile(`ListenAndServe|http\.Server\{|net\.Listen\(|gin\.|echo\.New|fiber\.New|grpc\.NewServer|` + portVariable)
)

func (r *repository) goMentions(pattern string) bool {
	re := regexp.MustCompile(pattern)
	for name, text := range r.found {
		if isGo(name) && re.MatchString(text) {
			return true
		}
	}
	return false
}

// chooseMain chooses the program that is the service: the only one, the one at the root, the
// one that has the module's name, or the only one that listens. Empty where that does not
// tell.
func (r *repository) chooseMain(module string) string {
	mains := r.mains()
	dirs := slices.Sorted(maps.Keys(mains))
	switch _, root := mains["."]; {
	case root:
		return "."
	case len(dirs) == 1:
		return dirs[0]
	}
	var serving []string
	for _, dir := range dirs {
		if path.Base(dir) == path.Base(module) {
			return dir
		}
		if serves.MatchString(mains[dir]) {
			serving = append(serving, dir)
		}
	}
	if len(serving) == 1 {
		return serving[0]
	}
	return ""
}

var builtFrom = regexp.MustCompile(`go build\b[^\n&|;]*?-o[ =]?\s*(\S+)[^\n&|;]*?\s(\./\S*|\.|cmd/\S+)\s*(?:$|[\n&|;])`)

// mainOf returns the directory of the program that a command starts under a name; empty
// where none is it. A Dockerfile may say what it built it from.
func (r *repository) mainOf(program string) string {
	mains, name := r.mains(), path.Base(program)
	for _, m := range builtFrom.FindAllStringSubmatch(joined(r.found["Dockerfile"]), -1) {
		dir := path.Clean(strings.TrimSuffix(strings.TrimSuffix(m[2], "/*"), "/..."))
		if _, ok := mains[dir]; ok && path.Base(m[1]) == name {
			return dir
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(mains)) {
		if path.Base(dir) == name {
			return dir
		}
	}
	_, _, module := r.module()
	if _, root := mains["."]; root && (path.Base(module) == name || len(mains) == 1) {
		return "."
	}
	if len(mains) == 1 {
		return slices.Collect(maps.Keys(mains))[0]
	}
	return ""
}

var flagOf = regexp.MustCompile(`\.(?:Int|Uint|Uint16|String)(?:Var)?P?\((?:&[\w.]+,\s*)?"(port|http-port|host|addr|address|listen|listen-addr|listen-address|http-addr|bind|bind-addr)",\s*(?:"\w?",\s*)?"?([^",]*)`)

// portFlags returns the arguments that tell a program where to listen; empty where it takes
// none that is known.
func (r *repository) portFlags(main string) string {
	has := map[string]string{}
	for _, m := range flagOf.FindAllStringSubmatch(r.mains()[main], -1) {
		has[m[1]] = m[2]
	}
	for _, port := range []string{"port", "http-port"} {
		if _, ok := has[port]; !ok {
			continue
		}
		if _, ok := has["host"]; ok {
			return `--host "$HOST" --` + port + ` "$PORT"`
		}
		return "--" + port + ` "$PORT"`
	}
	for _, name := range slices.Sorted(maps.Keys(has)) {
		if strings.Contains(has[name], ":") {
			return "--" + name + ` "$HOST:$PORT"`
		}
	}
	return ""
}

// imported returns patterns of what a part of a module is built from beside its own files:
// the module's files, and the packages of the module that it imports, directly or not.
func (r *repository) imported(top, module string) []string {
	patterns := []string{"/" + path.Join(top, "go.mod"), "/" + path.Join(top, "go.sum")}
	own := strings.TrimPrefix(strings.TrimPrefix(r.within, top), "/")
	imports := regexp.MustCompile(`"` + regexp.QuoteMeta(module) + `/([^"\s]+)"`)
	seen, left := map[string]bool{}, slices.Collect(maps.Values(r.found))
	for len(left) > 0 {
		text := left[0]
		left = left[1:]
		for _, m := range imports.FindAllStringSubmatch(text, -1) {
			pkg := path.Clean(m[1])
			if seen[pkg] || pkg == own || strings.HasPrefix(pkg, own+"/") {
				continue
			}
			at := repository{root: r.root, within: path.Join(top, pkg)}
			entries, err := os.ReadDir(at.path(""))
			if err != nil {
				continue
			}
			seen[pkg] = true
			for _, e := range entries {
				if text, err := os.ReadFile(at.path(e.Name())); err == nil && isGo(e.Name()) {
					left = append(left, string(text))
				}
			}
		}
	}
	for _, pkg := range sorted(seen) {
		patterns = append(patterns, "/"+path.Join(top, pkg)+"/**")
	}
	return patterns
}
