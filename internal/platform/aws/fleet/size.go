// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"fmt"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// sizes are the numbers of instances of an Auto Scaling group.
type sizes struct{ least, desired, most int }

// bounds are the numbers of instances that a definition sets.
type bounds struct{ least, most int }

func boundsOf(to pipeline.Size) bounds {
	b := bounds{to.Scaling.Least(to.Instances), to.Instances}
	if to.Scaling != nil {
		b.most = to.Scaling.Max
	}
	return b
}

// A group's tag says what bounds it was made with, so that others, which people or scheduled
// actions have set since, are known from them.
func (b bounds) String() string { return fmt.Sprintf("%d-%d", b.least, b.most) }

func parseBounds(text string) (b bounds) {
	if _, err := fmt.Sscanf(text, "%d-%d", &b.least, &b.most); err != nil {
		return bounds{} // of a group that says nothing
	}
	return b
}

// first returns the sizes of a group that nothing serves before.
func first(to pipeline.Size) sizes {
	b := boundsOf(to)
	return sizes{b.least, min(max(to.Instances, b.least), b.most), b.most}
}

// next returns the sizes of a group that takes the place of one that serves, or of that one
// under another definition. What scaling policies have added stays. Bounds that are declared
// win, unless the group has scheduled actions, which change them. Where none are, those that
// people have set since the group was made stay.
func (g scalingGroup) next(to pipeline.Size, scheduled bool) sizes {
	b := boundsOf(to)
	n := sizes{b.least, g.desired, b.most}
	switch {
	case to.Scaling != nil && scheduled && g.bounds == b:
		n.least, n.most = g.least, g.most
	case to.Scaling == nil:
		byHand, declared := g.most != g.bounds.most, g.bounds.least != g.bounds.most
		if g.bounds.least == b.least {
			n.least = g.least
		}
		if byHand {
			n.most = max(g.most, n.least)
		}
		if g.desired <= g.least || declared && !byHand { // where nothing is declared any more, neither is what it has added
			n.desired = n.least
		}
		n.most = max(n.most, n.desired)
	}
	n.desired = min(max(n.desired, n.least), n.most)
	return n
}
