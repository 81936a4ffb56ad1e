// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// A number of instances is what is declared, or what people, policies and schedules have made
// of it.
func TestSizes(t *testing.T) {
	t.Parallel()
	plain := func(n int) pipeline.Size { return pipeline.Size{Instances: n} }
	declared := func(n, least, most int) pipeline.Size {
		return pipeline.Size{Instances: n, Scaling: &pipeline.Scaling{Min: least, Max: most}}
	}
	for name, c := range map[string]struct {
		to   pipeline.Size
		want sizes
	}{
		"plain":                       {plain(4), sizes{4, 4, 4}},
		"declared":                    {declared(4, 2, 10), sizes{2, 4, 10}},
		"a minimum above instances":   {declared(4, 6, 10), sizes{6, 6, 10}},
		"a maximum below instances":   {declared(4, 0, 3), sizes{3, 3, 3}},
		"no minimum is the instances": {declared(4, 0, 10), sizes{4, 4, 10}},
	} {
		if got := first(c.to); got != c.want {
			t.Errorf("%s: a first group has %v, want %v", name, got, c.want)
		}
	}
	group := func(made bounds, least, desired, most int) scalingGroup {
		return scalingGroup{bounds: made, least: least, desired: desired, most: most}
	}
	for name, c := range map[string]struct {
		group     scalingGroup
		to        pipeline.Size
		scheduled bool
		want      sizes
	}{
		"nothing changes":                         {group(bounds{4, 4}, 4, 4, 4), plain(4), false, sizes{4, 4, 4}},
		"fewer instances":                         {group(bounds{4, 4}, 4, 4, 4), plain(2), false, sizes{2, 2, 2}},
		"more instances":                          {group(bounds{2, 2}, 2, 2, 2), plain(4), false, sizes{4, 4, 4}},
		"a maximum by hand":                       {group(bounds{2, 2}, 2, 2, 8), plain(2), false, sizes{2, 2, 8}},
		"and what a policy has added":             {group(bounds{2, 2}, 2, 5, 8), plain(2), false, sizes{2, 5, 8}},
		"with other instances":                    {group(bounds{2, 2}, 2, 5, 8), plain(3), false, sizes{3, 5, 8}},
		"with more than that":                     {group(bounds{2, 2}, 2, 5, 8), plain(9), false, sizes{9, 9, 9}},
		"a minimum by hand":                       {group(bounds{4, 4}, 1, 2, 4), plain(4), false, sizes{1, 2, 4}},
		"a minimum by hand, other instances":      {group(bounds{4, 4}, 1, 2, 4), plain(3), false, sizes{3, 3, 4 - 1}},
		"declared from now on":                    {group(bounds{4, 4}, 4, 4, 4), declared(4, 2, 10), false, sizes{2, 4, 10}},
		"declared wins over hands":                {group(bounds{2, 10}, 1, 12, 20), declared(4, 2, 10), false, sizes{2, 10, 10}},
		"a policy took some":                      {group(bounds{2, 10}, 2, 2, 10), declared(4, 2, 10), false, sizes{2, 2, 10}},
		"a schedule has set others":               {group(bounds{2, 10}, 6, 7, 20), declared(4, 2, 10), true, sizes{6, 7, 20}},
		"a schedule, and others are declared":     {group(bounds{2, 10}, 6, 7, 20), declared(4, 3, 12), true, sizes{3, 7, 12}},
		"declared no more":                        {group(bounds{2, 10}, 2, 7, 10), plain(4), false, sizes{4, 4, 4}},
		"declared no more, and a maximum by hand": {group(bounds{2, 10}, 2, 7, 12), plain(4), false, sizes{4, 7, 12}},
		"a group without the tag":                 {group(bounds{}, 2, 3, 4), plain(2), false, sizes{2, 3, 4}},
	} {
		if got := c.group.next(c.to, c.scheduled); got != c.want {
			t.Errorf("%s: the next group has %v, want %v", name, got, c.want)
		}
	}
	if b := (bounds{2, 10}); parseBounds(b.String()+warmWord) != b || parseBounds("") != (bounds{}) {
		t.Errorf("the tag %q is read as %v", b.String()+warmWord, parseBounds(b.String()+warmWord))
	}
}
