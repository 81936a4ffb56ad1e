// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Where an image is to be is what all want together that name it.
func TestPlacementOf(t *testing.T) {
	stage := func(name string, p Publication) func(*State) {
		return func(s *State) { s.Stages[name] = Stage{Name: name, Publish: &p} }
	}
	leads := func(stage, image string, previous ...string) func(*State) {
		return func(s *State) {
			c := Channel{Stage: stage, ChannelImage: ChannelImage{Image: image}}
			if p := s.Stages[stage].Publish; p != nil {
				c.Publication = *p
			}
			for _, id := range previous {
				c.Previous = append(c.Previous, ChannelImage{Image: id})
			}
			s.Channels[stage] = c
		}
	}
	bakes := func(image string, p Publication) func(*State) {
		return func(s *State) {
			s.ImageDefinitions["base"] = ImageDefinition{Name: "base", Image: image, Publish: &p}
			s.Images["img-1"] = Image{ID: "img-1", Name: "base", Published: "before"}
		}
	}
	a := Publication{Regions: []string{"r1", "r2"}, Accounts: []string{"2"}, DeprecateAfter: time.Hour, Channel: "a", KMSKeys: map[string]string{"r1": "k1"}, CopyWithin: time.Hour}
	b := Publication{Regions: []string{"r3", "r2"}, Accounts: []string{"1", "2"}, DeprecateAfter: 2 * time.Hour, Channel: "b", Protected: true, CopyWithin: 15 * time.Minute}
	for name, tt := range map[string]struct {
		is      []func(*State)
		want    Publication
		refused []string
	}{
		"nobody":      {nil, Publication{}, nil},
		"not named":   {[]func(*State){stage("a", a), leads("a", "img-2")}, Publication{}, nil},
		"one":         {[]func(*State){stage("a", a), leads("a", "img-1")}, Publication{Regions: []string{"r1", "r2"}, Accounts: []string{"2"}, DeprecateAfter: time.Hour, KMSKeys: a.KMSKeys, CopyWithin: time.Hour}, nil},
		"on its way":  {[]func(*State){stage("a", a), func(s *State) { s.Channels["a"] = Channel{Stage: "a", Moving: &ChannelAim{Image: "img-1"}} }}, Publication{Regions: []string{"r1", "r2"}, Accounts: []string{"2"}, DeprecateAfter: time.Hour, KMSKeys: a.KMSKeys, CopyWithin: time.Hour}, nil},
		"two":         {[]func(*State){stage("a", a), leads("a", "img-1"), stage("b", b), leads("b", "img-1")}, Publication{Regions: []string{"r1", "r2", "r3"}, Accounts: []string{"1", "2"}, DeprecateAfter: 2 * time.Hour, Protected: true, KMSKeys: a.KMSKeys, CopyWithin: 15 * time.Minute}, nil},
		"one and was": {[]func(*State){stage("a", a), leads("a", "img-1"), stage("b", b), leads("b", "img-2", "img-1")}, Publication{Regions: []string{"r1", "r2", "r3"}, Accounts: []string{"1", "2"}, DeprecateAfter: time.Hour, Protected: true, KMSKeys: a.KMSKeys, CopyWithin: 15 * time.Minute}, nil},
		"was":         {[]func(*State){stage("b", Publication{Regions: []string{"r1"}}), leads("b", "img-2", "img-1")}, Publication{Regions: []string{"r1"}, DeprecateAfter: 1}, nil},
		"never deprecated": {[]func(*State){stage("a", a), leads("a", "img-1"), stage("b", Publication{Channel: "b"}), leads("b", "img-1")},
			Publication{Regions: []string{"r1", "r2"}, Accounts: []string{"2"}, KMSKeys: a.KMSKeys, CopyWithin: time.Hour}, nil},
		"left":         {[]func(*State){stage("a", a), leads("a", "img-1"), func(s *State) { c := s.Channels["a"]; c.Left = true; s.Channels["a"] = c; delete(s.Stages, "a") }}, Publication{Regions: []string{"r1", "r2"}, Accounts: []string{"2"}, DeprecateAfter: time.Hour, KMSKeys: a.KMSKeys, CopyWithin: time.Hour}, nil},
		"baked":        {[]func(*State){bakes("img-1", Publication{Regions: []string{"r9"}})}, Publication{Regions: []string{"r9"}}, nil},
		"baked before": {[]func(*State){bakes("img-2", Publication{Regions: []string{"r9"}}), stage("b", Publication{Regions: []string{"r1"}}), leads("b", "img-1")}, Publication{Regions: []string{"r1", "r9"}}, nil},
		"other keys": {[]func(*State){stage("a", a), leads("a", "img-1"), stage("b", Publication{Regions: []string{"r1"}, KMSKeys: map[string]string{"r1": "k2"}}), leads("b", "img-1")},
			Publication{}, []string{`stage "a"`, `stage "b"`, "r1", "k1", "k2"}},
	} {
		st, err := NewState(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range tt.is {
			change(st)
		}
		got, err := PlacementOf(map[string]*State{"shop": st}, "img-1")
		for _, says := range tt.refused {
			if CodeOf(err) != CodeConflict || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v does not say %q", name, err, says)
			}
		}
		if tt.refused != nil {
			continue
		}
		if err != nil || got.Digest() != (&tt.want).Digest() {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, tt.want)
		}
	}
}

// A name leads to one image, and a copy has one key.
func TestCheckChannel(t *testing.T) {
	key := func(key string) *Publication {
		return &Publication{Channel: "x", Regions: []string{"r1"}, KMSKeys: map[string]string{"r1": key}}
	}
	named := func(p *Publication, name string) *Publication { p.Channel = name; return p }
	for name, tt := range map[string]struct {
		want    *Publication
		refused string
	}{
		"none":                          {nil, ""},
		"same name":                     {key("k1"), `"x"`},
		"other name":                    {named(key("k1"), "y"), ""},
		"other key":                     {named(key("k2"), "y"), "k2"},
		"of a bake":                     {named(key("k1"), "/penstock/base"), `baked image "base"`},
		"key of a bake of other images": {named(&Publication{Regions: []string{"r2"}, KMSKeys: map[string]string{"r2": "k8"}}, "y"), ""},
	} {
		st, _ := NewState(nil)
		st.Stages["a"] = Stage{Name: "a", Publish: key("k1"), Bake: true}
		st.Stages["b"] = Stage{Name: "b", After: []string{"a"}, Publish: tt.want}
		st.ImageDefinitions["base"] = ImageDefinition{Name: "base", Publish: &Publication{Channel: "/penstock/base", Regions: []string{"r2"}, KMSKeys: map[string]string{"r2": "k9"}}}
		err := CheckChannel(st, "b", tt.want)
		if (err == nil) != (tt.refused == "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
			t.Errorf("%s: %v, want %q", name, err, tt.refused)
		}
	}
}

// What a channel named stays with it, as many as its publication says, and none twice.
func TestChannelNamed(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c, want := Channel{Stage: "a"}, Publication{Keep: 2}
	var led []string
	for i, id := range []string{"1", "2", "3", "1", "1", ""} {
		c = c.Named(want, ChannelAim{Name: "a", Build: "b-" + id, Image: id}, map[string]string{"r": id}, now.Add(time.Duration(i)))
		var previous []string
		for _, p := range c.Previous {
			previous = append(previous, p.Image)
		}
		led = append(led, c.Image+"<"+strings.Join(previous, ","))
	}
	if want := []string{"1<", "2<1", "3<2,1", "1<3,2", "1<3,2", "<1,3"}; !reflect.DeepEqual(led, want) {
		t.Errorf("it led to %q, want %q", led, want)
	}
}

// A stage publishes only what can have an image: of a base image, or of a stage that bakes.
func TestCheckImages(t *testing.T) {
	for name, tt := range map[string]struct {
		stages map[string]Stage
		stage  Stage
		ok     bool
	}{
		"no image":              {map[string]Stage{"commit": {Name: "commit", Type: TypeCommit}}, Stage{After: []string{"commit"}}, false},
		"a base image":          {map[string]Stage{"commit": {Name: "commit", Type: TypeCommit, BaseImage: "img-1"}}, Stage{After: []string{"commit"}}, true},
		"one that bakes":        {map[string]Stage{"commit": {Name: "commit", Type: TypeCommit}, "a": {Name: "a", After: []string{"commit"}, Bake: true}}, Stage{After: []string{"a"}}, true},
		"one that is not above": {map[string]Stage{"commit": {Name: "commit", Type: TypeCommit}, "a": {Name: "a", After: []string{"commit"}, Bake: true}}, Stage{After: []string{"commit"}}, false},
		"it bakes":              {map[string]Stage{"commit": {Name: "commit", Type: TypeCommit}}, Stage{After: []string{"commit"}, Bake: true}, true},
		"it is pinned":          {map[string]Stage{"commit": {Name: "commit", Type: TypeCommit}}, Stage{After: []string{"commit"}, Pin: "b-1"}, true},
		"a commit stage":        {nil, Stage{Type: TypeCommit}, false},
		"after none":            {nil, Stage{Type: TypeCustom}, true},
	} {
		tt.stage.Name, tt.stage.Publish = "production", &Publication{Channel: "stable"}
		if err := CheckImages(&State{Stages: tt.stages}, tt.stage); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
