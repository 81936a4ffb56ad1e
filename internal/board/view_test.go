// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"testing"
)

func TestUnbroken(t *testing.T) {
	want := `&lt;b&gt; on <span class="id">b-0895a9bd49</span>`
	if got := unbroken("<b> on b-0895a9bd49"); string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}
