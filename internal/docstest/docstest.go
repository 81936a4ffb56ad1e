// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package docstest asserts that the pages for users show what the programs print.
package docstest

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Shows asserts that what a page shows of a console, in the block that has a text, was printed:
// each of its lines, in this order, but for what is another each time (IDs, numbers, times,
// paths) and for how lines are broken. For a "…" on the page anything may have been printed. Who
// runs the tests is ada on the page, which is a path from the root of the repository.
func Shows(t testing.TB, page, with, printed string) {
	t.Helper()
	if err := Check(page, with, printed); err != nil {
		t.Error(err)
	}
}

var (
	fence = regexp.MustCompile("(?ms)^```console\n(.*?)^```$")
	ada   = regexp.MustCompile(`\bada([^@\w])`) // who runs the tests; ada@example.com is who commits
)

// Consoles returns what the text of a page shows of consoles, block by block.
func Consoles(page string) (blocks []string) {
	for _, m := range fence.FindAllStringSubmatch(page, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// Check is Shows for tests that are no functions of Go.
func Check(page, with, printed string) error {
	root, err := root()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		return err
	}
	who, err := user.Current()
	if err != nil {
		return err
	}
	found := false
	for _, block := range Consoles(string(text)) {
		if !strings.Contains(block, with) {
			continue
		}
		found = true
		if err := missing(ada.ReplaceAllString(block, who.Username+"${1}"), printed); err != nil {
			return fmt.Errorf("%s shows what is not printed: %w\n%s", page, err, printed)
		}
	}
	if !found {
		return fmt.Errorf("%s has no block with %q", page, with)
	}
	return nil
}

// root returns the root of the repository.
func root() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.Join(errors.New("no go.mod here or above"), err)
}

// missing returns the first line of a block that was not printed after those before it.
func missing(block, printed string) error {
	rest := shape(printed)
	for line := range strings.Lines(block) {
		for piece := range strings.SplitSeq(shape(line), "…") {
			piece = strings.TrimSpace(piece)
			_, after, found := strings.Cut(rest, piece)
			if !found {
				return fmt.Errorf("%q, as %q, in what follows of %q", strings.TrimSpace(line), piece, rest)
			}
			rest = after
		}
	}
	return nil
}

// zone is that of this machine, or UTC.
const zone = `([A-Z]{2,5}|[+-]\d\d(\d\d)?)`

// varying is what is another each time, with what stands for it.
var varying = []struct {
	pattern *regexp.Regexp
	mark    string
}{
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?)?(Z| ` + zone + `)?`), "TIME"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d( ` + zone + `)?`), "TIME"},
	{regexp.MustCompile(`\btoken=\w+`), "token"},
	{regexp.MustCompile(`\b(b|r|img)-[0-9a-z]{10,}\b`), "$1-ID"},
	{regexp.MustCompile(`\b[0-9a-f]{10,40}\b`), "ID"},
	{regexp.MustCompile(`\d+(\.\d+)?(ms|µs|[smhd])( ?\d+(ms|[smhd]))*\b`), "PERIOD"},
	{regexp.MustCompile(`\d+(\.\d+)?`), "N"},
	{regexp.MustCompile(`(^|[\s(])/[^\s,]+`), "${1}PATH"},
	{regexp.MustCompile(`\s+`), " "},
}

// shape returns a text with marks for what is another each time, and with single spaces.
func shape(text string) string {
	for _, v := range varying {
		text = v.pattern.ReplaceAllString(text, v.mark)
	}
	return text
}
