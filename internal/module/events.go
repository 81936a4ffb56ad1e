// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

// event is a line of Terraform's output in JSON. See
// https://developer.hashicorp.com/terraform/internals/machine-readable-ui.
type event struct {
	Type       string      `json:"type"`
	Message    string      `json:"@message"`
	Level      string      `json:"@level"`
	Diagnostic *diagnostic `json:"diagnostic"`
	Hook       struct {
		Resource    subject `json:"resource"`
		Action      string  `json:"action"`
		Seconds     float64 `json:"elapsed_seconds"`
		Provisioner string  `json:"provisioner"`
		Output      string  `json:"output"`
	} `json:"hook"`
	Change *struct {
		Resource subject `json:"resource"`
		Action   string  `json:"action"`
		Reason   string  `json:"reason"`
	} `json:"change"`
}

type subject struct {
	Address string `json:"addr"`
	Type    string `json:"resource_type"`
}

// diagnostic is an error or a warning of Terraform.
type diagnostic struct {
	Severity string `json:"severity"`
	Summary  string `json:"summary"`
	Detail   string `json:"detail"`
	Address  string `json:"address"`
	Range    *struct {
		Filename string `json:"filename"`
		Start    struct {
			Line int `json:"line"`
		} `json:"start"`
	} `json:"range"`
}

// detailLines is how many lines of a diagnostic's detail an error has.
const detailLines = 12

// text returns the diagnostic in words. shown is what the module's directory is called.
func (d diagnostic) text(shown string) string {
	var b strings.Builder
	if d.Address != "" {
		b.WriteString(d.Address)
	}
	if d.Range != nil && d.Range.Filename != "" {
		at := fmt.Sprintf("%s, line %d", joinShown(shown, d.Range.Filename), d.Range.Start.Line)
		if b.Len() > 0 {
			at = " (" + at + ")"
		}
		b.WriteString(at)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	b.WriteString(strings.TrimSpace(d.Summary))
	if detail := strings.TrimSpace(d.Detail); detail != "" {
		some := strings.SplitN(detail, "\n", detailLines+1)
		if len(some) > detailLines {
			some[detailLines] = "…"
		}
		b.WriteString(": " + strings.Join(some, "\n"))
	}
	return b.String()
}

// hint adds to an error what the user of a module can do about it, where Terraform does not
// know that.
func (d diagnostic) hint(err *pipeline.Error) error {
	if strings.Contains(d.Detail, "no file exists at") {
		err.Hint = "A module is applied from its package, which has the files of its directory and of the local modules that it refers to. Move what it reads there, or hand it the text in a variable."
	}
	return err
}

// follower reads the events of one command of Terraform: it writes readable lines to the log,
// and keeps what the command's result is made of.
type follower struct {
	log   *runlog.Log
	shown string
	now   func() time.Time
	// planSaid says that the changes are known from an earlier command.
	planSaid bool

	mu      sync.Mutex
	errors  []diagnostic
	broken  []string // addresses of the resources that failed
	changes []pipeline.ModuleChange
	drift   []pipeline.ModuleChange
	running map[string]started // by address
}

// started is an action on a resource that has not ended.
type started struct {
	doing string
	since time.Time
}

func newFollower(log *runlog.Log, shown string, now func() time.Time) *follower {
	return &follower{log: log, shown: shown, now: now, running: map[string]started{}}
}

// line takes a line of output.
func (f *follower) line(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil {
		if text := strings.TrimSpace(string(line)); text != "" {
			f.say("%s", text)
		}
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.take(e)
}

// say writes what others print, for which the log has a certain room.
func (f *follower) say(format string, args ...any) { fmt.Fprintf(f.log, format+"\n", args...) }

// doing are what Terraform does with a resource, in words, and what it has done.
var doing = map[string][2]string{
	"create": {"creating", "created"}, "update": {"updating", "updated"}, "delete": {"destroying", "destroyed"},
	"read": {"reading", "read"}, "import": {"importing", "imported"},
}

// action returns what an event is about in words.
func action(name string) (now, done string) {
	if words, ok := doing[name]; ok {
		return words[0], words[1]
	}
	return name, name
}

func (f *follower) take(e event) {
	address := e.Hook.Resource.Address
	now, done := action(e.Hook.Action)
	took := time.Duration(e.Hook.Seconds * float64(time.Second))
	switch e.Type {
	case "apply_start":
		f.running[address] = started{now, f.now()}
		if e.Hook.Action != "read" {
			f.log.Note("%s: %s", address, now)
		}
	case "apply_progress":
		f.say("%s: still %s after %s", address, now, took)
	case "apply_complete":
		delete(f.running, address)
		if e.Hook.Action != "read" {
			f.log.Note("%s: %s in %s", address, done, took)
		}
	case "apply_errored":
		delete(f.running, address)
		f.broken = append(f.broken, address)
		f.log.Note("%s: failed after %s", address, took)
	case "provision_progress":
		f.say("%s (%s): %s", address, e.Hook.Provisioner, strings.TrimRight(e.Hook.Output, "\n"))
	case "planned_change":
		f.planned(&f.changes, e)
	case "resource_drift":
		f.planned(&f.drift, e)
	case "diagnostic":
		if e.Diagnostic == nil {
			return
		}
		f.log.Note("%s: %s", e.Diagnostic.Severity, e.Diagnostic.text(f.shown))
		if e.Diagnostic.Severity == "error" {
			f.errors = append(f.errors, *e.Diagnostic)
		}
	case "change_summary":
		f.log.Note("%s", e.Message)
	case "log":
		if e.Level == "error" {
			f.say("%s", e.Message)
		}
	}
}

// planned notes a change of a resource.
func (f *follower) planned(to *[]pipeline.ModuleChange, e event) {
	actions := map[string]pipeline.ModuleAction{
		"create": pipeline.ModuleCreate, "import": pipeline.ModuleCreate, "update": pipeline.ModuleUpdate, "replace": pipeline.ModuleReplace,
		"delete": pipeline.ModuleDestroy, "read": pipeline.ModuleRead,
	}
	if e.Change == nil || actions[e.Change.Action] == "" {
		return
	}
	c := pipeline.ModuleChange{Address: e.Change.Resource.Address, Type: e.Change.Resource.Type, Action: actions[e.Change.Action]}
	*to = append(*to, c)
	if e.Type == "planned_change" && !f.planSaid && c.Action != pipeline.ModuleRead {
		f.log.Note("%s: to %s", c.Address, c.Action)
	}
}

// busy says what was under way, for the error of a command that was ended.
func (f *follower) busy() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for address, s := range f.running {
		all = append(all, fmt.Sprintf("%s %s for %s", s.doing, address, f.now().Sub(s.since).Round(time.Second)))
	}
	if len(all) == 0 {
		return ""
	}
	return strings.Join(sorted(all), ", ")
}

// failed returns the errors that Terraform reported, or else the fallback.
func (f *follower) failed(op string, err error, said string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.errors) == 0 {
		return pipeline.Errorf(pipeline.CodeFailed, op, "%w%s", err, tail(said))
	}
	first := f.errors[0]
	if first.Address == "" { // of a destruction, Terraform does not say which
		first.Address = strings.Join(sorted(f.broken), ", ")
	}
	text := first.text(f.shown)
	if n := len(f.errors) - 1; n > 0 {
		text += fmt.Sprintf("\nand %d more, which the log has", n)
	}
	return first.hint(pipeline.Errorf(pipeline.CodeFailed, op, "%s", text))
}
