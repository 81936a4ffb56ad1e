// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/docstest"
)

// The rules of style that a machine can check. CONTRIBUTING has all of them, with examples.

// refusedPhrases are phrases that make a sentence hard to read aloud, with what to
// write instead.
var refusedPhrases = []struct{ phrase, instead string }{
	{`\banew\b`, `"again"`},
	{`\bof before\b`, `"earlier" or "previous"`},
	{`\b(is|are|was) said\b`, `who says it`},
	{`\bno more[,.;]`, `"no longer" before the verb`},
	{`\bcounts? no more\b`, `"no longer counts"`},
	{`\bfor a look\b`, `"so that you can inspect it"`},
	{`\bwho may (is|does)\b`, `"an authorized person"`},
	{`\b(for|of|by|to|than|with) who (may|can|has|is|does|wrote)\b`, `"people who"`},
	{`\bonly those may\b`, `the right that it requires`},
	{`\bwhom (the|authorize|it|` + "`" + `)`, `the subject first`},
	{`\b(no|any)body's to\b`, `who does it`},
	{`\bis (everybody|nobody)'s\b`, `"belongs to everybody", "grants the right to nobody"`},
	{`\bnothing else is said\b`, `"by default"`},
	{`\bof the (account|machine|pipeline)'s own\b`, `"of the account"`},
	{`\bby who\b`, `who does it`},
	{`\bwithout being told\b`, `"by default"`},
	{`\bwhat it must for\b`, `what it needs`},
	{`\bare held by who\b`, `who holds them`},
}

// refusedRegexps are the refused phrases, compiled.
var refusedRegexps = func() (list []*regexp.Regexp) {
	for _, p := range refusedPhrases {
		list = append(list, regexp.MustCompile(`(?i)`+p.phrase))
	}
	return list
}()

// checkPhrases refuses phrases in a text.
func checkPhrases(at, text string) (wrong []string) {
	for i, re := range refusedRegexps {
		if found := re.FindString(text); found != "" {
			wrong = append(wrong, fmt.Sprintf("%s says %q: write %s", at, found, refusedPhrases[i].instead))
		}
	}
	return wrong
}

// maxWords is the length of a sentence that no guide may exceed. Aim at 25.
const maxWords = 40

var (
	fenced    = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	code      = regexp.MustCompile("`[^`]*`")
	link      = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	action    = regexp.MustCompile(`\{\{.*?\}\}|<!--.*?-->`)
	heading   = regexp.MustCompile(`(?m)^#+ .*$`)
	row       = regexp.MustCompile(`(?m)^\|.*$`)
	block     = regexp.MustCompile(`\n *\n|\n *(?:[-*]|\d+\.) `)
	sentence  = regexp.MustCompile(`[.!?]['")*]*(?:\s+|$)|\s→\s`)
	frontPart = regexp.MustCompile(`(?s)^---\n.*?\n---\n`)
)

// proseOf returns the paragraphs, list items and table cells of a Markdown text, without code.
func proseOf(text string) (blocks []string) {
	text = fenced.ReplaceAllString(frontPart.ReplaceAllString(text, ""), "")
	text = action.ReplaceAllString(text, "")
	text = link.ReplaceAllString(code.ReplaceAllString(text, "code"), "$1")
	for _, r := range row.FindAllString(text, -1) {
		blocks = append(blocks, strings.Split(strings.ReplaceAll(r, `\|`, "/"), "|")...)
	}
	text = heading.ReplaceAllString(row.ReplaceAllString(text, ""), "\n")
	return append(blocks, block.Split(text, -1)...)
}

// checkSentences refuses sentences that are too long to be read aloud.
func checkSentences(at, text string) (wrong []string) {
	for _, b := range proseOf(text) {
		for _, s := range sentence.Split(b, -1) {
			if words := strings.Fields(s); len(words) > maxWords {
				wrong = append(wrong, fmt.Sprintf("%s has a sentence of %d words, at most %d: %s …", at, len(words), maxWords, strings.Join(words[:8], " ")))
			}
		}
	}
	return wrong
}

// checkStrings refuses phrases in the string literals of a Go file.
func checkStrings(name, text string) (wrong []string) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, 0)
	if err != nil {
		return []string{err.Error()}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if b, ok := n.(*ast.BasicLit); ok && b.Kind == token.STRING {
			if s, err := strconv.Unquote(b.Value); err == nil {
				wrong = append(wrong, checkPhrases(fset.Position(b.Pos()).String(), s)...)
			}
		}
		return true
	})
	return wrong
}

// checkFrontPage checks that the registry's front page links every guide.
func checkFrontPage(page string, guides []string) (wrong []string) {
	for _, g := range guides {
		if !strings.Contains(page, "](guides/"+g+")") {
			wrong = append(wrong, "the front page does not link guides/"+g)
		}
	}
	return wrong
}

func TestProseRules(t *testing.T) {
	long := strings.Repeat("word ", maxWords+1)
	tests := map[string]struct {
		got  []string
		want string
	}{
		"a phrase":              {checkPhrases("a.md", "It is made anew."), `"again"`},
		"a phrase in a literal": {checkStrings("a.go", "package a\n\nconst s = \"It is made anew.\"\n"), "a.go:3"},
		"a phrase in a comment": {checkStrings("a.go", "package a // made anew\n"), ""},
		"an indirect question":  {checkPhrases("a.md", "`authorize` says who may approve."), ""},
		"a long sentence":       {checkSentences("a.md", "Short. "+long+"."), "41 words"},
		"a long cell":           {checkSentences("a.md", "| a | "+long+" |"), "41 words"},
		"long code":             {checkSentences("a.md", "```shell\n"+long+"\n```\n\nShort: `"+long+"`."), ""},
		"a list":                {checkSentences("a.md", strings.Repeat("- item\n", maxWords+1)), ""},
		"a guide left out":      {checkFrontPage("[A](guides/a.md)", []string{"a.md", "b.md"}), "guides/b.md"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			all := strings.Join(test.got, "\n")
			if (test.want == "") != (all == "") || !strings.Contains(all, test.want) {
				t.Errorf("got %q, want %q", all, test.want)
			}
		})
	}
}

// TestProse checks the pages for users and what the programs print.
func TestProse(t *testing.T) {
	tracked, err := exec.Command("git", "ls-files", "-z").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	pages, sources := 0, 0
	for name := range strings.SplitSeq(strings.TrimRight(string(tracked), "\x00"), "\x00") {
		page := name == "README.md" || path.Dir(name) == ".github/adr" || name == ".github/ARCHITECTURE.md" || strings.HasPrefix(name, "tools/templates/") || strings.HasPrefix(name, "docs/")
		source := path.Ext(name) == ".go" && !strings.HasSuffix(name, "_test.go") && strings.HasPrefix(name, "internal/") && !slices.Contains(testOnly, path.Dir(name))
		if !page && !source {
			continue
		}
		text, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue // deleted, not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case source:
			sources++
			report(t, checkStrings(name, string(text)))
		default:
			pages++
			report(t, checkPhrases(name, string(text)))
			report(t, checkSentences(name, string(text)))
		}
	}
	if pages < 30 || sources < 100 {
		t.Errorf("%d pages and %d sources found", pages, sources)
	}
}

// What a page shows of a console is compared by a test with what is printed there.
func TestConsoles(t *testing.T) {
	compared := regexp.MustCompile("(?:Shows\\([\\w.]+, |\\bdocumented\\()\"([\\w/-]+\\.md)\", [\"`]([^\"`]+)[\"`]|documented ([\\w-]+\\.md) '[^']*' '([^']+)'")
	of := map[string][]string{} // texts of blocks that are compared, by the name of the page
	for _, text := range texts(t, "_test.go", ".txtar") {
		for _, m := range compared.FindAllStringSubmatch(text, -1) {
			page := path.Base(m[1] + m[3])
			of[page] = append(of[page], m[2]+m[4])
		}
	}
	blocks := 0
	for name, text := range texts(t, ".md") {
		for _, block := range docstest.Consoles(text) {
			blocks++
			if !slices.ContainsFunc(of[path.Base(name)], func(with string) bool { return strings.Contains(block, with) }) {
				t.Errorf("%s: no test compares this with what is printed, by docstest.Shows:\n%s", name, block)
			}
		}
		if typed := regexp.MustCompile("(?m)^```(text)?\n\\$ ").FindString(text); typed != "" {
			t.Errorf("%s: what a console shows is marked as console", name)
		}
	}
	if blocks < 15 {
		t.Errorf("%d blocks found", blocks)
	}
}

// texts returns the texts of the repository's files whose names have one of the ends.
func texts(t *testing.T, ends ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range tracked(t) {
		if !slices.ContainsFunc(ends, func(end string) bool { return strings.HasSuffix(name, end) }) {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil && !os.IsNotExist(err) { // one may be deleted, not committed yet
			t.Fatal(err)
		}
		all[name] = string(text)
	}
	return all
}

func TestFrontPage(t *testing.T) {
	page, err := os.ReadFile("tools/templates/index.md.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	guides, err := filepath.Glob("tools/templates/guides/*.md.tmpl")
	if err != nil || len(guides) == 0 {
		t.Fatalf("the guides are %q, %v", guides, err)
	}
	for i, g := range guides {
		guides[i] = strings.TrimSuffix(filepath.Base(g), ".tmpl")
	}
	report(t, checkFrontPage(string(page), guides))
}
