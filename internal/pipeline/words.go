// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Moment formats a time for people, to the minute and with its zone: "2026-11-29 10:41 UTC".
// The caller chooses the zone: t.Local() if the reader sits at this machine, else t.UTC().
func Moment(t time.Time) string { return t.Format("2006-01-02 15:04 MST") }

// Clock formats a time of today for people, to the second and with its zone: "10:41:06 UTC".
func Clock(t time.Time) string { return t.Format("15:04:05 MST") }

// Period formats a duration as people write it: "8h", not "8h0m0s".
func Period(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// longestSlug is how many characters a name from Slug has at most.
const longestSlug = 40

var notInSlug = regexp.MustCompile(`[^a-z0-9]+`)

// Slug makes a name from a text: lower-case letters, digits and hyphens, a letter first. If
// the text does not begin with a letter, the word goes first.
func Slug(text, word string) string {
	name := strings.Trim(notInSlug.ReplaceAllString(strings.ToLower(text), "-"), "-")
	if name == "" || name[0] < 'a' {
		name = word + "-" + name
	}
	return strings.Trim(name[:min(len(name), longestSlug)], "-")
}

// Count names a number of things: "1 build", "2 builds". An irregular plural is passed as
// well: Count(n, "branch", "branches").
func Count(n int, one string, many ...string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, cmp.Or(strings.Join(many, ""), one+"s"))
}

// BuildName names a build for people: by its number, #412, or by its ID if it has none.
func BuildName(number int64, id string) string {
	if number == 0 {
		return id
	}
	return fmt.Sprintf("#%d", number)
}
