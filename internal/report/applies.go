// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Applies says who applies a pipeline's configuration.
type Applies struct {
	Watched  bool              `json:"watched"`          // a watcher applies what can move
	Watcher  pipeline.Holder   `json:"watcher,omitzero"` // without an activity it waits for what can move
	UnderWay []pipeline.Holder `json:"under_way"`        // what is being done
	// Directory is the one of the configuration, on the machine Host, where `terraform apply`
	// is run if nobody watches. It may name a workspace, too.
	Directory string `json:"directory,omitempty"`
	Host      string `json:"host,omitempty"`
}

// Applies returns who applies a pipeline's configuration.
func (r *Reports) Applies(ctx context.Context, p pipeline.Pipeline) (Applies, error) {
	a := Applies{UnderWay: []pipeline.Holder{}, Directory: p.Owner, Host: p.Made.Host}
	leases, err := r.ledger.Leases(ctx)
	if err != nil {
		return a, err
	}
	for _, l := range leases {
		switch key := pipeline.ParseLeaseKey(l.Key); {
		case key.Pipeline != p.Name || r.now().After(l.Expires):
		case key.Kind == pipeline.LeaseWatch:
			a.Watched, a.Watcher = true, l.Holder
		case key.Kind == pipeline.LeaseNotify:
		default:
			a.UnderWay = append(a.UnderWay, l.Holder)
		}
	}
	slices.SortFunc(a.UnderWay, func(x, y pipeline.Holder) int {
		return cmp.Or(x.Since.Compare(y.Since), strings.Compare(x.Purpose, y.Purpose))
	})
	return a, nil
}
