// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// A channel that is left goes on leading to its image, though nothing publishes by it. It is
// recorded by its name, until something publishes by that again, or the pipeline ends.

// recordOfChannel returns the key of the record of a channel.
func recordOfChannel(c pipeline.Channel) pipeline.Key {
	return pipeline.Key{Kind: pipeline.RecordChannel, ID: c.Key()}
}

// leave lets the name lead to where the channel was recorded to lead, for good.
func (p *publication) leave(ctx context.Context) (left pipeline.Channel, err error) {
	c := p.channel
	if c.Moving != nil || c.Stray != nil { // in some regions it may lead elsewhere
		r := pipeline.PointRequest{Name: c.Name, Images: c.Images, Labels: p.labels(c.Build), Adopt: c.Publication.Adopt, Log: p.log}
		if err := p.under(p.lease).Point(ctx, r); err != nil {
			return c, err
		}
	}
	if c.Moving != nil && c.Moving.Name != c.Name {
		if err := p.unpoint(ctx, c.Moving.Name, everywhere(c.Publication, c.Images)); err != nil {
			return c, err
		}
	}
	facts := pipeline.Facts{Gone: []pipeline.Key{recordOfChannel(c)}}
	c.Left, c.ByName, c.Moving, c.Stray = true, true, nil, nil
	facts.Channel = &c
	return c, p.record(ctx, pipeline.ChannelLeft, facts)
}

// setAside leaves the name that the channel has, if the publisher is to have another and that
// one is to stay. The publisher begins anew with the other name.
func (p *publication) setAside(ctx context.Context, aim pipeline.ChannelAim) error {
	if p.channel.Name == "" || p.channel.Name == aim.Name || !p.channel.Left && !p.channel.Stays() {
		return nil
	}
	left, err := p.leave(ctx)
	if err != nil {
		return err
	}
	st := *p.state
	st.Channels = maps.Clone(st.Channels)
	delete(st.Channels, p.channel.Key())
	st.Channels[left.Key()] = left
	p.state, p.channel = &st, pipeline.Channel{Pipeline: p.channel.Pipeline, Stage: p.channel.Stage}
	return nil
}

// inherit returns what the channel led to before, with what one led to that was left and whose
// name this one takes over, and the record of that one. Where the name is no longer wanted, it is
// removed.
func (p *publication) inherit(ctx context.Context, want pipeline.Publication, aim pipeline.ChannelAim) (before pipeline.Channel, inherited []pipeline.Key, err error) {
	left, found := pipeline.LeftAs(p.state, aim.Name)
	if !found || aim.Image == "" || left.Key() == p.channel.Key() {
		return p.channel, nil, nil
	}
	if regions := dropped(left, want); len(regions) > 0 && want.Adopt {
		r := pipeline.UnpointRequest{Name: left.Name, Regions: regions, Labels: pipeline.Labels{Pipeline: left.Pipeline, Stage: left.Stage}, Log: p.log}
		if err := p.under(p.lease).Unpoint(ctx, r); err != nil {
			return before, nil, err
		}
	}
	return p.channel.Inherits(left), []pipeline.Key{recordOfChannel(left)}, nil
}

// clearElsewhere removes the records of channels that other pipelines have left by a name that
// leads where this channel lets it now: a path is the same for all of them.
func (p *publication) clearElsewhere(ctx context.Context, aim pipeline.ChannelAim) error {
	if !strings.HasPrefix(aim.Name, "/") || aim.Image == "" {
		return nil
	}
	all, err := p.states.All(ctx)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		left, found := pipeline.LeftAs(all[name], aim.Name)
		if !found || name == p.channel.Pipeline {
			continue
		}
		key := recordOfChannel(left)
		err := p.states.AppendExpecting(ctx, name, nil, map[pipeline.Key]int64{key: all[name].Version(key.Kind, key.ID)},
			pipeline.Event{Kind: pipeline.ChannelRemoved, Facts: pipeline.Facts{Gone: []pipeline.Key{key}}})
		if err == nil {
			_, err = p.place(ctx, left.Image, func(*pipeline.State) {})
		}
		if err != nil && !pipeline.IsNotFound(err) && pipeline.CodeOf(err) != pipeline.CodeConflict { // it has changed since
			return err
		}
	}
	return nil
}

// endChannel removes a channel with its name, whatever is said of its end: its pipeline ends.
func (e *core) endChannel(ctx context.Context, h *lock.Lock, st *pipeline.State, c pipeline.Channel) error {
	p := e.publication(h, st, c.Stage)
	c.Pipeline = st.Pipeline.Name
	p.channel = c
	now := pipeline.PublicationOf(st, c.Stage)
	if err := p.remove(ctx, !c.Left && now != nil && now.KeepShared); err != nil {
		return fmt.Errorf("end the publication by %s: %w", pipeline.DescribePublisher(c.Stage), err)
	}
	return nil
}
