// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// line is a line of an export: a header, or an event.
type line struct {
	Format   int             `json:"penstock_ledger,omitempty"`
	Pipeline string          `json:"pipeline,omitempty"`
	Events   int64           `json:"events,omitempty"`
	Hash     string          `json:"hash"`
	Event    json.RawMessage `json:"event,omitempty"`
}

// forge makes the export of a history of which the first events are kept, each changed as
// change does, with hashes that fit.
func forge(t *testing.T, text string, keep int, change func(body string) string) string {
	t.Helper()
	var headers, lines []line
	for scan := bufio.NewScanner(strings.NewReader(text)); scan.Scan(); {
		var l line
		if err := json.Unmarshal(scan.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		if l.Format != 0 {
			if len(headers) == 1 {
				break // the first pipeline is enough
			}
			headers = append(headers, l)
			continue
		}
		lines = append(lines, l)
	}
	lines = lines[:keep]
	prev := ""
	var out strings.Builder
	for i, l := range lines {
		var old pipeline.Event
		if err := json.Unmarshal(l.Event, &old); err != nil {
			t.Fatal(err)
		}
		body := change(string(l.Event))
		body = strings.Replace(body, fmt.Sprintf(`"prev":%q`, old.Prev), fmt.Sprintf(`"prev":%q`, prev), 1)
		lines[i] = line{Hash: pipeline.HashOf([]byte(body)), Event: json.RawMessage(body)}
		prev = lines[i].Hash
		fmt.Fprintf(&out, "{\"hash\":%q,\"event\":%s}\n", prev, body)
	}
	headers[0].Events, headers[0].Hash = int64(keep), prev
	header, err := json.Marshal(headers[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(header) + "\n" + out.String()
}

// TestAnchors rewrites and cuts a history, in each kind of ledger. Both verify, as nothing in
// a ledger itself can show it, but an anchor that was kept elsewhere does.
func TestAnchors(t *testing.T) {
	t.Parallel()
	from := filled(t, 5)
	text := export(t, from)
	head, err := from.Newest(t.Context(), "shop")
	if err != nil || head.Sequence != 17 {
		t.Fatalf("the newest anchor is %v, %v", head, err)
	}
	at := func(seq int64) pipeline.Anchor {
		t.Helper()
		events, err := from.Events(t.Context(), "shop", seq-1, 1)
		if err != nil || len(events) != 1 {
			t.Fatal(events, err)
		}
		return events[0].Anchor()
	}
	same := func(body string) string { return body }
	approve := func(body string) string {
		return strings.Replace(body, `"result":"approved"`, `"result":"rejected"`, 1)
	}
	for name, tt := range map[string]struct {
		text  string
		finds map[pipeline.Anchor]string // what is said of an anchor; empty: it is there
	}{
		"the same": {text, map[pipeline.Anchor]string{at(1): "", at(9): "", head: ""}},
		"written anew": {forge(t, text, 17, approve), map[pipeline.Anchor]string{
			at(1): "", at(2): "", at(3): "event 3 of pipeline \"shop\" has changed", at(9): "event 9 of pipeline \"shop\" has changed", head: "event 17 of pipeline \"shop\" has changed",
		}},
		"cut": {forge(t, text, 16, same), map[pipeline.Anchor]string{
			at(16): "", head: "event 17 of pipeline \"shop\" is missing: its history ends with event 16",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, table := newTable(t)
			for kind, l := range map[string]pipeline.Ledger{"file": newFile(t), "table": openTable(t, table)} {
				if _, err := ledger.Import(t.Context(), l, strings.NewReader(tt.text)); err != nil {
					t.Fatalf("%s: %v", kind, err)
				}
				if _, err := l.Verify(t.Context(), "shop"); err != nil {
					t.Errorf("%s: the chain itself shows it: %v", kind, err)
				}
				for anchor, says := range tt.finds {
					err := pipeline.CheckAnchor(t.Context(), l, "shop", anchor)
					switch {
					case says == "" && err != nil:
						t.Errorf("%s: event %d: %v", kind, anchor.Sequence, err)
					case says != "" && (pipeline.CodeOf(err) != pipeline.CodeCorrupt || !strings.Contains(err.Error(), says) || reason.Hint(err) == ""):
						t.Errorf("%s: event %d: %v, want %q", kind, anchor.Sequence, err, says)
					}
				}
			}
		})
	}
}

// TestEventsOfAnotherVersion moves events with fields that this version does not know, and
// without fields that it writes: they stay what they were, byte for byte.
func TestEventsOfAnotherVersion(t *testing.T) {
	t.Parallel()
	text := forge(t, export(t, filled(t, 2)), 8, func(body string) string {
		body = strings.Replace(body, `"actor":`, `"later": {"b":1, "a":[ ]}, "actor":`, 1)
		return strings.Replace(body, `"summary":"",`, "", 1)
	})
	_, table := newTable(t)
	for kind, l := range map[string]pipeline.Ledger{"file": newFile(t), "table": openTable(t, table)} {
		if _, err := ledger.Import(t.Context(), l, strings.NewReader(text)); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if n, err := l.Verify(t.Context(), "shop"); err != nil || n != 8 {
			t.Errorf("%s: verified %d events, %v", kind, n, err)
		}
		var out strings.Builder
		if err := ledger.Export(t.Context(), l, &out, "shop"); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if got := out.String(); got != text {
			t.Errorf("%s: the export is\n%s\nwant\n%s", kind, got, text)
		}
	}
}

func TestParseAnchor(t *testing.T) {
	t.Parallel()
	want := pipeline.Anchor{Sequence: 41, Hash: pipeline.HashOf(nil)}
	if got, err := pipeline.ParseAnchor(want.String()); err != nil || got != want {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{"", "41", "41:", ":" + want.Hash, "0:" + want.Hash, "-1:" + want.Hash, "041:" + want.Hash, "41:" + strings.ToUpper(want.Hash), "41:" + want.Hash[:12], want.String() + "\n", strings.Repeat("9", 30) + ":" + want.Hash} {
		if _, err := pipeline.ParseAnchor(text); pipeline.CodeOf(err) != pipeline.CodeInvalid || reason.Hint(err) == "" {
			t.Errorf("%q: %v", text, err)
		}
	}
}
