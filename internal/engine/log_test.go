// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// lateLogs show what was written to a log only once it is closed, as a bucket does.
type lateLogs struct{ pipeline.Logs }

type lateLog struct {
	bytes.Buffer
	to io.WriteCloser
}

func (l lateLogs) Create(ctx context.Context, name, run string) (io.WriteCloser, error) {
	to, err := l.Logs.Create(ctx, name, run)
	return &lateLog{to: to}, err
}

func (l *lateLog) Close() error {
	if _, err := l.WriteTo(l.to); err != nil {
		return err
	}
	return l.to.Close()
}

// endings looks at the log of each run when it is recorded as ended.
type endings struct {
	engine.Ledger
	logs  pipeline.Logs
	lines map[string]string // by stage, the last
}

func (e endings) Append(ctx context.Context, b pipeline.Batch) ([]pipeline.Event, error) {
	for _, event := range b.Events {
		if run := event.Facts.Run; run != nil && run.Status.Final() {
			log, err := e.logs.Open(ctx, b.Pipeline, run.ID)
			if err != nil {
				return nil, err
			}
			data, err := io.ReadAll(log)
			if err != nil {
				return nil, err
			}
			lines := strings.Split(strings.TrimSpace(string(data)), "\n")
			e.lines[run.Stage] = lines[len(lines)-1]
		}
	}
	return e.Ledger.Append(ctx, b)
}

// A follower of a run has its whole log when the run is recorded as ended.
func TestLogIsWholeAtTheEnd(t *testing.T) {
	d := open(t)
	config := d.config
	config.Logs = lateLogs{config.Logs}
	seen := endings{config.Ledger, config.Logs, map[string]string{}}
	config.Ledger = seen
	d.Engine = engine.New(config)
	stages := route("1")[:2]
	stages[1].Steps = []pipeline.Step{{Name: "breaks", Command: "fail"}}
	if err := d.apply(stages); err == nil {
		t.Fatal("a step that fails lets the stage pass")
	}
	for stage, want := range map[string]string{"commit": "passed", "acceptance": "failed: "} {
		if line := seen.lines[stage]; !strings.Contains(line, want) {
			t.Errorf("when the run of %s ends its log ends with %q, want %q", stage, line, want)
		}
	}
}
