// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"sync"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// stateDecoder makes a state of records that are still being read: it decodes results,
// which nearly all records of a large pipeline are, while its caller reads on. The zero
// value has no records yet.
type stateDecoder struct {
	parts   []*statePart // the last one is still filled
	decoded sync.WaitGroup
}

// statePart is so many records that decoding them is worth a goroutine.
type statePart struct {
	records []pipeline.Record
	decoded []pipeline.DecodedRecord
	err     error
}

const statePartSize = 256

// add takes a record, in any order.
func (d *stateDecoder) add(r pipeline.Record) {
	n := len(d.parts)
	if n == 0 || len(d.parts[n-1].records) == statePartSize {
		d.parts = append(d.parts, &statePart{records: make([]pipeline.Record, 0, statePartSize)})
		n++
	}
	part := d.parts[n-1]
	if part.records = append(part.records, r); len(part.records) == statePartSize {
		d.decoded.Go(part.decode)
	}
}

func (p *statePart) decode() {
	p.decoded = make([]pipeline.DecodedRecord, 0, len(p.records))
	for _, r := range p.records {
		decoded, err := r.Decode()
		if err != nil {
			p.err = err
			return
		}
		p.decoded = append(p.decoded, decoded)
	}
}

// state returns the state of the records that were added, as pipeline.NewState does.
func (d *stateDecoder) state() (*pipeline.State, error) {
	if n := len(d.parts); n > 0 && len(d.parts[n-1].records) < statePartSize {
		d.parts[n-1].decode()
	}
	d.decoded.Wait()
	decoded := make([]pipeline.DecodedRecord, 0, len(d.parts)*statePartSize)
	for _, p := range d.parts {
		if p.err != nil {
			return nil, p.err
		}
		decoded = append(decoded, p.decoded...)
	}
	return pipeline.StateOf(decoded), nil
}

// stateOf returns the state of records that have been read, as pipeline.NewState does.
func stateOf(records []pipeline.Record) (*pipeline.State, error) {
	var d stateDecoder
	for _, r := range records {
		d.add(r)
	}
	return d.state()
}
