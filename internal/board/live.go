// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// kind is one of the pages that change by themselves.
type kind int

const (
	kindHome kind = iota
	kindBoard
	kindBuild
	kindRuns
	kindRun
	kindEnvironments
	kindImages
	kindHistory
)

// subject is what a page is about: a pipeline, or a build or a run of it.
type subject struct {
	kind         kind
	pipeline, id string
}

func subjectOf(k kind, r *http.Request) subject {
	return subject{k, r.PathValue("pipeline"), cmp.Or(r.PathValue("build"), r.PathValue("run"))}
}

// fingerprint is another one when what a page shows has changed. The last line of
// a log is apart, as it does so all the time.
type fingerprint struct{ facts, line string }

// String returns the two as addresses have them.
func (p fingerprint) String() string { return p.facts + "." + p.line }

// fingerprintOf returns what String was of; for any other text a fingerprint that nothing has.
func fingerprintOf(text string) fingerprint {
	facts, line, _ := strings.Cut(text, ".")
	return fingerprint{facts, line}
}

// live is what a page that changes by itself carries.
type live struct {
	Stream string      // the address of what says when the page is to be asked for again
	Seen   fingerprint // what it shows, for that
}

// fingerprints show whether the contents of pages have changed.
type fingerprints struct{ *core }

// live returns what a page carries. Call it before the page reads what it shows, so that
// the page is notified of a change between the two.
func (b *fingerprints) live(k kind, r *http.Request) (*live, error) {
	if _, err := b.existing(r); err != nil {
		return nil, err
	}
	seen, err := b.fingerprint(r.Context(), subjectOf(k, r))
	return &live{strings.TrimSuffix(r.URL.EscapedPath(), "/") + "/events", seen}, err
}

// fingerprint returns the fingerprint of what pages about a subject show, and of nothing else.
func (b *fingerprints) fingerprint(ctx context.Context, about subject) (fingerprint, error) {
	facts, line := sha256.New(), sha256.New()
	note := func(what ...any) { fmt.Fprintln(facts, what...) }
	var err error
	switch about.kind {
	case kindHome:
		err = b.noteHeads(ctx, note)
	case kindHistory:
		err = b.noteHead(ctx, about.pipeline, note)
	case kindBuild: // nearly every event may change its status
		err = b.noteHead(ctx, about.pipeline, note)
	case kindImages: // as what needs one
		err = b.noteImages(ctx, about.pipeline, note)
	case kindRun:
		err = b.noteRun(ctx, about, note)
	case kindRuns, kindEnvironments:
		var st *pipeline.State
		if st, err = b.Engine.State(ctx, about.pipeline); err != nil {
			break
		}
		if about.kind == kindRuns {
			noteRuns(st, note)
		} else {
			b.noteEnvironments(st, note)
		}
	case kindBoard:
		err = b.noteBoard(ctx, about.pipeline, note, func(what ...any) { fmt.Fprintln(line, what...) })
	}
	sum := func(data []byte) string { return hex.EncodeToString(data[:8]) }
	return fingerprint{sum(facts.Sum(nil)), sum(line.Sum(nil))}, err
}

// noteHeads notes the newest event of each pipeline.
func (b *fingerprints) noteHeads(ctx context.Context, note func(...any)) error {
	names, err := b.Engine.Reports.Names(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := b.noteHead(ctx, name, note); err != nil {
			return err
		}
	}
	return nil
}

func (b *fingerprints) noteHead(ctx context.Context, name string, note func(...any)) error {
	head, err := b.Engine.Reports.Head(ctx, name)
	note(name, head)
	return err
}

// noteBoard notes what the first page of a pipeline shows; apart the last lines of what is
// under way.
func (b *fingerprints) noteBoard(ctx context.Context, name string, note, noteLine func(...any)) error {
	if err := b.noteHead(ctx, name, note); err != nil {
		return err
	}
	st, err := b.Engine.State(ctx, name)
	if err != nil {
		return err
	}
	b.noteEnvironments(st, note)
	for _, stage := range slices.Sorted(maps.Keys(st.Latest)) { // or baked image
		at, err := b.Engine.Reports.Progress(ctx, st, stage)
		if err != nil {
			return err
		}
		if at != nil {
			note(at.Run.ID, at.Run.Phase, at.Number, at.Dead)
			noteLine(at.Run.ID, at.Line)
		}
	}
	at, err := b.Engine.Reports.Applies(ctx, name)
	if err != nil {
		return err
	}
	note(at.Watched, at.Watcher.Activity, len(at.UnderWay))
	return nil
}

// noteEnvironments notes the environments, which a platform ends by itself, and the
// launches that failed.
func (b *fingerprints) noteEnvironments(st *pipeline.State, note func(...any)) {
	note(st.Version(pipeline.RecordPipeline, st.Pipeline.Name))
	for _, id := range slices.Sorted(maps.Keys(st.Environments)) {
		note(id, st.Version(pipeline.RecordEnvironment, id), st.Environments[id].Status)
	}
	failures := b.failures()
	for _, key := range slices.Sorted(maps.Keys(failures)) {
		if strings.HasPrefix(key, workKey(st.Pipeline.Name, "")) {
			note(key, failures[key].At)
		}
	}
}

// noteImages notes the newest event, and which bakes are under way: the process of one may
// be gone.
func (b *fingerprints) noteImages(ctx context.Context, name string, note func(...any)) error {
	if err := b.noteHead(ctx, name, note); err != nil {
		return err
	}
	bakes, err := b.bakes(ctx, name)
	for _, p := range bakes {
		note(p.Run.ID)
	}
	return err
}

// noteRuns notes the latest run of each stage and each image.
func noteRuns(st *pipeline.State, note func(...any)) {
	for _, stage := range st.StagesInOrder() {
		note(stage.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(st.Latest)) {
		note(name, st.Latest[name].ID, st.Latest[name].Status)
	}
}

// noteRun notes where a run is. Its log comes in a stream of its own.
func (b *fingerprints) noteRun(ctx context.Context, about subject, note func(...any)) error {
	run, err := b.Engine.Reports.Run(ctx, about.pipeline, about.id)
	note(run.Status, run.Phase, len(run.Steps))
	return err
}
