// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"context"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const (
	// pastPage is how many runs, or events, are read at a time.
	pastPage = 1000
	// pastBehind is how many events are followed at most. Where there are more, the runs are
	// read anew, which is quicker.
	pastBehind = 5000
	// pastPipelines is of how many pipelines the runs are kept.
	pastPipelines = 16
)

// past keeps the runs of pipelines, as metrics need them. To read tens of thousands takes
// seconds, and all but the newest are as they were. What is kept is the fold of the events up
// to a position, as the ledger's own list of runs is: it follows the events behind that, and is
// read anew where it can't.
type past struct {
	ledger ledger
	mu     sync.Mutex
	kept   map[string]*pastRuns // by pipeline
}

// pastRuns are the runs of a pipeline.
type pastRuns struct {
	mu    sync.Mutex
	used  time.Time // guarded by past
	head  int64     // the event up to which they are known; 0 for nothing read yet
	since time.Time // runs that began earlier are not kept
	runs  []pipeline.RunSummary
	at    map[string]int // in runs, by ID
}

func newPast(l ledger) *past { return &past{ledger: l, kept: map[string]*pastRuns{}} }

// with calls use with the runs of a pipeline that began since a time, in any order. They are
// use's only until it returns.
func (p *past) with(ctx context.Context, pipelineName string, since time.Time, use func([]pipeline.RunSummary)) error {
	kept := p.of(pipelineName)
	kept.mu.Lock()
	defer kept.mu.Unlock()
	head, err := p.ledger.Head(ctx, pipelineName)
	if err != nil {
		return err
	}
	followed := false
	if kept.head > 0 && head >= kept.head && head-kept.head <= pastBehind && !since.Before(kept.since) {
		if followed, err = p.follow(ctx, pipelineName, kept, head); err != nil {
			return err
		}
	}
	if !followed {
		if err := p.read(ctx, pipelineName, kept, head, since); err != nil {
			return err
		}
	}
	var runs []pipeline.RunSummary
	for _, r := range kept.runs {
		if !r.StartedAt.Before(since) {
			runs = append(runs, r)
		}
	}
	use(runs)
	return nil
}

// of returns what is kept of a pipeline, and forgets the one that was used least recently
// where there are too many.
func (p *past) of(pipelineName string) *pastRuns {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := p.kept[pipelineName]
	if kept == nil {
		kept = &pastRuns{}
		p.kept[pipelineName] = kept
	}
	kept.used = time.Now()
	if len(p.kept) > pastPipelines {
		oldest := pipelineName
		for name, other := range p.kept {
			if other.used.Before(p.kept[oldest].used) {
				oldest = name
			}
		}
		delete(p.kept, oldest)
	}
	return kept
}

// read reads the runs. Those that are newer than the head are among them: the events behind it
// say the same again.
func (p *past) read(ctx context.Context, pipelineName string, kept *pastRuns, head int64, since time.Time) error {
	kept.head, kept.since, kept.runs, kept.at = 0, since, nil, map[string]int{}
	for query := (pipeline.RunQuery{Limit: pastPage}); ; {
		page, err := p.ledger.Runs(ctx, pipelineName, query)
		if err != nil {
			return err
		}
		for _, r := range page.Runs {
			if r.StartedAt.Before(since) {
				kept.head = head
				return nil
			}
			kept.put(r)
		}
		if page.Next == "" {
			kept.head = head
			return nil
		}
		query.After = page.Next
	}
}

// follow takes in the events up to the head. It reports false where some are not there.
func (p *past) follow(ctx context.Context, pipelineName string, kept *pastRuns, head int64) (bool, error) {
	for kept.head < head {
		events, err := p.ledger.Events(ctx, pipelineName, kept.head, pastPage)
		if err != nil {
			return false, err
		}
		if len(events) == 0 {
			return false, nil
		}
		for _, e := range events {
			if e.Seq != kept.head+1 {
				return false, nil
			}
			if r := e.Facts.Run; r != nil {
				kept.put(r.Summary())
			}
			for _, key := range e.Facts.Gone {
				if key.Kind == pipeline.RecordRun {
					kept.remove(key.ID)
				}
			}
			kept.head = e.Seq
		}
	}
	return true, nil
}

// put keeps what metrics need of a run.
func (k *pastRuns) put(r pipeline.RunSummary) {
	r = pipeline.RunSummary{
		ID: r.ID, Stage: r.Stage, Build: r.Build, Status: r.Status, Committed: r.Committed, Order: r.Order,
		Ready: r.Ready, StartedAt: r.StartedAt, EndedAt: r.EndedAt,
	}
	if i, ok := k.at[r.ID]; ok {
		k.runs[i] = r
		return
	}
	k.at[r.ID] = len(k.runs)
	k.runs = append(k.runs, r)
}

// remove forgets a run. The last one takes its place.
func (k *pastRuns) remove(id string) {
	i, ok := k.at[id]
	if !ok {
		return
	}
	last := len(k.runs) - 1
	k.runs[i] = k.runs[last]
	k.at[k.runs[i].ID] = i
	k.runs = k.runs[:last]
	delete(k.at, id)
}
