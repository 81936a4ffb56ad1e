// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package scaffold

import (
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// container is what a Dockerfile says of the service in it.
type container struct {
	port   int    // that it exposes first; 0 for none
	dir    string // that it starts in
	run    command
	copies []copied
}

// copied is something of the repository, or of what was built from it, in the container.
type copied struct {
	from  string // relative to the repository
	to    string // absolute, in the container
	built bool   // by a stage before
}

// command is a list of words, or a line for the shell, or neither.
type command struct {
	words []string
	shell string
}

// joined returns a Dockerfile with each instruction in one line.
func joined(text string) string {
	return strings.NewReplacer("\\\r\n", " ", "\\\n", " ").Replace(text)
}

// container reads the last stage of the Dockerfile.
func (r *repository) container() (c container) {
	var entrypoint, cmd command
	var stage string
	dirs := map[string]string{} // by stage: that it ended in
	for line := range strings.Lines(joined(r.found["Dockerfile"])) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		switch strings.ToUpper(name) {
		case "FROM":
			dirs[stage] = c.dir
			c, entrypoint, cmd = container{dir: dirs[strings.ToLower(firstWord(rest))]}, command{}, command{}
			words := strings.Fields(strings.ToLower(rest))
			if stage = strconv.Itoa(len(dirs) - 1); len(words) > 2 {
				stage = words[len(words)-1]
			}
		case "EXPOSE":
			port, _, _ := strings.Cut(firstWord(rest), "/")
			if n, err := strconv.Atoi(port); err == nil && validPort(n) && c.port == 0 {
				c.port = n
			}
		case "WORKDIR":
			c.dir = c.absolute(rest)
		case "COPY", "ADD":
			c.copies = append(c.copies, c.copy(rest, dirs)...)
		case "ENTRYPOINT":
			entrypoint, cmd = readCommand(rest), command{}
		case "CMD":
			cmd = readCommand(rest)
		}
	}
	switch {
	case entrypoint.words != nil: // a line for the shell is no argument
		c.run.words = slices.Concat(entrypoint.words, cmd.words)
	case entrypoint.shell != "":
		c.run = entrypoint
	default:
		c.run = cmd
	}
	return c
}

func firstWord(text string) string {
	words := strings.Fields(text)
	if len(words) == 0 {
		return ""
	}
	return words[0]
}

// absolute returns a path in the container as one from its root.
func (c container) absolute(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join("/", c.dir, name)
}

// copy reads an instruction that copies. What comes out of a stage before is taken for
// something that was built where that stage had the repository.
func (c container) copy(rest string, dirs map[string]string) (all []copied) {
	var words []string
	stage, built := "", false
	if json.Unmarshal([]byte(rest), &words) != nil {
		words = strings.Fields(rest)
	}
	for len(words) > 0 && strings.HasPrefix(words[0], "--") {
		if from, ok := strings.CutPrefix(words[0], "--from="); ok {
			stage, built = strings.ToLower(from), true
		}
		words = words[1:]
	}
	if len(words) < 2 {
		return nil
	}
	to := words[len(words)-1]
	for _, from := range words[:len(words)-1] {
		if built {
			dir, known := dirs[stage]
			if !known || dir == "" || dir == "/" || !strings.HasPrefix(from, dir+"/") {
				continue // of another image
			}
			from = strings.TrimPrefix(from, dir+"/")
		}
		all = append(all, copied{strings.TrimPrefix(path.Clean("/"+from), "/"), c.absolute(to), built})
	}
	return all
}

// copied returns what a container that runs a compiled program has of the repository beside
// it, by name.
func (c container) copied(r *repository) (names []string) {
	for _, f := range c.copies {
		if f.from != "" && (r.has(f.from) || r.below(f.from)) {
			names = append(names, f.from)
		}
	}
	return names
}

// origin returns where in the repository, or in what is built from it, a file of the
// container is; empty where that is unknown.
func (c container) origin(r *repository, name string, builds bool) string {
	name = c.absolute(name)
	for _, f := range slices.Backward(c.copies) {
		for _, at := range []string{f.to, path.Join(f.to, path.Base(f.from))} {
			rest, ok := strings.CutPrefix(name+"/", strings.TrimSuffix(at, "/")+"/")
			if !ok {
				continue
			}
			if file := path.Join(f.from, rest); r.has(file) || r.below(file) || builds && made.MatchString(file) {
				return file
			}
		}
	}
	if file := strings.TrimPrefix(name, strings.TrimSuffix(c.dir, "/")+"/"); r.has(file) || builds && made.MatchString(file) {
		return file
	}
	return ""
}

// made matches paths that builds write to.
var made = regexp.MustCompile(`^(dist|build|out|lib|\.output)(/|$)`)

// readCommand reads a list as JSON has them, else the line as it is; neither where it holds
// what can't be written in one line.
func readCommand(text string) command {
	var list []string
	isList := json.Unmarshal([]byte(text), &list) == nil
	if !utf8.ValidString(text) || strings.ContainsFunc(text+strings.Join(list, ""), unicode.IsControl) {
		return command{}
	}
	if isList {
		return command{words: list}
	}
	return command{shell: text}
}

var needsQuotes = regexp.MustCompile(`[^A-Za-z0-9_./:=@%+,-]`)

// line returns the command as a line for the shell.
func (c command) line() string {
	if c.words == nil {
		return c.shell
	}
	quoted := make([]string, len(c.words))
	for i, word := range c.words {
		if quoted[i] = word; word == "" || needsQuotes.MatchString(word) {
			quoted[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}
