// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"testing"
	"time"
)

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 1400 * time.Millisecond: "1s", 59 * time.Second: "59s", time.Minute: "1m", 119 * time.Second: "1m 59s",
		599 * time.Second: "9m 59s", 605 * time.Second: "10m", 8*time.Hour - time.Second: "7h 59m", 8 * time.Hour: "8h", 24 * time.Hour: "1d",
		30 * time.Hour: "1d 6h", 240*time.Hour + 5*time.Hour: "10d",
	} {
		if got := span(d); got != want {
			t.Errorf("%s is %q; want %q", d, got, want)
		}
	}
}

func TestTook(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0", 452500 * time.Microsecond: "452.5 ms", 12345 * time.Millisecond: "12.35 s", 2*time.Minute + 3*time.Second: "2m 3s", time.Hour: "1h",
	} {
		if got := took(d); got != want {
			t.Errorf("%s is %q; want %q", d, got, want)
		}
	}
}

func TestUnbroken(t *testing.T) {
	want := `&lt;b&gt; on <span class="id">b-0895a9bd49</span>`
	if got := unbroken("<b> on b-0895a9bd49"); string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"a\tb\r\nc": "a bc", "\x1b[31mred\x07": "[31mred", "one\u202etwo\u2066": "onetwo", "\xff": "\uFFFD", "grüße 日本": "grüße 日本", "\u0085\u009b": "",
	} {
		if got := plain(text); got != want {
			t.Errorf("%q is shown as %q; want %q", text, got, want)
		}
	}
}
