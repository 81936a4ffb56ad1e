// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// logFormat makes `git log` print what parseLog reads: commit, author's name and
// address, the committer's, and time, and the whole message, each ended by a NUL.
const logFormat = "--format=tformat:%H%x00%an%x00%ae%x00%cn%x00%ce%x00%ct%x00%B%x00"

// logFields is how many fields that are.
const logFields = 7

// parseLog reads the record of one commit. The end of a long message may be missing.
// What people wrote is made printable.
func parseLog(text string) (pipeline.Revision, error) {
	fields := strings.SplitN(text, "\x00", logFields)
	if len(fields) < logFields || !validCommit(fields[0]) {
		return pipeline.Revision{}, fmt.Errorf("commit record is %q", clip(text))
	}
	message, _, _ := strings.Cut(fields[6], "\x00")
	return pipeline.Revision{
		Commit:    fields[0],
		Author:    signature(fields[1], fields[2]),
		Committer: signature(fields[3], fields[4]),
		Time:      parseTime(fields[5]),
		Message:   printable(pipeline.FirstLine(message)),
	}, nil
}

// signature returns somebody's name and address as git shows them.
func signature(name, address string) string {
	if name, address = printable(name), printable(address); address == "" {
		return name
	}
	return strings.TrimSpace(name + " <" + address + ">")
}

// parseTime reads seconds since 1970. A commit may claim any time at all; one that
// no calendar holds is taken for the beginning of 1970, as git itself does.
func parseTime(seconds string) time.Time {
	const lastOfCalendar = 253402300799 // the end of the year 9999, beyond which no format goes
	n, err := strconv.ParseInt(strings.TrimSpace(seconds), 10, 64)
	if err != nil || n < 0 || n > lastOfCalendar {
		n = 0
	}
	return time.Unix(n, 0).UTC()
}

// printable returns s as a printable line without white space around it.
func printable(s string) string { return strings.TrimSpace(present.Line(s)) }

// unprintable reports whether s has a control character or is not UTF-8.
func unprintable(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl)
}

func validCommit(id string) bool {
	if len(id) != 40 && len(id) != 64 {
		return false
	}
	return strings.Trim(id, "0123456789abcdef") == ""
}
