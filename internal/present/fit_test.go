// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package present

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFit(t *testing.T) {
	for _, test := range []struct {
		text        string
		width       int
		end, middle string
	}{
		{"production", 10, "production", "production"},
		{"production-eu-west-1", 11, "production…", "produ…est-1"},
		{"日本語のメッセージ", 7, "日本語…", "日…ジ"},
		{"e\u0301e\u0301e\u0301e\u0301", 3, "e\u0301e\u0301…", "e\u0301…e\u0301"},
		{"abc", 2, "a…", "a…"},
		{"abc", 1, "…", "…"},
		{"", 0, "", ""},
	} {
		if end, middle := Fit(test.text, test.width), FitMiddle(test.text, test.width); end != test.end || Width(middle) > test.width || test.middle != middle {
			t.Errorf("%q in %d cells is %q and %q, want %q and %q", test.text, test.width, end, middle, test.end, test.middle)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, test := range []struct {
		text  string
		width int
		want  []string
	}{
		{"one two three", 8, []string{"one two", "three"}},
		{"run `penstock approve shop x` now", 26, []string{"run", "`penstock approve shop x`", "now"}},
		{"run `penstock approve shop x` now", 12, []string{"run", "`penstock", "approve", "shop x` now"}},
		{"never `ends here", 11, []string{"never `ends", "here"}},
		{"http://127.0.0.1:4000/", 10, []string{"http://127", ".0.0.1:400", "0/"}},
		{"日本語", 5, []string{"日本", "語"}},
		{"日", 1, []string{"日"}},
		{"", 5, []string{""}},
	} {
		if got := Wrap(test.text, test.width); !slices.Equal(got, test.want) {
			t.Errorf("%q in %d cells is %q, want %q", test.text, test.width, got, test.want)
		}
	}
}

// No line is longer than the room there is, and nothing is lost.
func FuzzWrap(f *testing.F) {
	f.Add("waits for `penstock approve shop exploratory b-1`, or 日本語 e\u0301", uint8(12))
	f.Fuzz(func(t *testing.T, text string, width uint8) {
		text, room := Line(text), int(width)
		if !utf8.ValidString(text) {
			t.Skip()
		}
		lines := Wrap(text, room)
		for _, line := range lines {
			if Width(line) > room && room >= 2 {
				t.Errorf("%q has %d cells of %d", line, Width(line), room)
			}
		}
		bare := strings.NewReplacer(" ", "", "\t", "").Replace
		if got, want := bare(strings.Join(lines, "")), bare(strings.Join(strings.Fields(text), "")); got != want {
			t.Errorf("%q became %q", want, got)
		}
		for _, fit := range []string{Fit(text, room), FitMiddle(text, room)} {
			if Width(fit) > max(room, 1) {
				t.Errorf("%q has %d cells of %d", fit, Width(fit), room)
			}
		}
	})
}
