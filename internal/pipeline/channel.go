// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Publication says where and to whom an image is given, and which name leads to it there. A
// change of it causes no new bake and no run.
type Publication struct {
	Regions        []string          `json:"regions,omitempty"`     // that get a copy
	KMSKeys        map[string]string `json:"kms_keys,omitempty"`    // of the copies, by region
	CopyWithin     time.Duration     `json:"copy_within,omitempty"` // that the copies are complete; 0: as the platform comes to it
	Accounts       []string          `json:"accounts,omitempty"`    // that may launch it
	Organizations  []string          `json:"organizations,omitempty"`
	Units          []string          `json:"organizational_units,omitempty"`
	DeprecateAfter time.Duration     `json:"deprecate_after,omitempty"` // since it was made; 0: never
	Protected      bool              `json:"deregistration_protection,omitempty"`
	KeepShared     bool              `json:"keep_shared,omitempty"` // not removed while others may launch it

	Channel   string    `json:"channel,omitempty"` // the name that leads to it in each region; empty: none
	Adopt     bool      `json:"adopt,omitempty"`   // the name may be one that something else made
	OnRemoval OnRemoval `json:"on_removal,omitempty"`
	Keep      int       `json:"keep,omitempty"` // images that stay which the channel named before
}

// OnRemoval says what becomes of a name when nothing publishes by it any more.
type OnRemoval string

// The values of OnRemoval.
const (
	OnRemovalDelete OnRemoval = ""     // the name is removed
	OnRemovalKeep   OnRemoval = "keep" // it goes on leading to its image, which stays, too
)

// Digest tells publications apart; empty for none.
func (p *Publication) Digest() string {
	if p == nil {
		return ""
	}
	return hashJSON(p)[:16]
}

// Shared reports whether others may launch the image.
func (p *Publication) Shared() bool {
	return p != nil && len(p.Accounts)+len(p.Organizations)+len(p.Units) > 0
}

// Placement returns the part that says where the image is to be, without what concerns the
// name.
func (p Publication) Placement() Publication {
	p.Channel, p.Adopt, p.OnRemoval, p.Keep = "", false, "", 0
	return p
}

// Channel is the name under which a stage publishes the image of the build that it gives out,
// or a baked image its newest one. Others launch what it leads to.
type Channel struct {
	Pipeline string `json:"pipeline"`
	Stage    string `json:"stage"`          // that publishes; image/NAME for a baked image
	Name     string `json:"name,omitempty"` // empty: the images are placed, and no name leads to them
	ChannelImage
	Publication Publication    `json:"publication"`
	At          time.Time      `json:"at"`                 // since when it leads there, or nowhere
	Previous    []ChannelImage `json:"previous,omitempty"` // that stay, the newest first
	Replaced    *ChannelImage  `json:"replaced,omitempty"` // where it led before it came to lead there; nil if that is not known, or was nowhere
	Moving      *ChannelAim    `json:"moving,omitempty"`   // where it is on its way to; nil: nowhere
	Left        bool           `json:"left,omitempty"`     // nothing publishes by it any more, and it stays
	ByName      bool           `json:"by_name,omitempty"`  // it was left, and is recorded by its name, so that its publisher can have another
	Stray       *Stray         `json:"-"`                  // how the name leads elsewhere, as the platform sees it; nil: it does not
}

// ChannelImage is an image that a channel leads to. Without an ID it leads nowhere.
type ChannelImage struct {
	Build  string            `json:"build,omitempty"` // empty for a baked image
	Run    string            `json:"run,omitempty"`   // by which the build had passed, or that baked the image
	Image  string            `json:"image,omitempty"`
	Images map[string]string `json:"images,omitempty" shape:"image_by_region"` // by region, the image itself included
}

// ChannelAim is what a channel is to lead to.
type ChannelAim struct {
	Name  string `json:"name,omitempty"`
	Build string `json:"build,omitempty"`
	Run   string `json:"run,omitempty"`
	Image string `json:"image,omitempty"` // empty: nothing
}

// PublicationOf returns what a stage, or a baked image by its name from ImageRun, publishes;
// nil for nothing.
func PublicationOf(s *State, publisher string) *Publication {
	if image, ok := ImageOfRun(publisher); ok {
		return s.ImageDefinitions[image].Publish
	}
	return s.Stages[publisher].Publish
}

// AimOf returns what the channel of a publisher is to lead to.
func AimOf(s *State, publisher string) ChannelAim {
	want := PublicationOf(s, publisher)
	if want == nil {
		return ChannelAim{}
	}
	if image, ok := ImageOfRun(publisher); ok {
		d := s.ImageDefinitions[image]
		return ChannelAim{Name: want.Channel, Run: d.Run, Image: d.Image}
	}
	aim := ChannelAim{Name: want.Channel, Build: GivenOut(s, publisher)}
	switch c := s.Channels[publisher]; {
	case aim.Build == "":
	case !s.Passed(publisher, aim.Build): // it has, as the channel knows
		aim.Image, aim.Run = c.Image, c.Run
	default:
		aim.Image, aim.Run = imageGivenOut(s, s.Stages[publisher], aim.Build)
	}
	return aim
}

// GivenOut returns the build that a stage gives out: the one that it is at, or else, while
// that has not passed or is rejected, the newest one before it that passed. A build that a
// channel names already stays given out while a run of it fails or is decided: only another
// build or a rejection takes it back. It is empty if there is none.
func GivenOut(s *State, stage string) string {
	def, ok := s.Stages[stage]
	current := s.Current[stage].Build
	if !ok || !def.TakesBuild() || current == "" {
		return ""
	}
	stands := func(build string) bool {
		_, exists := s.Builds[build]
		return exists && (s.Passed(stage, build) || s.Channels[stage].Build == build && s.RejectedAbove(def, build) == "")
	}
	if stands(current) {
		return current
	}
	for b := range s.NewestBuilds() {
		if b.Order < s.Builds[current].Order && stands(b.ID) {
			return b.ID
		}
	}
	return ""
}

// imageGivenOut returns the image of a build that passed a stage, and the run by which it did:
// the one that the stage baked, or that its environment was made from.
func imageGivenOut(s *State, stage Stage, build string) (image, run string) {
	b := s.Builds[build]
	result, _ := s.ResultOf(stage, build)
	passed := result.Status == RunPassed
	switch {
	case b.BakedBy == stage.Name && b.Image != "":
		return b.Image, result.ID
	case passed && result.Inputs.Image != "":
		return result.Inputs.Image, result.ID
	}
	return s.Launch(stage, build).Image, result.ID
}

// ChannelDue reports whether the channel of a publisher is not what it is to be.
func ChannelDue(s *State, publisher string) bool {
	c, recorded := s.Channels[publisher]
	want := PublicationOf(s, publisher)
	if want == nil {
		return recorded && !c.Left
	}
	aim := AimOf(s, publisher)
	switch {
	case !recorded:
		return aim.Image != "" || aim.Build != ""
	case c.Moving != nil, c.Left, c.Stray != nil:
		return true
	case aim.Image == "" && aim.Build == "":
		return c.Image != ""
	}
	return aim.Name != c.Name || aim.Build != c.Build || aim.Image != c.Image || c.Publication.Digest() != want.Digest()
}

// CheckChannel refuses a publication whose name is that of another one, was left by another
// publisher, or has become something else's, or that would encrypt the same copy with another key.
func CheckChannel(s *State, publisher string, want *Publication) error {
	if want == nil {
		return nil
	}
	op := fmt.Sprintf("publish by %s", DescribePublisher(publisher))
	if c := s.Channels[publisher]; c.Stray != nil && c.Stray.Foreign && c.Name == want.Channel && !want.Adopt {
		return c.Stray.taken(op, c.Name)
	}
	if left, found := LeftAs(s, want.Channel); found && left.Stage != publisher && !want.Adopt {
		return Errorf(CodeConflict, op, "channel %q exists: %s has left it, to be kept", left.Name, DescribePublisher(left.Stage)).
			WithHint("Choose another name for the channel, or set adopt = true to take it over.")
	}
	for _, other := range publishers(s) {
		theirs := PublicationOf(s, other)
		if other == publisher {
			continue
		}
		if want.Channel != "" && theirs.Channel == want.Channel {
			return Errorf(CodeInvalid, op, "%s publishes as %q, too, and a name leads to one image", DescribePublisher(other), want.Channel).
				WithHint("Give each a name of its own. If the configuration gives %s another one in the same apply, apply that first: it comes later.", DescribePublisher(other))
		}
		if !mayShareImages(s, publisher, other) {
			continue
		}
		if _, err := union([]namer{{publisher, *want, true}, {other, *theirs, true}}); err != nil {
			return err
		}
	}
	return nil
}

// mayShareImages reports whether two publishers may come to name one image: two stages may, and
// a stage and a baked image if no application image comes between.
func mayShareImages(s *State, a, b string) bool {
	bakes := func(publisher string) bool {
		return slices.ContainsFunc(s.Ancestors([]string{publisher}), func(name string) bool { return s.Stages[name].Bake })
	}
	switch {
	case IsImageRun(a) && IsImageRun(b):
		return false
	case IsImageRun(a):
		return !bakes(b)
	case IsImageRun(b):
		return !bakes(a)
	}
	return true
}

// publishers lists what publishes, in order.
func publishers(s *State) (names []string) {
	for _, stage := range s.Stages {
		if stage.Publish != nil {
			names = append(names, stage.Name)
		}
	}
	for _, d := range s.ImageDefinitions {
		if d.Publish != nil {
			names = append(names, ImageRun(d.Name))
		}
	}
	slices.Sort(names)
	return names
}

// DescribePublisher says in words what publishes.
func DescribePublisher(publisher string) string {
	if image, ok := ImageOfRun(publisher); ok {
		return fmt.Sprintf("baked image %q", image)
	}
	return fmt.Sprintf("stage %q", publisher)
}

// deprecateNow deprecates an image at once, whenever it was made.
const deprecateNow = time.Nanosecond

// namer is one that wants an image to be somewhere.
type namer struct {
	name string // the publisher
	want Publication
	now  bool // it names the image, or is about to; else it did
}

// PlacementOf returns where an image is to be: wherever any of the pipelines wants it that
// publishes it, or has published it and keeps it for who still runs it. An image that no
// channel names any more is deprecated. The zero Publication is nowhere. It returns CodeConflict where two publishers want one
// copy to be encrypted with different keys.
func PlacementOf(all map[string]*State, image string) (Publication, error) {
	var namers []namer
	for _, pipeline := range slices.Sorted(maps.Keys(all)) {
		namers = append(namers, namersOf(all[pipeline], image)...)
	}
	return union(namers)
}

// namers returns what a pipeline's publishers want of an image.
func namersOf(s *State, image string) (list []namer) {
	add := func(publisher string, want Publication, now bool) {
		list = append(list, namer{publisher, want, now})
	}
	for _, name := range slices.Sorted(maps.Keys(s.ImageDefinitions)) {
		d, known := s.ImageDefinitions[name], s.Images[image]
		if d.Publish != nil && (d.Image == image || known.Name == name && known.Build == "" && known.Published != "") {
			add(ImageRun(name), *d.Publish, true)
		}
	}
	for _, publisher := range slices.Sorted(maps.Keys(s.Channels)) {
		c := s.Channels[publisher]
		if IsImageRun(publisher) {
			continue
		}
		want := PublicationOf(s, publisher)
		names := c.Image == image || c.Moving != nil && c.Moving.Image == image
		switch {
		case want != nil && names:
			add(publisher, *want, true)
		case c.Left && names:
			add(c.Stage, c.Publication, true)
		case slices.ContainsFunc(c.Previous, func(p ChannelImage) bool { return p.Image == image }):
			add(c.Stage, c.Publication, false)
		}
	}
	return list
}

// Check refuses an aim with a build that has no image.
func (a ChannelAim) Check(publisher string) error {
	if a.Build == "" || a.Image != "" {
		return nil
	}
	return Errorf(CodeInvalid, "find the image of "+DescribePublisher(publisher), "build %s has no image", a.Build).WithHint(hintNoImage)
}

// hintNoImage says how builds get images.
const hintNoImage = "Set base_image on the commit stage, or let a stage with an environment bake one; or remove publish."

// CheckImages refuses a stage that publishes builds none of which can have an image: no commit stage
// above it has a base image, and no stage up to it bakes one. A build that the configuration names
// may have got one before, and of a stage that comes after none it is not known which commit stage
// makes its builds.
func CheckImages(s *State, stage Stage) error {
	if stage.Publish == nil || stage.Pin != "" || stage.Bake || stage.BaseImage != "" || len(stage.After) == 0 && stage.Type != TypeCommit {
		return nil
	}
	above := s.Ancestors(stage.After)
	if slices.ContainsFunc(above, func(name string) bool { return s.Stages[name].Bake || s.Stages[name].BaseImage != "" }) {
		return nil
	}
	return Errorf(CodeInvalid, "publish by "+DescribePublisher(stage.Name), "no build that the stage takes can have an image").WithHint(hintNoImage)
}

// union returns what all want together: all places and all who may launch it. It is
// deprecated as late as any of them wants who name it now, and at once if nobody does.
func union(namers []namer) (Publication, error) {
	var all Publication
	keyOf := map[string]string{} // whose key is that of a region
	named, never, latest := false, false, time.Duration(0)
	for _, n := range namers {
		w := n.want
		all.Regions = append(all.Regions, w.Regions...)
		all.Accounts, all.Organizations, all.Units = append(all.Accounts, w.Accounts...), append(all.Organizations, w.Organizations...), append(all.Units, w.Units...)
		if w.CopyWithin > 0 && (all.CopyWithin == 0 || w.CopyWithin < all.CopyWithin) {
			all.CopyWithin = w.CopyWithin
		}
		all.Protected, all.KeepShared = all.Protected || w.Protected, all.KeepShared || w.KeepShared
		for _, region := range slices.Sorted(maps.Keys(w.KMSKeys)) {
			key := w.KMSKeys[region]
			if has := all.KMSKeys[region]; has != "" && has != key {
				return all, Errorf(CodeConflict, "publish image", "%s and %s have different keys for the copy in %s: %s and %s",
					DescribePublisher(keyOf[region]), DescribePublisher(n.name), region, has, key).
					WithHint("An image has one copy in a region, with one key. Set the same in publish.kms_keys of both.")
			}
			if all.KMSKeys == nil {
				all.KMSKeys = map[string]string{}
			}
			all.KMSKeys[region], keyOf[region] = key, n.name
		}
		if n.now {
			named, never, latest = true, never || w.DeprecateAfter == 0, max(latest, w.DeprecateAfter)
		}
	}
	for _, list := range []*[]string{&all.Regions, &all.Accounts, &all.Organizations, &all.Units} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	switch {
	case len(namers) > 0 && !named:
		all.DeprecateAfter = deprecateNow
	case !never:
		all.DeprecateAfter = latest
	}
	return all, nil
}

// Named returns the record of a channel after it has come to lead to images: nil leads
// nowhere. What it led to before stays with it, as far as its publication says.
func (c Channel) Named(want Publication, aim ChannelAim, images map[string]string, at time.Time) Channel {
	before := c.ChannelImage
	c.Name, c.Publication, c.Moving, c.Left, c.Stray = aim.Name, want, nil, false, nil
	c.ChannelImage = ChannelImage{}
	if aim.Image != "" {
		c.ChannelImage = ChannelImage{aim.Build, aim.Run, aim.Image, images}
	}
	if before.Image != c.Image || before.Build != c.Build || c.At.IsZero() {
		c.At, c.Replaced = at, nil
		if before.Image != "" {
			c.Replaced = &before
		}
	}
	kept := []ChannelImage{}
	for _, p := range append([]ChannelImage{before}, c.Previous...) {
		known := slices.ContainsFunc(kept, func(k ChannelImage) bool { return k.Image == p.Image })
		if p.Image != "" && p.Image != c.Image && !known && len(kept) < want.Keep {
			kept = append(kept, p)
		}
	}
	c.Previous = kept
	if len(kept) == 0 {
		c.Previous = nil
	}
	return c
}

// leftPrefix begins the keys of channels that were left.
const leftPrefix = "left/"

// Key is what a channel is recorded by: its publisher, or left/NAME.
func (c Channel) Key() string {
	if c.ByName {
		return leftPrefix + c.Name
	}
	return c.Stage
}

// LeftAs returns the channel of a name that was left; false for none.
func LeftAs(s *State, name string) (Channel, bool) {
	for _, key := range slices.Sorted(maps.Keys(s.Channels)) {
		if c := s.Channels[key]; c.Left && c.Name == name && name != "" {
			c.Pipeline = s.Pipeline.Name
			return c, true
		}
	}
	return Channel{}, false
}

// LeftChannels lists the channels that were left, by name.
func LeftChannels(s *State) (all []Channel) {
	for _, c := range s.Channels {
		if c.Left {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b Channel) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Stays reports whether the name of a channel stays when nothing publishes by it any more.
func (c Channel) Stays() bool {
	foreign := c.Stray != nil && c.Stray.Foreign
	return c.Publication.OnRemoval == OnRemovalKeep && c.Name != "" && c.Image != "" && !foreign
}

// Inherits returns the record of a channel that takes over the name of one that was left, before
// it leads anywhere: that one led to is what this one led to before.
func (c Channel) Inherits(left Channel) Channel {
	if c.Image != "" {
		c.Previous = append(slices.Clone(c.Previous), append([]ChannelImage{left.ChannelImage}, left.Previous...)...)
		return c
	}
	c.ChannelImage, c.Previous, c.At, c.Replaced = left.ChannelImage, left.Previous, left.At, left.Replaced
	return c
}

// Describe says in words what channel it is.
func (c Channel) Describe() string {
	return cmp.Or(c.Name, "that of "+DescribePublisher(c.Stage))
}
