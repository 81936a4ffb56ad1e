// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"strings"
	"time"
)

// LeaseKind names what a lease is for.
type LeaseKind string

// The kinds of lease. Each is named after the thing that it is for.
const (
	LeaseStage       LeaseKind = "stage"
	LeaseImage       LeaseKind = "image"       // of a definition
	LeaseEnvironment LeaseKind = "environment" // for self-service
	LeaseOwner       LeaseKind = "owner"       // of environments for self-service: how many a person has
	LeasePipeline    LeaseKind = "pipeline"    // as a whole; has no name
	LeaseCreation    LeaseKind = "creation"    // of parts of the pipeline, by one apply; the name is random
	LeaseWatch       LeaseKind = "watch"       // by one watcher; has no name
	LeaseNotify      LeaseKind = "notify"      // a target, by its key
	LeaseDrift       LeaseKind = "drift"       // a check of a stage, which changes nothing of it
)

// LeaseKey names one thing of a pipeline that one process at a time may change. Ledgers and
// platforms know keys as text.
type LeaseKey struct {
	Pipeline string
	Kind     LeaseKind
	Name     string // may be empty, and may have slashes
}

// String returns the key as text: "shop/stage/acceptance", "shop/watch".
func (k LeaseKey) String() string {
	text := k.Pipeline + "/" + string(k.Kind)
	if k.Name != "" {
		text += "/" + k.Name
	}
	return text
}

// ParseLeaseKey reads what String returns. Of another text it returns an unknown kind.
func ParseLeaseKey(text string) LeaseKey {
	name, rest, _ := strings.Cut(text, "/")
	kind, of, _ := strings.Cut(rest, "/")
	return LeaseKey{name, LeaseKind(kind), of}
}

// Compare puts keys into one order. Whoever takes several takes them in that order.
func (k LeaseKey) Compare(o LeaseKey) int { return strings.Compare(k.String(), o.String()) }

// Applies reports whether the lease's holder changes what an apply may change, too.
func (k LeaseKey) Applies() bool {
	return k.Kind == LeaseStage || k.Kind == LeaseImage || k.Kind == LeasePipeline
}

// Activity is what the holder of a lease does at the moment, for others to see. It ends with
// the lease. The zero value is no activity.
type Activity struct {
	Text  string    `json:"text"` // behind "it": "applies, as …"
	Since time.Time `json:"since"`
}
