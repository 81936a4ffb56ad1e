// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import "time"

// Made says when a record was made, by whom, and on which host. It is zero for a record that
// no configuration made.
type Made struct {
	At   time.Time `json:"at"`
	By   string    `json:"by"`
	Host string    `json:"host"`
}

// Creation says that Terraform has created something, and that no state is known to have it
// yet. The record exists from the creation until a state is known to have it. Meanwhile, the
// next creation of that name continues what was begun. A thing without such a record belongs
// to the state that has it.
type Creation struct {
	Kind    RecordKind `json:"kind"` // pipeline, stage, image or environment
	Name    string     `json:"name"`
	ID      string     `json:"id"`      // of what was created
	Session string     `json:"session"` // key of the lease that its maker holds while it is alive
	Made    Made       `json:"made"`
}

// Key returns the key of the record.
func (c Creation) Key() Key { return CreationKey(c.Kind, c.Name) }

// CreationKey returns the key of the record of the creation of something.
func CreationKey(kind RecordKind, name string) Key {
	return Key{Kind: RecordCreation, ID: string(kind) + "/" + name}
}
