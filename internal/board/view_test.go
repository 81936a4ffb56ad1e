// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"testing"
)

func TestBrief(t *testing.T) {
	want := `&lt;b&gt; on <span class="id">b-0895a9bd49</span>`
	for _, text := range []string{"<b> on b-0895a9bd49: `penstock approve`, or `reject`", "<b> on b-0895a9bd49; `penstock resume`", "<b> on b-0895a9bd49"} {
		if got := brief(text); string(got) != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
