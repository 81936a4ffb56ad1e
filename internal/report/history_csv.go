// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"encoding/csv"
	"io"
	"strconv"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// HistoryCSV writes entries of a history as CSV, for spreadsheets. No cell is a formula there,
// whoever wrote its text.
type HistoryCSV struct{ csv *csv.Writer }

// historyColumns are named as the fields in JSON.
var historyColumns = []struct {
	name string
	of   func(HistoryEntry) string
}{
	{"sequence", func(e HistoryEntry) string { return strconv.FormatInt(e.Sequence, 10) }},
	{"at", func(e HistoryEntry) string { return e.At.UTC().Format(time.RFC3339) }},
	{"kind", func(e HistoryEntry) string { return string(e.Kind) }},
	{"action", func(e HistoryEntry) string { return e.Action }},
	{"actor", func(e HistoryEntry) string { return e.Actor }},
	{"stage", func(e HistoryEntry) string { return e.Stage }},
	{"build_number", func(e HistoryEntry) string { return number(e.BuildNumber) }},
	{"build", func(e HistoryEntry) string { return e.Build }},
	{"message", func(e HistoryEntry) string { return e.Message }},
	{"from_number", func(e HistoryEntry) string { return number(e.FromNumber) }},
	{"from", func(e HistoryEntry) string { return e.From }},
	{"reason", func(e HistoryEntry) string { return e.Reason }},
	{"detail", func(e HistoryEntry) string { return e.Detail }},
	{"approval_count", func(e HistoryEntry) string { return number(int64(e.Approvals)) }},
	{"run", func(e HistoryEntry) string { return e.Run }},
	{"image", func(e HistoryEntry) string { return e.Image }},
	{"environment", func(e HistoryEntry) string { return e.Environment }},
	{"channel_name", func(e HistoryEntry) string { return e.Channel }},
	{"recorded_at", func(e HistoryEntry) string { return e.RecordedAt.UTC().Format(time.RFC3339) }},
	{"event", func(e HistoryEntry) string { return string(e.Event) }},
	{"hash", func(e HistoryEntry) string { return e.Hash }},
	{"previous_hash", func(e HistoryEntry) string { return e.PreviousHash }},
}

// number returns a number in digits; none for zero, which stands for unknown.
func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// NewHistoryCSV writes the names of the columns.
func NewHistoryCSV(w io.Writer) (*HistoryCSV, error) {
	c := &HistoryCSV{csv.NewWriter(w)}
	names := make([]string, 0, len(historyColumns))
	for _, column := range historyColumns {
		names = append(names, column.name)
	}
	return c, c.csv.Write(names)
}

// Write writes an entry.
func (c *HistoryCSV) Write(e HistoryEntry) error {
	cells := make([]string, 0, len(historyColumns))
	for _, column := range historyColumns {
		cells = append(cells, present.Cell(column.of(e)))
	}
	return c.csv.Write(cells)
}

// Flush writes what is buffered.
func (c *HistoryCSV) Flush() error {
	c.csv.Flush()
	return c.csv.Error()
}
