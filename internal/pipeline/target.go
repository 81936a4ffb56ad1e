// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"cmp"
	"context"
	"strings"
)

// Target is where environments of a stage are, if not where the ledger is: an account and a
// region of AWS, or a directory of its own on the local platform. The zero Target is where the
// ledger is.
type Target struct {
	Name       string `json:"name,omitempty"`        // unique in the stage; empty for the only one
	RoleARN    string `json:"role_arn,omitempty"`    // to be assumed there; empty: the caller's own
	ExternalID string `json:"external_id,omitempty"` // that the role asks for
	Region     string `json:"region,omitempty"`      // empty: that of the ledger
	Stack      string `json:"stack,omitempty"`       // that made the network and the roles there; empty: of the name of the ledger's
	KMSKey     string `json:"kms_key,omitempty"`     // of the ledger's account in that region, that encrypts the copies of images; empty: the account's own
}

// Home reports whether the target is where the ledger is.
func (t Target) Home() bool { return t.Place() == Target{} }

// Place returns the target without its name and without what concerns images: two targets of
// one place are in the same account and region.
func (t Target) Place() Target {
	p := Target{RoleARN: t.RoleARN, ExternalID: t.ExternalID, Region: t.Region, Stack: t.Stack}
	if p == (Target{}) { // the local platform keeps targets apart by their names
		p.Name = t.Name
	}
	return p
}

// Account returns the ID of the account of the target's role; empty without one.
func (t Target) Account() string {
	if parts := strings.Split(t.RoleARN, ":"); len(parts) > 4 {
		return parts[4]
	}
	return ""
}

// Describe says in words where the target is.
func (t Target) Describe() string {
	where := cmp.Or(t.Region, "the ledger's region")
	if a := t.Account(); a != "" {
		where = "account " + a + ", " + where
	}
	switch {
	case t.Name == "":
		return where
	case t.RoleARN == "" && t.Region == "":
		return "target " + t.Name
	default:
		return "target " + t.Name + " (" + where + ")"
	}
}

// Targets opens the platforms of targets.
type Targets interface {
	// Open returns the platform of a target. It asks for nothing that it knows already; errors
	// name the target: CodeInvalid where a target of that kind can't be here, CodeFailed where
	// its role can't be assumed or its stack is not there.
	Open(ctx context.Context, t Target) (Platform, error)
}
