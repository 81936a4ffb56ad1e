// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"fmt"
	"strings"
	"testing"
)

func TestParsePackages(t *testing.T) {
	got := ParsePackages("zlib1g:amd64 1:1\nopenssl 3.0.2-1\nnameless\ntwo versions here\n\n " + strings.Repeat("x", 501) + " 1\nopenssl 3.0.2-1\r\n")
	if want := "[{openssl 3.0.2-1} {zlib1g:amd64 1:1}]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if got := ParsePackages("nothing\n"); got != nil {
		t.Errorf("no package is %v", got)
	}
	var many strings.Builder
	for i := range maxPackages + 10 {
		fmt.Fprintf(&many, "p%d 1\n", i)
	}
	if got := ParsePackages(many.String()); len(got) != maxPackages {
		t.Errorf("there are %d packages", len(got))
	}
}

func TestComparePackages(t *testing.T) {
	from := []Package{{"gone", "1"}, {"kept", "1"}, {"kernel", "1"}, {"kernel", "2"}, {"newer", "1"}}
	to := []Package{{"kept", "1"}, {"kernel", "2"}, {"more", "1"}, {"newer", "2"}}
	if got := fmt.Sprint(ComparePackages(from, to)); got != "[{gone 1 } {more  1} {newer 1 2}]" {
		t.Errorf("the changes are %s", got)
	}
}
