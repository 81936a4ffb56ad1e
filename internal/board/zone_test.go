// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"net/url"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Days are those of the zone that the address names, also where the clock is changed on one.
func TestDaysOfAZone(t *testing.T) {
	for query, want := range map[string][3]string{
		"since=2026-03-29&until=2026-03-29&zone=Europe/Berlin":      {"2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", "Europe/Berlin"},
		"since=2026-03-29&until=2026-03-29":                         {"2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z", "UTC"},
		"since=2026-03-29&zone=Asia/Kathmandu":                      {"2026-03-28T18:15:00Z", "0001-01-01T00:00:00Z", "Asia/Kathmandu"},
		"since=2026-03-29T10:00:00-05:00&zone=Asia/Kathmandu":       {"2026-03-29T15:00:00Z", "0001-01-01T00:00:00Z", "Asia/Kathmandu"},
		"zone=America/New_York":                                     {"0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "America/New_York"},
		"":                                                          {"0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", ""},
		"since=2026-03-29&zone=":                                    {"2026-03-29T00:00:00Z", "0001-01-01T00:00:00Z", "UTC"},
		"since=2026-11-01&until=2026-11-01&zone=America/New_York&x": {"2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z", "America/New_York"},
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		f, q, err := historyQuery(values)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		if got := [3]string{q.Since.UTC().Format(time.RFC3339), q.Until.UTC().Format(time.RFC3339), f.Zone.Name}; got != want {
			t.Errorf("%s is %q, not %q", query, got, want)
		}
		if b := filterOf(values.Get, nil); f.Since == "2026-03-29" && (b.since.UTC().Format(time.RFC3339) != want[0] || b.BadDay) {
			t.Errorf("of builds, %s is %s", query, b.since)
		}
	}
	for _, wrong := range []string{"Local", "../../etc/passwd", "/etc/passwd", "Nowhere", "Europe/", "+01:00"} {
		values := url.Values{"zone": {wrong}, "since": {"2026-03-29"}}
		if _, _, err := historyQuery(values); pipeline.CodeOf(err) != pipeline.CodeInvalid {
			t.Errorf("zone %q: %v", wrong, err)
		}
		if f := filterOf(values.Get, nil); !f.BadDay || !f.since.IsZero() || f.Zone.Says() != "UTC" {
			t.Errorf("of builds, zone %q: %+v", wrong, f)
		}
	}
}
