// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"maps"
	"math"
	"math/bits"
	"slices"
	"time"
)

// histogram counts latencies by slots that are at most a 512th of their latency wide,
// from a nanosecond to hours. Two of them add up without loss, which an estimate of
// quantiles that adapts to its samples would not.
type histogram map[int]int64

// slotBits is the number of leading bits that distinguish latencies.
const slotBits = 10

func (s histogram) add(d time.Duration) {
	v := uint64(max(d, 0))
	shift := max(bits.Len64(v)-slotBits, 0)
	s[shift<<slotBits+int(v>>shift)]++
}

// middle returns the latency in the middle of a slot.
func middle(slot int) time.Duration {
	shift := slot >> slotBits
	low := int64(slot&(1<<slotBits-1)) << shift
	return time.Duration(low + (int64(1)<<shift)/2)
}

// quantile returns the latency that a share of q of all do not exceed, to a 1,024th.
func (s histogram) quantile(q float64) time.Duration {
	var all int64
	for _, n := range s {
		all += n
	}
	rank := int64(math.Ceil(q * float64(all)))
	for _, slot := range slices.Sorted(maps.Keys(s)) {
		if rank -= s[slot]; rank <= 0 {
			return middle(slot)
		}
	}
	return 0
}
