// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package present

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// units of durations, the largest first.
var units = []struct {
	name string
	size time.Duration
}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}

// Duration formats a duration: in its largest unit, and in the next if the first is less than
// ten: "2h 13m", "14m", "3d". Below a minute it has three significant digits: "1.25s",
// "850ms". A negative one counts as zero.
func Duration(d time.Duration) string {
	if d < time.Minute {
		return brief(max(d, 0))
	}
	d = d.Round(time.Second)
	for i, u := range units[:len(units)-1] {
		n, rest := d/u.size, d%u.size/units[i+1].size
		switch {
		case n == 0:
		case n < 10 && rest > 0:
			return fmt.Sprintf("%d%s %d%s", n, u.name, rest, units[i+1].name)
		default:
			return fmt.Sprintf("%d%s", n, u.name)
		}
	}
	return ""
}

// brief formats a duration below a minute in three digits.
func brief(d time.Duration) string {
	for unit := 10 * time.Second; unit >= 100*time.Nanosecond; unit /= 10 {
		if d >= unit {
			d = d.Round(unit / 100)
			break
		}
	}
	if d >= time.Minute {
		return "1m"
	}
	return d.String()
}

// Age formats how long ago or ahead a time is: as Duration, in whole seconds. A negative one
// counts as zero, because clocks differ.
func Age(d time.Duration) string { return Duration(max(d, 0).Round(time.Second)) }

// Ago formats how long before now a time was, "3m 5s ago"; nothing for the zero time.
func Ago(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return Age(now.Sub(t)) + " ago"
}

// Size formats a number of bytes in the unit that leaves two digits or more: "512 B", "20
// MiB".
func Size(n int64) string {
	unit := 0
	names := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for ; n >= 10<<10 && unit < len(names)-1; unit++ {
		n >>= 10
	}
	return fmt.Sprintf("%d %s", n, names[unit])
}

// Count formats a number of things: "1 build", "2 builds". An irregular plural is passed as
// well: Count(n, "branch", "branches").
func Count(n int, one string, many ...string) string {
	return pipeline.Count(n, one, many...)
}

// Dash returns the text, or a dash if it is empty.
func Dash(s string) string { return cmp.Or(s, "-") }

// Build names a build by its number, #412, or by its ID if it has none.
func Build(number int64, id string) string { return pipeline.BuildName(number, id) }

// BuildArgument names a build as an argument of a command: by its number, which a shell takes
// for no comment, or by its ID if it has none.
func BuildArgument(number int64, id string) string {
	return strings.TrimPrefix(Build(number, id), "#")
}

// Commit returns the first characters of a commit's ID, which distinguish it from others.
func Commit(id string) string { return id[:min(len(id), 10)] }

// Digest returns the first characters of a digest such as "sha256:…", without the name of
// its function.
func Digest(s string) string {
	if _, hex, ok := strings.Cut(s, ":"); ok {
		s = hex
	}
	return s[:min(len(s), 16)]
}

// Shell returns text as one word of a POSIX shell.
func Shell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// List writes names for a sentence: "a, b and c".
func List(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
