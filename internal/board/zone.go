// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"cmp"
	"time"
	_ "time/tzdata" // the zones of readers, where the board's host has none

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// zone is that of the days in a filter. It is the reader's, as with the command: the page names
// it in the address, so that a link means the same days to everybody.
type zone struct {
	Name     string // as the address has it; empty where it has none and there is no day
	location *time.Location
}

// Says names the zone.
func (z zone) Says() string { return cmp.Or(z.Name, "UTC") }

// zoneOf reads the zone of an address. Without one, days are of UTC. CodeInvalid for what is no
// zone; the zone returned is UTC then.
func zoneOf(name string, days bool) (zone, error) {
	z := zone{Name: name, location: time.UTC}
	if name == "" {
		if days {
			z.Name = "UTC"
		}
		return z, nil
	}
	at, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return zone{"UTC", time.UTC}, pipeline.Errorf(pipeline.CodeInvalid, "filter by days", "there is no time zone %q", name).WithHint("A zone is Europe/Berlin, or UTC.")
	}
	z.location = at
	return z, nil
}

// day returns the begin of a day, which is days after the one of a text. CodeInvalid for what is
// no day.
func (z zone) day(text string, days int) (time.Time, error) {
	t, err := time.ParseInLocation(time.DateOnly, text, z.location)
	if err != nil {
		return t, pipeline.Errorf(pipeline.CodeInvalid, "filter by days", "%q is no day", text).WithHint("Write it as 2026-11-29.")
	}
	return t.AddDate(0, 0, days), nil
}
