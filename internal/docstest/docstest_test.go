// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package docstest

import "testing"

func TestMissing(t *testing.T) {
	t.Parallel()
	const printed = "Stage production is promoted from #1 (b-27611a405c) to #12\n(b-c366511744).\nBUILD   SINCE\n#1      1m 5s ago\nin /tmp/x.1/log.\n"
	for name, test := range map[string]struct {
		block string
		want  bool
	}{
		"the same":          {printed, false},
		"others":            {"Stage production is promoted from #7 (b-0000000000) to #8 (b-1111111111).\nBUILD SINCE\n#2 9s ago\nin /srv/deploy/log.\n", false},
		"in part":           {"Stage production … to #8\n…\n#1 2h ago\n", false},
		"an older form":     {"Stage production is promoted from b-27611a405c to b-c366511744.\n", true},
		"another order":     {"BUILD SINCE\nStage production is promoted\n", true},
		"another column":    {"BUILD MESSAGE SINCE\n", true},
		"a word for a time": {"#1 just now\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := missing(test.block, printed); (err != nil) != test.want {
				t.Errorf("missing: %v", err)
			}
		})
	}
}
