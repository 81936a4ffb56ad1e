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
	port int    // that it exposes first; 0 for none
	dir  string // that it starts in
	run  command
}

// command is a list of words, or a line for the shell, or neither.
type command struct {
	words []string
	shell string
}

// readDockerfile reads the last stage of a Dockerfile.
func readDockerfile(text string) (c container) {
	var entrypoint, cmd command
	for line := range strings.Lines(strings.NewReplacer("\\\r\n", " ", "\\\n", " ").Replace(text)) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		switch strings.ToUpper(name) {
		case "FROM":
			c, entrypoint, cmd = container{}, command{}, command{}
		case "EXPOSE":
			port, _, _ := strings.Cut(strings.Fields(rest + " -")[0], "/")
			if n, err := strconv.Atoi(port); err == nil && validPort(n) && c.port == 0 {
				c.port = n
			}
		case "WORKDIR":
			if !path.IsAbs(rest) {
				rest = path.Join("/", c.dir, rest)
			}
			c.dir = path.Clean(rest)
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

func validPort(n int) bool { return n > 0 && n < 65536 }

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

// line gives the command as a line for the shell.
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

// interpreters are programs that a container starts a file of the repository with, as they
// are called on other machines.
var interpreters = map[string]string{"node": "node", "python": "python3", "python3": "python3", "ruby": "ruby"}

// start gives the command where it starts a file of the repository with an interpreter,
// which it does in an unpacked checkout as well as in the container; else "".
func (c container) start(r *repository) string {
	line := c.run.line()
	program, rest, _ := strings.Cut(line, " ")
	file, arguments, _ := strings.Cut(strings.TrimSpace(rest), " ")
	if interpreters[program] == "" || c.run.words == nil && strings.ContainsAny(line, "&|;<>") {
		return ""
	}
	if file = path.Clean(file); path.IsAbs(file) {
		file = strings.TrimPrefix(file, strings.TrimSuffix(c.dir, "/")+"/")
	}
	if !r.has(file) {
		return ""
	}
	return strings.TrimSpace("exec " + interpreters[program] + " " + file + " " + arguments)
}

// listens are how sources say at which port they listen, or would if nobody said another.
var listens = []*regexp.Regexp{
	regexp.MustCompile(`ListenAndServe(?:TLS)?\(\s*"[^":]*:([0-9]{2,5})"`),
	regexp.MustCompile(`\.listen\(\s*([0-9]{2,5})\b`),
	regexp.MustCompile(`\bPORT\s*(?:\|\||\?\?)\s*["']?([0-9]{2,5})\b`),
	regexp.MustCompile(`["']PORT["']\s*,\s*["']?([0-9]{2,5})\b`),
	regexp.MustCompile(`\.run\([^)\n]*\bport\s*=\s*([0-9]{2,5})\b`),
	regexp.MustCompile(`(?m)^server\.port\s*=\s*([0-9]{2,5})\b`),
}

var testFile = regexp.MustCompile(`(?i)(^|/)tests?/|(^|/)test_|[._]test\.|[._]spec\.|\.md$`)

// listensAt gives the port at which the sources listen; 0 where they say none, or several.
func (r *repository) listensAt() int {
	found := 0
	for name, text := range r.found {
		if testFile.MatchString(name) {
			continue
		}
		for _, re := range listens {
			for _, m := range re.FindAllStringSubmatch(text, -1) {
				n, err := strconv.Atoi(m[1])
				if err != nil || !validPort(n) {
					continue
				}
				if found != 0 && found != n {
					return 0
				}
				found = n
			}
		}
	}
	return found
}
