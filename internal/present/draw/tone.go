// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package draw

import "github.com/penstock-io/terraform-provider-penstock/internal/gate"

// Tone names a colour: of a stage, or of one line about it. Faces have the same ones.
type Tone string

// Tones are all of them, in the order of a legend, with what each says.
var Tones = []struct {
	Tone Tone
	Says string
}{
	{"serving", "serving"}, {"passed", "passed"}, {"person", "needs a person"}, {"running", "running"},
	{"upstream", "waits upstream"}, {"failed", "failed"}, {"idle", "idle"},
}

// ToneOf returns the tone of a stage.
func ToneOf(v gate.View) Tone {
	if v.Signal == gate.SignalNothing && v.Status == gate.StatusPassed {
		return "passed"
	}
	return toneOf(v.Signal)
}

// ToneOfNext returns the tone of what comes next at a stage.
func ToneOfNext(n gate.Next) Tone { return toneOf(n.Signal) }

// ToneOfCurrent returns the tone of what a stage is at.
func ToneOfCurrent(v gate.View) Tone {
	switch {
	case v.Current.Build == "" && v.Current.Image == "":
		return "idle"
	case v.Signal == gate.SignalServing, v.Signal == gate.SignalFailed && v.Next.Signal != gate.SignalFailed: // what should serve
		return toneOf(v.Signal)
	case v.Undecided != "" && v.Undecided == v.Current.Build:
		return "person"
	}
	return "passed"
}

func toneOf(s gate.Signal) Tone {
	if s == gate.SignalNothing {
		return "idle"
	}
	return Tone(s)
}
