// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// follow shows the pipelines until it is interrupted: in place on a terminal, as lines
// of what changes in a pipe, as JSON objects with --json. A check that fails is reported, and
// the next one goes on, unless there was none before or what is looked at is gone.
func (o *statusOptions) follow(ctx context.Context, look func(context.Context) ([]statusPipeline, error)) error {
	tightenMemory()
	stop := o.viewing()
	tick := time.NewTicker(o.interval)
	defer tick.Stop()
	on := screenOf(o.Out)
	show := o.changes()
	var turned chan struct{} // somebody wants to see the next page
	turn := func() {}
	reported := "" // the last error
	complain := func(_ []statusPipeline, trouble error) (err error) {
		if trouble.Error() != reported {
			reported = trouble.Error()
			_, err = fmt.Fprintf(o.Err, "%s %s\n", pipeline.Clock(o.now()), present.Line(reported))
		}
		return err
	}
	switch {
	case o.json:
		show = o.objects()
	case on.terminal:
		fmt.Fprint(o.Out, enterScreen)
		defer fmt.Fprint(o.Out, leaveScreen)
		turned = make(chan struct{})
		ctx, end := context.WithCancel(ctx)
		defer end()
		at := pages{on: on, turns: o.typed(ctx, func(string) {
			select {
			case turned <- struct{}{}:
			case <-ctx.Done():
			}
		})}
		show = func(all []statusPipeline) error { return o.redraw(&at, all, nil) }
		complain = func(last []statusPipeline, trouble error) error { return o.redraw(&at, last, trouble) }
		turn = func() { at.page++ }
	}
	var last []statusPipeline
	for {
		all, err := look(ctx)
		switch {
		case err == nil:
			reported, last, err = "", all, show(all)
		case last != nil && !pipeline.IsNotFound(err) && ctx.Err() == nil:
			err = complain(last, err)
		}
		if err != nil {
			return err
		}
		select {
		case <-stop:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-turned:
			turn()
		case <-tick.C:
		}
	}
}

// Control sequences of the terminal: the other screen without a cursor, and back.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	topLeft     = "\x1b[H"
	restOfLine  = "\x1b[K"
	restBelow   = "\x1b[J"
)

// pages are what a screen shows of a board that it has no room for.
type pages struct {
	on    screen
	turns bool // somebody can turn them
	page  int  // from 0; it begins again behind the last
}

// redraw writes the board over what is there, in one piece; with what went wrong where it is
// that of before. Where it does not fit, what needs a person comes first, and the last line
// names what is below.
func (o *statusOptions) redraw(at *pages, all []statusPipeline, trouble error) error {
	width, height := at.on.size()
	head := []string{at.on.paint(pipeline.Clock(o.now())+"   interrupt to leave", faint), ""}
	if trouble != nil {
		head = append(head, at.on.paint(present.Fit(present.Line(trouble.Error()), max(width, 1)), red), "")
	}
	if len(all) == 0 {
		head = append(head, "There are no pipelines yet.")
	}
	body := o.rows(at.on, all)
	if height > 0 && len(head)+len(body) > height {
		body = at.cut(o.rows(at.on, urgentFirst(all)), max(height-len(head), 2), max(width, 1))
		head = head[:min(len(head), max(height-len(body), 0))]
	}
	_, err := io.WriteString(o.Out, topLeft+strings.Join(append(head, body...), restOfLine+"\r\n")+restOfLine+restBelow)
	return err
}

// rows returns the lines of the board.
func (o *statusOptions) rows(on screen, all []statusPipeline) []string {
	text := strings.TrimRight(o.board(on, all), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// cut returns one page of lines, of a height and width, and what is to be known of the others.
func (p *pages) cut(lines []string, height, width int) []string {
	room := max(height-1, 1)
	last := (len(lines) - 1) / room
	p.page %= last + 1
	page, below := lines[p.page*room:min((p.page+1)*room, len(lines))], []string(nil)
	if p.page < last {
		below = lines[(p.page+1)*room:]
	}
	var says []string
	if len(below) > 0 {
		says = append(says, pipeline.Count(len(below), "more line"))
	}
	if p.turns {
		next := "next"
		if p.page == last {
			next = "first"
		}
		says = append(says, fmt.Sprintf("page %d of %d, Enter shows the %s", p.page+1, last+1, next))
	}
	more := "… " + strings.Join(says, ", ")
	if names := rowNames(below); names != "" {
		more += ": " + names
	}
	return append(slices.Clone(page), present.Fit(more, width))
}

// urgency is the order of signals where there is no room for all.
var urgency = []gate.Signal{gate.SignalPerson, gate.SignalFailed, gate.SignalRunning, gate.SignalServing, gate.SignalUpstream, gate.SignalNothing}

// urgentFirst returns the pipelines and their stages in the order of urgency.
func urgentFirst(all []statusPipeline) []statusPipeline {
	first := func(p statusPipeline) int { // that of its most urgent stage
		return slices.Index(urgency, p.Stages[0].Signal)
	}
	all = slices.Clone(all)
	for i, p := range all {
		all[i].Stages = slices.Clone(p.Stages)
		slices.SortStableFunc(all[i].Stages, func(a, b statusStage) int {
			return cmp.Compare(slices.Index(urgency, a.Signal), slices.Index(urgency, b.Signal))
		})
	}
	slices.SortStableFunc(all, func(a, b statusPipeline) int {
		if len(a.Stages) == 0 || len(b.Stages) == 0 {
			return cmp.Compare(len(b.Stages), len(a.Stages))
		}
		return cmp.Compare(first(a), first(b))
	})
	return all
}

// rowNames returns the names with which rows of a table begin.
func rowNames(lines []string) string {
	var names []string
	for _, line := range lines {
		name, _, row := strings.Cut(line, "  ")
		if row && name != "" && !strings.HasPrefix(name, "\x1b") && name != strings.ToUpper(name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// changes returns a function that prints a line for each stage and environment that is
// not as it was printed last.
func (o *statusOptions) changes() func([]statusPipeline) error {
	last := map[string]string{}
	at := func(t time.Time) string { return "at " + pipeline.Moment(t.UTC()) } // how long ago it was is no change
	return func(all []statusPipeline) error {
		now, order := map[string]string{}, []string{}
		put := func(key, line string) { now[key], order = line, append(order, key) }
		for _, p := range all {
			for _, s := range p.Stages {
				v := s.view
				if v.Progress != nil { // its last line is no change
					quiet := *v.Progress
					quiet.Line, v.Progress = "", &quiet
				}
				put(p.Pipeline+"/"+s.Stage, strings.TrimSpace(fmt.Sprintf("%s %s %s", word(v), present.Build(s.Current.Number, s.Current.Build), comes(v, at))))
			}
			for _, e := range p.Environments {
				put(p.Pipeline+"/environment "+e.Name, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Status, present.Build(e.Number, e.Build), e.Endpoint)))
			}
		}
		for key := range last {
			if _, there := now[key]; !there {
				put(key, "is gone")
			}
		}
		for _, key := range order {
			if now[key] == last[key] {
				continue
			}
			if _, err := fmt.Fprintf(o.Out, "%s %s: %s\n", pipeline.Clock(o.now()), present.Line(key), present.Line(now[key])); err != nil {
				return err
			}
		}
		for key, line := range now {
			if line == "is gone" {
				delete(now, key)
			}
		}
		last = now
		return nil
	}
}

// objects returns a function that prints the whole as one line whenever it has changed.
func (o *statusOptions) objects() func([]statusPipeline) error {
	var last []byte
	return func(all []statusPipeline) error {
		data, err := json.Marshal(all)
		if err != nil || bytes.Equal(data, last) {
			return err
		}
		last = data
		return o.printJSONLine(json.RawMessage(data))
	}
}
