// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package present

import (
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", -time.Hour: "0s", 1: "1ns", 1234: "1.23µs", 123456: "123µs", 12*time.Millisecond + 345678: "12.3ms", 999999 * time.Microsecond: "1s",
		time.Second: "1s", 1234 * time.Millisecond: "1.23s", 45678 * time.Millisecond: "45.7s", 59999 * time.Millisecond: "1m",
		time.Minute: "1m", 61*time.Second + 600*time.Millisecond: "1m 2s", 600 * time.Second: "10m", 3599 * time.Second: "59m", 59*time.Minute + 59900*time.Millisecond: "1h",
		2*time.Hour + 13*time.Minute + 59*time.Second: "2h 13m", 11*time.Hour + 59*time.Minute: "11h", 36 * time.Hour: "1d 12h", 240*time.Hour + time.Minute: "10d", 24 * 400 * time.Hour: "400d",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Minute: "0s", 400 * time.Millisecond: "0s", 1500 * time.Millisecond: "2s", 59900 * time.Millisecond: "1m", 185 * time.Second: "3m 5s",
		119 * time.Second: "1m 59s", 599 * time.Second: "9m 59s", 605 * time.Second: "10m", 8*time.Hour - time.Second: "7h 59m", 30 * time.Hour: "1d 6h", 245 * time.Hour: "10d",
	} {
		if got := Age(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	if got := Ago(now, now.Add(-3*time.Hour)); got != "3h ago" {
		t.Errorf("got %q", got)
	}
	if got := Ago(now, time.Time{}); got != "" {
		t.Errorf("no time is %q", got)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 10239: "10239 B", 10240: "10 KiB", 20 << 20: "20 MiB", 10 << 30: "10 GiB", 9 << 30: "9216 MiB", 1 << 60: "1048576 TiB"} {
		if got := Size(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		Count(1, "build"): "1 build", Count(0, "build"): "0 builds", Count(2, "branch", "branches"): "2 branches",
		Commit("0123456789abcdef"): "0123456789", Commit("012"): "012", Digest("sha256:0123456789abcdef01"): "0123456789abcdef", Digest("0123"): "0123",
		Dash(""): "-", Dash("a"): "a", Shell("it's"): `'it'\''s'`,
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
