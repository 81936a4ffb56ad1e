// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// CheckPublication refuses what the platform can't publish of a stage.
func (e *core) CheckPublication(stage pipeline.Stage) error {
	if stage.Publish == nil {
		return nil
	}
	return e.platform.CheckPublication(*stage.Publish)
}

// publication is the work on one channel, under the lease of its stage or baked image.
type publication struct {
	*core
	lease   pipeline.Lease
	state   *pipeline.State
	channel pipeline.Channel  // as it is recorded
	targets []pipeline.Target // whose environments are about to be launched from the image
	log     io.Writer         // that of the run of which the image is
}

// publishDue brings the channel of a stage, or of a baked image, to what it is to lead to: the
// image is placed everywhere first, and the name leads to it last. What was killed in between
// is done again. It does nothing where nothing is due.
func (e *core) publishDue(ctx context.Context, h *lock.Lock, pipelineName, publisher string) error {
	st, err := e.states.Fresh(ctx, pipelineName)
	if err != nil || !pipeline.ChannelDue(st, publisher) {
		return err
	}
	want, aim := pipeline.PublicationOf(st, publisher), pipeline.AimOf(st, publisher)
	if want == nil {
		return e.releaseChannel(ctx, h, st, publisher)
	}
	p := e.publication(h, st, publisher)
	if aim.Run != "" {
		log, err := e.createLog(ctx, pipelineName, aim.Run)
		if err != nil {
			return err
		}
		defer log.Close()
		p.log = log
	}
	if err := p.move(ctx, *want, aim); err != nil {
		return fmt.Errorf("publish by %s: %w", pipeline.DescribePublisher(publisher), err)
	}
	return nil
}

func (e *core) publication(h *lock.Lock, st *pipeline.State, publisher string) *publication {
	c := st.Channels[publisher]
	c.Pipeline, c.Stage = st.Pipeline.Name, publisher
	return &publication{core: e, lease: h.Lease, state: st, channel: c, log: io.Discard}
}

// labels say whose the name is, and which build it leads to.
func (p *publication) labels(build string) pipeline.Labels {
	return pipeline.Labels{Pipeline: p.channel.Pipeline, Stage: p.channel.Stage, Build: build}
}

func (p *publication) record(ctx context.Context, kind pipeline.EventKind, facts pipeline.Facts) error {
	return p.states.Append(ctx, p.channel.Pipeline, &p.lease, pipeline.Event{Kind: kind, Facts: facts})
}

// move brings the channel to an aim. Whoever follows its name finds an image that passed, in
// each region in which there is the name, at any time.
func (p *publication) move(ctx context.Context, want pipeline.Publication, aim pipeline.ChannelAim) error {
	if err := aim.Check(p.channel.Stage); err != nil {
		return err
	}
	if err := p.setAside(ctx, aim); err != nil {
		return err
	}
	if err := p.begin(ctx, want, aim); err != nil {
		return err
	}
	before, inherited, err := p.inherit(ctx, want, aim)
	if err != nil {
		return err
	}
	if err := p.unpoint(ctx, before.Name, dropped(before, want)); err != nil { // while the copies are there
		return err
	}
	images, err := p.lead(ctx, want, aim)
	if err != nil {
		return err
	}
	if before.Name != "" && (before.Name != aim.Name || aim.Image == "") {
		if err := p.unpoint(ctx, before.Name, everywhere(before.Publication, before.Images)); err != nil {
			return err
		}
	}
	if before.Image != "" && before.Image != aim.Image {
		if err := p.retire(ctx, before, inherited); err != nil {
			return err
		}
	}
	if err := p.clearElsewhere(ctx, aim); err != nil {
		return err
	}
	c := before.Named(want, aim, images, p.now().UTC())
	return p.record(ctx, pipeline.ChannelMoved, pipeline.Facts{Channel: &c, Gone: inherited})
}

// begin records where the channel is on its way to. A name to which an interrupted move has
// led, and that is not wanted any more, is removed.
func (p *publication) begin(ctx context.Context, want pipeline.Publication, aim pipeline.ChannelAim) error {
	was := p.channel.Moving
	if was != nil && *was == aim {
		return nil
	}
	if was != nil && was.Name != aim.Name && was.Name != p.channel.Name {
		if err := p.unpoint(ctx, was.Name, everywhere(want, nil)); err != nil {
			return err
		}
	}
	p.channel.Moving = &aim
	return p.record(ctx, pipeline.ChannelMoving, pipeline.Facts{Channel: &p.channel})
}

// lead places the image that the channel is to lead to, and lets the name lead to it. It
// returns the images by region in which the name is.
func (p *publication) lead(ctx context.Context, want pipeline.Publication, aim pipeline.ChannelAim) (map[string]string, error) {
	if aim.Image == "" {
		return nil, nil
	}
	images, err := p.place(ctx, aim.Image, func(*pipeline.State) {})
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(images, func(region, id string) bool { return id != aim.Image && !slices.Contains(want.Regions, region) })
	if aim.Name == "" {
		return images, nil
	}
	return images, p.under(p.lease).Point(ctx, pipeline.PointRequest{Name: aim.Name, Images: images, Labels: p.labels(aim.Build), Adopt: want.Adopt, Log: p.log})
}

// dropped returns the regions in which the name is not wanted any more, but is elsewhere.
func dropped(c pipeline.Channel, want pipeline.Publication) (regions []string) {
	for region, id := range c.Images {
		if id != c.Image && !slices.Contains(want.Regions, region) {
			regions = append(regions, region)
		}
	}
	slices.Sort(regions)
	return regions
}

// everywhere returns the regions in which a name may be.
func everywhere(w pipeline.Publication, images map[string]string) []string {
	regions := append(slices.Sorted(maps.Keys(images)), w.Regions...)
	return append(regions, "")
}

func (p *publication) unpoint(ctx context.Context, name string, regions []string) error {
	if name == "" || len(regions) == 0 {
		return nil
	}
	return p.under(p.lease).Unpoint(ctx, pipeline.UnpointRequest{Name: name, Regions: regions, Labels: p.labels(""), Log: p.log})
}

// place brings an image to where everybody who publishes it wants it, and nowhere else, and
// returns its IDs by region. as changes what is recorded of this pipeline to what it is about
// to be.
func (p *publication) place(ctx context.Context, image string, as func(*pipeline.State)) (map[string]string, error) {
	owner, err := p.ownerOf(ctx, image)
	if err != nil {
		return nil, err
	}
	leased, h, err := p.locks.Lock(ctx, lock.Placement(owner.Pipeline, image), "publication of image "+image)
	if err != nil {
		return nil, err
	}
	defer p.locks.Unlock(ctx, h)
	want, targets, err := p.wanted(leased, image, as)
	if err != nil {
		return nil, err
	}
	r := pipeline.PublishRequest{Image: image, Publication: want, Targets: append(targets, p.targets...), Labels: placedLabels(owner), Log: p.log}
	images, err := p.under(p.lease, h.Lease).Publish(leased, r)
	if err != nil {
		return nil, lock.LostOr(leased, err)
	}
	return images, p.recordPlaced(leased, h, owner, want, images)
}

// ownerOf returns the record of an image, which may be that of another pipeline, or one with
// nothing but this pipeline for an image that is nobody's.
func (p *publication) ownerOf(ctx context.Context, image string) (pipeline.Image, error) {
	if found, ok := p.state.Images[image]; ok {
		return found, nil
	}
	all, err := p.states.All(ctx)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if found, ok := all[name].Images[image]; ok {
			return found, nil
		}
	}
	return pipeline.Image{Pipeline: p.channel.Pipeline}, err
}

// wanted returns where all pipelines want an image, as they are recorded now, and the targets
// whose environments run from it.
func (p *publication) wanted(ctx context.Context, image string, as func(*pipeline.State)) (pipeline.Publication, []pipeline.Target, error) {
	p.states.AskAgain()
	all, err := p.states.All(ctx)
	if err != nil {
		return pipeline.Publication{}, nil, err
	}
	if st, ok := all[p.channel.Pipeline]; ok {
		own := *st
		own.Channels, own.Stages, own.ImageDefinitions = maps.Clone(st.Channels), maps.Clone(st.Stages), maps.Clone(st.ImageDefinitions)
		as(&own)
		all[p.channel.Pipeline] = &own
	}
	want, err := pipeline.PlacementOf(all, image)
	return want, pipeline.TargetsOf(all, image), err
}

// imageAt returns the ID of an image where the run's environment is. It is placed there first,
// if that is elsewhere.
func (a *attempt) imageAt(ctx context.Context, image string) (string, error) {
	if image == "" || a.stage.At.Home() {
		return image, nil
	}
	targets := []pipeline.Target{a.stage.At}
	name, _ := pipeline.CutTarget(a.stage.Name)
	for _, t := range a.state.Stages[name].Targets { // those that come later are to find theirs
		if !slices.Contains(targets, t.Target) {
			targets = append(targets, t.Target)
		}
	}
	images, err := placing(a, targets).bring(ctx, image)
	if err != nil {
		return "", err
	}
	if there := images[a.stage.At.Region]; there != "" {
		return there, nil
	}
	return image, nil
}

// placing is the publication of images to where targets have environments, for a run.
func placing(a *attempt, targets []pipeline.Target) *publication {
	return &publication{
		core: a.core, lease: a.lease, state: a.state, channel: pipeline.Channel{Pipeline: a.run.Pipeline, Stage: a.stage.Name}, log: a.log, targets: targets,
	}
}

// bring places an image where its targets are. It returns its IDs by region.
func (p *publication) bring(ctx context.Context, image string) (map[string]string, error) {
	images, err := p.place(ctx, image, func(*pipeline.State) {})
	if err != nil {
		var to []string
		for _, t := range p.targets {
			to = append(to, t.Describe())
		}
		return nil, fmt.Errorf("bring image %s to %s: %w", image, strings.Join(to, " and "), err)
	}
	return images, nil
}

// placedLabels are the same for all who publish an image, so that its copies are made once.
func placedLabels(image pipeline.Image) pipeline.Labels {
	l := pipeline.Labels{Pipeline: image.Pipeline, Stage: image.Name, Build: image.Build, Run: image.Run}
	if image.Build == "" && image.Name != "" {
		l.Stage = pipeline.ImageRun(image.Name)
	}
	return l
}

// recordPlaced records where an image is, if that has changed.
func (p *publication) recordPlaced(ctx context.Context, h *lock.Lock, image pipeline.Image, want pipeline.Publication, images map[string]string) error {
	placed := want.Digest()
	if placed == (&pipeline.Publication{}).Digest() {
		placed, images = "", nil
	}
	if image.ID == "" || image.Published == placed && maps.Equal(image.Copies, images) {
		return nil
	}
	image.Published, image.Copies = placed, images
	return p.states.Append(ctx, image.Pipeline, &h.Lease, pipeline.Event{Kind: pipeline.ImagePublished, Facts: pipeline.Facts{Image: &image}})
}

// retire says of an image that the channel leads to it no more. The records of channels whose
// name it has taken over go.
func (p *publication) retire(ctx context.Context, before pipeline.Channel, inherited []pipeline.Key) error {
	_, err := p.place(ctx, before.Image, func(st *pipeline.State) {
		for _, key := range inherited {
			delete(st.Channels, key.ID)
		}
		c := before
		c.Previous, c.ChannelImage, c.Moving = []pipeline.ChannelImage{before.ChannelImage}, pipeline.ChannelImage{}, nil
		st.Channels[c.Stage] = c
	})
	if pipeline.IsNotFound(err) { // it is gone
		return nil
	}
	return err
}

// releaseChannel ends what a stage, or a baked image, publishes: its name is removed, or stays
// as it is, as its publication says. If the publisher itself goes, what is shared stays so
// where its publication says that. Where there is no channel it does nothing.
func (e *core) releaseChannel(ctx context.Context, h *lock.Lock, st *pipeline.State, publisher string) error {
	c, recorded := st.Channels[publisher]
	if !recorded || c.Left {
		return nil
	}
	p := e.publication(h, st, publisher)
	last, goes := c.Publication, false
	if now := pipeline.PublicationOf(st, publisher); now != nil {
		last, goes = *now, true
	}
	var err error
	c.Publication = last
	if c.Stays() {
		_, err = p.leave(ctx)
	} else {
		err = p.remove(ctx, goes && last.KeepShared)
	}
	if err != nil {
		return fmt.Errorf("end the publication by %s: %w", pipeline.DescribePublisher(publisher), err)
	}
	return nil
}

// remove removes the name first, and then takes back the copies and the sharing that nobody
// else wants, unless they stay. What is in use stays until its image is collected.
func (p *publication) remove(ctx context.Context, stay bool) error {
	c := p.channel
	images := []string{c.Image}
	names := []string{c.Name}
	if c.Moving != nil {
		images, names = append(images, c.Moving.Image), append(names, c.Moving.Name)
	}
	for _, before := range c.Previous {
		images = append(images, before.Image)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if err := p.unpoint(ctx, name, everywhere(c.Publication, c.Images)); err != nil {
			return err
		}
	}
	slices.Sort(images)
	for _, image := range slices.Compact(images) {
		if image == "" || stay {
			continue
		}
		_, err := p.place(ctx, image, p.without)
		if err != nil && !pipeline.IsNotFound(err) && pipeline.CodeOf(err) != pipeline.CodeConflict {
			return err
		}
	}
	return p.record(ctx, pipeline.ChannelRemoved, pipeline.Facts{Gone: []pipeline.Key{recordOfChannel(c)}})
}

// without is what is recorded once the publisher publishes nothing.
func (p *publication) without(st *pipeline.State) {
	delete(st.Channels, p.channel.Key())
	if p.channel.Left {
		return
	}
	if image, ok := pipeline.ImageOfRun(p.channel.Stage); ok {
		d := st.ImageDefinitions[image]
		d.Publish = nil
		st.ImageDefinitions[image] = d
		return
	}
	s := st.Stages[p.channel.Stage]
	s.Publish = nil
	st.Stages[p.channel.Stage] = s
}
