// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// exportFormat is the number of the format that Export writes: for each pipeline a header,
// and then its events, each in a line of JSON with its hash, byte for byte as it was sealed.
const exportFormat = 2

type exportHeader struct {
	Format   int    `json:"penstock_ledger"`
	Pipeline string `json:"pipeline"`
	Events   int64  `json:"events"`
	Hash     string `json:"hash"` // of the last event
}

// exportedEvent is how an event is read. Events are not written through it, as an encoder may
// change the form of its input.
type exportedEvent struct {
	Hash  string          `json:"hash"`
	Event json.RawMessage `json:"event"`
}

const (
	// exportPage is how many events are read at a time.
	exportPage = 500
	// importBatch is how many are appended at a time: DynamoDB takes a hundred items in
	// one transaction, and an event changes a few.
	importBatch = 15
)

// verified is a ledger that can be read, and checked before.
type verified interface {
	pipeline.Reader
	Verify(ctx context.Context, pipeline string) (int64, error)
}

// written is a ledger that can be written to, and read, to continue an import.
type written interface {
	pipeline.Reader
	pipeline.Appender
}

// Export writes the whole history of pipelines unchanged, for Import to read. It writes what
// exists when it begins.
func Export(ctx context.Context, l verified, w io.Writer, names ...string) error {
	for _, name := range names {
		if _, err := l.Verify(ctx, name); err != nil {
			return err
		}
	}
	return Dump(ctx, l, w, names...)
}

// Dump is Export for histories that may be damaged: it writes them unchanged, and readers
// find the damage.
func Dump(ctx context.Context, l pipeline.Reader, w io.Writer, names ...string) error {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for _, name := range names {
		head, err := l.Head(ctx, name)
		if err != nil {
			return err
		}
		last, err := l.Events(ctx, name, head-1, 1)
		if err != nil {
			return err
		}
		if len(last) == 0 {
			return pipeline.Errorf(pipeline.CodeNotFound, "export ledger", "pipeline %q has no history", name)
		}
		if err := enc.Encode(exportHeader{exportFormat, name, last[0].Seq, last[0].Hash}); err != nil {
			return err
		}
		for after := int64(0); after < last[0].Seq; {
			events, err := l.Events(ctx, name, after, int(min(exportPage, last[0].Seq-after)))
			if err != nil {
				return err
			}
			for _, e := range events {
				if _, err := fmt.Fprintf(out, "{\"hash\":%q,\"event\":%s}\n", e.Hash, e.Body); err != nil {
					return err
				}
				after = e.Seq
			}
		}
	}
	return out.Flush()
}

// VerifyExport checks the hash chains of what Export wrote, and returns the number of its
// events. CodeCorrupt names the first that is wrong, and CodeInvalid means that it is no
// export.
func VerifyExport(r io.Reader) (events int64, err error) {
	const op = "verify export"
	in := json.NewDecoder(bufio.NewReader(r))
	for {
		var h exportHeader
		switch err := in.Decode(&h); {
		case errors.Is(err, io.EOF):
			return events, nil
		case err != nil || h.Format != exportFormat || h.Pipeline == "":
			return events, pipeline.Errorf(pipeline.CodeInvalid, op, "it is not an export of a ledger, or is cut off").WithAdvice(pipeline.Advice{Verb: pipeline.VerbExport})
		}
		var last pipeline.Event
		for seq := int64(1); seq <= h.Events; seq++ {
			e, err := readEvent(in, op, h.Pipeline, seq, last.Hash)
			if err != nil {
				return events, err
			}
			last = e
			events++
		}
		if last.Hash != h.Hash {
			return events, pipeline.Errorf(pipeline.CodeCorrupt, op, "the last event of pipeline %q is not the one in the header", h.Pipeline)
		}
	}
}

// readEvent reads the event of a number, and checks that it is the one that was sealed after
// prev.
func readEvent(in *json.Decoder, op, name string, seq int64, prev string) (e pipeline.Event, err error) {
	var line exportedEvent
	if err = in.Decode(&line); err == nil {
		e, err = pipeline.DecodeEvent(line.Event, line.Hash)
	}
	switch {
	case err != nil:
		return e, pipeline.Errorf(pipeline.CodeCorrupt, op, "event %d of pipeline %q: %w", seq, name, err)
	case e.Pipeline != name:
		return e, pipeline.Errorf(pipeline.CodeCorrupt, op, "event %d is of pipeline %q, not %q", e.Seq, e.Pipeline, name)
	}
	return e, e.Check(seq, prev)
}

// Imported says what an import added.
type Imported struct {
	Pipeline string `json:"pipeline"`
	Events   int64  `json:"events"`
	Had      int64  `json:"had"` // of them, before: an import that was interrupted goes on
}

// Import reads what Export wrote into a ledger. It returns CodeConflict if the ledger has
// another history of those pipelines. Each event is checked before it is written; CodeCorrupt
// names the first that is wrong. An interrupted import is repeated and continues where it
// was.
func Import(ctx context.Context, l written, r io.Reader) ([]Imported, error) {
	const op = "import ledger"
	in := json.NewDecoder(bufio.NewReader(r))
	var all []Imported
	for {
		var h exportHeader
		err := in.Decode(&h)
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return all, pipeline.Errorf(pipeline.CodeInvalid, op, "%w", err).WithAdvice(pipeline.Advice{Verb: pipeline.VerbExport})
		case h.Format != exportFormat || h.Pipeline == "":
			return all, pipeline.Errorf(pipeline.CodeInvalid, op, "it is not an export of a ledger, or is one of another version (%d)", h.Format).
				WithAdvice(pipeline.Advice{Verb: pipeline.VerbExport})
		}
		done, err := importOne(ctx, l, in, h)
		if err != nil {
			return all, err
		}
		all = append(all, done)
	}
}

func importOne(ctx context.Context, l written, in *json.Decoder, h exportHeader) (Imported, error) {
	const op = "import ledger"
	done := Imported{Pipeline: h.Pipeline, Events: h.Events}
	had, err := l.Head(ctx, h.Pipeline)
	if err != nil {
		return done, err
	}
	done.Had = had
	batch := pipeline.Batch{Pipeline: h.Pipeline, Sealed: true}
	var last pipeline.Event
	for seq := int64(1); seq <= h.Events; seq++ {
		e, err := readEvent(in, op, h.Pipeline, seq, last.Hash)
		if err != nil {
			return done, err
		}
		if seq <= had {
			if err := sameEvent(ctx, l, e); err != nil {
				return done, err
			}
		} else {
			batch.Events = append(batch.Events, e)
		}
		last = e
		if len(batch.Events) == importBatch || seq == h.Events && len(batch.Events) > 0 {
			if _, err := l.Append(ctx, batch); err != nil {
				return done, err
			}
			batch.Events = nil
		}
	}
	if last.Hash != h.Hash || had > h.Events {
		return done, foreign(h.Pipeline)
	}
	return done, nil
}

// sameEvent refuses an event if the ledger has another event of its number.
func sameEvent(ctx context.Context, l pipeline.Reader, e pipeline.Event) error {
	there, err := l.Events(ctx, e.Pipeline, e.Seq-1, 1)
	if err == nil && (len(there) == 0 || there[0].Hash != e.Hash) {
		return foreign(e.Pipeline)
	}
	return err
}

func foreign(name string) error {
	return pipeline.Errorf(pipeline.CodeConflict, "import ledger", "there is another history of pipeline %q", name).
		WithHint("Import into a ledger that has no pipeline %q, or destroy that pipeline first.", name)
}
