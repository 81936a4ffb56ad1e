// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSealNeverGoesBackInTime(t *testing.T) {
	last := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	e := Event{Facts: Facts{Build: &Build{ID: "b-1"}}}
	if err := e.Seal(Event{Seq: 6, Hash: "p", Time: last, Builds: 4}, last.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if !e.Time.Equal(last) || e.Facts.Build.Order != 7 || e.Facts.Build.Number != 5 || e.Builds != 5 {
		t.Errorf("time %s, order %d, number %d of %d", e.Time, e.Facts.Build.Order, e.Facts.Build.Number, e.Builds)
	}
}

func TestSecretsNeverShow(t *testing.T) {
	secret := Secrets{"TOKEN": "hunter2"}
	data, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{string(data), fmt.Sprint(Command{Line: "x", Secrets: secret})}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		shown = append(shown, fmt.Sprintf(verb, secret), fmt.Sprintf(verb, secret["TOKEN"]))
	}
	for _, s := range shown {
		if strings.Contains(s, "hunter2") || strings.Contains(s, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("the secret shows in %s", s)
		}
	}
	if secret["TOKEN"].Reveal() != "hunter2" {
		t.Error("the command does not get it")
	}
}

func TestErrorCodes(t *testing.T) {
	inner := Errorf(CodeRefused, "enter", "no").WithHint("approve it")
	err := fmt.Errorf("outer: %w", &Error{Code: CodeConflict, Op: "move", Err: inner})
	if CodeOf(err) != CodeConflict || hintOf(err) != "approve it" || CodeOf(nil) != "" || CodeOf(errors.New("x")) != CodeInternal {
		t.Errorf("code %s, hint %q", CodeOf(err), hintOf(err))
	}
	if got := err.Error(); got != "outer: move: enter: no" {
		t.Errorf("text %q", got)
	}
}

// The ID of a run names a directory that is removed, so an ID that leads elsewhere is refused
// wherever it is read.
func TestRunID(t *testing.T) {
	for id, ok := range map[string]bool{
		"r-0mjuoi2swe4dc": true, "r-1": true, "": false, "r-": false, "1": false, "r-../x": false, "r-a/../../x": false,
		"../../home": false, "r-A": false, "r-.": false, "r-a\n": false, `r-a\b`: false, "r-" + strings.Repeat("a", 64): false,
	} {
		run := Run{ID: id, Pipeline: "shop", Stage: "commit", Kind: KindStage, Status: RunRunning}
		e := Event{Pipeline: "shop", Kind: RunStarted, Facts: Facts{Run: &run}}
		if err := e.Seal(Event{}, time.Now()); err != nil {
			t.Fatal(err)
		}
		rows, err := e.Records()
		if err != nil {
			t.Fatal(err)
		}
		_, err = NewState(slices.DeleteFunc(rows, func(r Record) bool { return r.Kind == RecordRun }))
		for what, err := range map[string]error{"an event": e.Check(1, ""), "a state": err} {
			if (err == nil) != ok || err != nil && (CodeOf(err) != CodeCorrupt || !advises(err, VerbVerifyLedger)) {
				t.Errorf("%s with run %q: %v", what, id, err)
			}
		}
	}
}
