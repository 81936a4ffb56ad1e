// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package present makes values readable to people: text from outside, durations, sizes,
// counts and IDs, each in one form wherever it is shown. It decides nothing and knows no
// terminal, page or picture; what draws is in package draw.
//
//	fmt.Fprintln(os.Stderr, present.Line(commit.Message), present.Age(now.Sub(commit.Time)), "ago")
//
// Text is printable when nothing in it acts on the terminal, the page or the editor that
// shows it, and nothing in it is invisible. One rule makes it so, and every variant keeps it:
//
//   - A whole control sequence (colours, cursor movements, titles, links) is dropped. It is
//     formatting, a log in colour stays readable, and the text around it is all there.
//   - Everything else that does not print, or that turns or joins what does, is written as
//     an escape: \x07, \u202e, \U000e0041; a byte that is not UTF-8 as \xff. So the reader
//     sees that there is something. That holds for control characters, marks of direction,
//     characters without width, line and paragraph separators, unassigned and private
//     characters, and for a control sequence that has no end on its line, which could hide
//     what follows.
//   - Emoji keep their joiners and variation selectors, where they join and vary emoji.
//
// A backslash stays one, so that making text printable again changes nothing.
package present
