// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const (
	// ballastSize is the room on the disk that is taken before a change, besides several times
	// that of the state, and given back when the disk gets full: Terraform needs it to write
	// down what it has made.
	ballastSize = 4 << 20

	// lowSpace is when a disk counts as full.
	lowSpace = 1 << 20
)

func (w *workdir) ballast() string { return w.path("ballast") }

// load takes the ballast on board.
func (w *workdir) load(state []byte) error {
	return writeFile(w.ballast(), make([]byte, ballastSize+4*len(state)))
}

// lighten gives the ballast back if the disk is full, and then returns the error that ends the
// change.
func (c *change) lighten() error {
	free, known := c.m.free(c.w.dir)
	if !known || free >= lowSpace {
		return nil
	}
	_ = removeFile(c.w.ballast())
	return pipeline.Errorf(pipeline.CodeFailed, c.op, "the disk of %s is full: it has %d KiB left", c.w.dir, free>>10).
		WithHint("Free space on the disk, and try again. Penstock has recorded what was made.")
}
