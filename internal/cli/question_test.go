// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package cli

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/lab"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// asking runs commands in the lab's shop.
type asking struct {
	*testing.T
	lab *lab.Lab
	app app.App
}

func openAsking(t *testing.T) *asking {
	t.Helper()
	if testing.Short() {
		t.Skip("it makes the lab")
	}
	l, err := lab.Open(t.Context(), lab.Options{Dir: t.TempDir(), Only: lab.Shop})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	a := &asking{T: t, lab: l, app: *l.App}
	a.app.Engine = l.Engine.As(pipeline.Person{Name: "ann"})
	t.Setenv("NO_COLOR", "1")
	return a
}

// does runs a command, with what somebody types at a terminal; "" for no terminal.
func (a *asking) does(line, typed string) (out, talk string, err error) {
	a.Helper()
	var printed, said strings.Builder
	f := &factory{Streams: Streams{In: strings.NewReader(typed), Out: &printed, Err: &said}, version: "1.2.3", now: a.lab.Now, opened: &a.app, terminal: func() bool { return typed != "" }}
	root := newRoot(f)
	root.SetArgs(strings.Fields(line))
	err = root.ExecuteContext(a.Context())
	return printed.String(), said.String(), err
}

func (a *asking) state() *pipeline.State {
	a.Helper()
	st, err := a.lab.Engine.State(a.Context(), lab.Shop)
	if err != nil {
		a.Fatal(err)
	}
	return st
}

// On a terminal the commands that move a stage show what is known, and ask; only a yes is one.
// Without a terminal they refuse, unless they are told not to ask.
func TestQuestion(t *testing.T) {
	a := openAsking(t)
	head := func() int64 {
		n, err := a.lab.Engine.Reports.Head(t.Context(), lab.Shop)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, tt := range []struct {
		line     string
		shown    []string // before the question
		question string
		done     string // what it prints after a yes
		in       func(*pipeline.State) string
		want     string // number of the build in it, after a yes
	}{
		{"promote production 31", []string{"Promote at stage production of shop", "#31", "current at production", "#20", "11 commits", "data", "capacity/peak", "Stage production moves from build #20", "ann has promoted build", "To go back to #20"},
			"Promote it? [y/N]", "is promoted from #20 (", func(st *pipeline.State) string { return st.Promotions["production"].Build }, "31"},
		{"rollback production 5", []string{"Rollback at stage production of shop", "#5", "15 commits taken back", "goes back from build #20", "Data stays as it is.", "The last rollback of production, from #29 to #20"},
			"Roll back? [y/N]", "goes back from #20 (", func(st *pipeline.State) string { return st.Promotions["production"].Build }, "5"},
		{"override security-scan 14 --reason late", []string{"Override at stage security-scan of shop", "#14", "counts as passed at stage security-scan although", "can't be taken back"},
			"Override the gate? [y/N]", "#14 (", func(st *pipeline.State) string {
				return st.Overrides[pipeline.StageBuild("security-scan", pipeline.FindBuildID(st, "14"))].Build
			}, "14"},
	} {
		before, was := head(), tt.in(a.state())
		for typed, code := range map[string]pipeline.Code{"": pipeline.CodeInvalid, "n\n": pipeline.CodeCancelled, "\n": pipeline.CodeCancelled, "yesterday\n": pipeline.CodeCancelled} {
			out, talk, err := a.does(tt.line, typed)
			if pipeline.CodeOf(err) != code || out != "" || head() != before || tt.in(a.state()) != was {
				t.Errorf("%s, typed %q: printed %q, %v", tt.line, typed, out, err)
			}
			if asked := strings.Contains(talk, tt.question); asked != (typed != "") {
				t.Errorf("%s, typed %q: it says %q", tt.line, typed, talk)
			}
		}
		out, talk, err := a.does(tt.line, "Y\n")
		if err != nil || !strings.Contains(out, tt.done) || head() != before+1 {
			t.Errorf("%s: printed %q, said %q, %v", tt.line, out, talk, err)
		}
		evidence, _, _ := strings.Cut(talk, tt.question)
		for _, part := range tt.shown {
			if !strings.Contains(evidence, part) {
				t.Errorf("%s: before the question there is no %q:\n%s", tt.line, part, evidence)
			}
		}
		if st := a.state(); tt.in(st) != pipeline.FindBuildID(st, tt.want) {
			t.Errorf("%s: it is %s", tt.line, tt.in(st))
		}
	}
	out, talk, err := a.does("promote production #34 --yes", "")
	if st := a.state(); err != nil || !strings.Contains(out, "to #34 (") || strings.Contains(talk, "[y/N]") || st.Promotions["production"].Build != pipeline.FindBuildID(st, "34") {
		t.Errorf("with --yes: printed %q, said %q, %v", out, talk, err)
	}
	out, _, err = a.does("promote production --cancel", "")
	if st := a.state(); err != nil || !strings.Contains(out, "The promotion of #34 (") || st.Promotions["production"].Build != "" {
		t.Errorf("the cancel: printed %q, %v", out, err)
	}
	out, _, err = a.does("history shop --kind promotion,pause --limit 1", "")
	if err != nil || !strings.Contains(out, "#34") || !strings.Contains(out, "promotion cancelled") || !strings.Contains(out, "it was promoted by ann") {
		t.Errorf("the history of the cancel: %q, %v", out, err)
	}
	if _, _, err = a.does("resume capacity", ""); err != nil {
		t.Fatal(err)
	}
	out, _, err = a.does("history shop --kind pause --limit 1", "")
	if err != nil || !strings.Contains(out, "resumed") || !strings.Contains(out, "it was paused by olga since") || !strings.Contains(out, "the sale of the year") {
		t.Errorf("the history of the resume: %q, %v", out, err)
	}
}

// Commands take numbers of builds, with and without the sign, and say so of one that nobody
// has, or has any more.
func TestNumbersOfBuilds(t *testing.T) {
	a := openAsking(t)
	for _, line := range []string{"approve exploratory 4711", "promote production #4711 --yes", "runs --build 4711", "diff 4711", "override security-scan 4711 --reason x --yes", "env launch --build 4711", "evidence approve exploratory #4711"} {
		if _, _, err := a.does(line, ""); !pipeline.IsNotFound(err) || !strings.Contains(err.Error(), `has no build #4711`) {
			t.Errorf("%s: %v", line, err)
		}
	}
	collected := pipeline.FindBuildID(a.state(), "2")
	record, err := ledger.Open(t.Context(), filepath.Join(a.lab.Dir, "ledger.db"), ledger.Options{Now: a.lab.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer record.Close()
	_, err = record.Append(t.Context(), pipeline.Batch{Pipeline: lab.Shop, Events: []pipeline.Event{
		{Kind: pipeline.BuildCollected, Facts: pipeline.Facts{Gone: []pipeline.Key{{Kind: pipeline.RecordBuild, ID: collected}}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.does("diff 2", ""); !pipeline.IsNotFound(err) || !strings.Contains(err.Error(), "has no build #2") {
		t.Errorf("of a build that was collected: %v", err)
	}
	for _, given := range []string{"41", "#41"} {
		out, _, err := a.does("approve exploratory "+given+" --reason "+strings.Trim(given, "#"), "")
		if err != nil || !strings.HasPrefix(out, "#41 (b-") || !strings.Contains(out, "is approved at stage exploratory by ann") {
			t.Errorf("approve %s: %q, %v", given, out, err)
		}
	}
	for _, wrong := range []string{"approve exploratory #0", "approve exploratory -1", "approve exploratory #+3", "approve exploratory 99999999999999999999"} {
		if out, _, err := a.does(wrong, ""); err == nil {
			t.Errorf("%s: %q", wrong, out)
		}
	}
}
