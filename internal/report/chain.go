// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Gated is what a stage of another pipeline had passed when a build entered a stage of this
// one, which comes after it.
type Gated struct {
	Stage string `json:"stage"`         // of this pipeline
	Run   string `json:"run,omitempty"` // of the build there; empty if it has not entered yet, and the gate stands so now
	// At is when the run began. The history of the other pipeline was read and verified for
	// it shortly before, by the plan. It is absent without a run.
	At time.Time          `json:"started_at,omitzero"`
	On pipeline.Elsewhere `json:"passed_elsewhere"` // the other stage, the build there, and up to where the other history was verified
}

// ChannelStanding says how a channel stands to a build.
type ChannelStanding string

// The standings.
const (
	ChannelLeads ChannelStanding = "leads" // to the build's image
	ChannelMoves ChannelStanding = "moves" // it is on its way to the build's image
	ChannelLed   ChannelStanding = "led"   // to the build's image, before the one that it leads to now
)

// Published is a channel that leads to the image of a build, is on its way to it, or led to it
// before.
type Published struct {
	Stage    string            `json:"stage"`                                    // that publishes; image/NAME for a baked image
	Channel  string            `json:"channel_name,omitempty"`                   // on AWS, the parameter in each region; empty if no name leads to the image
	Standing ChannelStanding   `json:"standing"`                                 // leads, moves or led
	Image    string            `json:"image"`                                    // of the build
	Images   map[string]string `json:"images,omitempty" shape:"image_by_region"` // of the build, by region; absent while the channel is on its way
	// Since is when the channel came to lead where it leads now.
	Since  time.Time `json:"since,omitzero"`
	Run    string    `json:"run,omitempty"`            // by which the build had passed
	Before *Named    `json:"replaced_build,omitempty"` // the build that it led to before; absent if it is not known, or there is none
	After  *Named    `json:"channel_build,omitempty"`  // the build that it leads to now, if that is another
	Left   bool      `json:"left,omitempty"`           // nothing publishes by it any more, and it stays
}

// Held is a persistent environment that runs a build.
type Held struct {
	Stage       string                     `json:"stage"`
	Target      string                     `json:"target,omitempty"` // of a stage with several
	Place       string                     `json:"place,omitempty"`  // the account and region; absent where the ledger is
	Environment string                     `json:"environment"`      // its ID
	Status      pipeline.EnvironmentStatus `json:"status"`
	Since       time.Time                  `json:"since,omitzero"` // it runs the build; absent if that is not known
	Endpoint    string                     `json:"endpoint,omitempty"`
}

// gatedOf lists what the stages up to a stage were gated on elsewhere when a build entered
// them. A stage that it has not entered is gated as it is defined.
func gatedOf(ctx context.Context, r *Reports, st *pipeline.State, stage pipeline.Stage, build string) ([]Gated, error) {
	list := []Gated{}
	for _, s := range upTo(st, stage) {
		run, err := r.resultRun(ctx, st, s, build)
		if err != nil {
			return nil, err
		}
		gates := run.Elsewhere
		if run.ID == "" {
			gates = s.Elsewhere
		}
		for _, on := range gates {
			list = append(list, Gated{Stage: s.Name, Run: run.ID, At: run.StartedAt, On: on})
		}
	}
	return list, nil
}

// publishedOf lists the channels that have to do with a build, by publisher. A baked image's
// channel leads to images: those that the build was made of count.
func publishedOf(st *pipeline.State, build string) []Published {
	b, list := st.Builds[build], []Published{}
	is := func(publisher, of, image string) bool {
		if pipeline.IsImageRun(publisher) {
			return image != "" && image == b.BaseImage
		}
		return of == build
	}
	for _, key := range slices.Sorted(maps.Keys(st.Channels)) {
		c := st.Channels[key]
		publisher := c.Stage
		p := Published{Stage: publisher, Channel: c.Name, Since: c.At, Left: c.Left}
		switch m := c.Moving; {
		case is(publisher, c.Build, c.Image):
			p.Standing, p.Image, p.Images, p.Run = ChannelLeads, c.Image, c.Images, c.Run
			p.Before = namedOrNil(st, c.Replaced)
			list = append(list, p)
		case m != nil && is(publisher, m.Build, m.Image):
			p.Channel, p.Standing, p.Image, p.Run = m.Name, ChannelMoves, m.Image, m.Run
			p.After = namedOrNil(st, &c.ChannelImage)
			list = append(list, p)
		default:
			before := slices.Clone(c.Previous)
			if c.Replaced != nil {
				before = append(before, *c.Replaced)
			}
			at := slices.IndexFunc(before, func(i pipeline.ChannelImage) bool { return is(publisher, i.Build, i.Image) })
			if at < 0 {
				continue
			}
			p.Standing, p.Image, p.Images, p.Run, p.After = ChannelLed, before[at].Image, before[at].Images, before[at].Run, namedOrNil(st, &c.ChannelImage)
			list = append(list, p)
		}
	}
	return list
}

// namedOrNil names the build of what a channel leads to; nil if that has none.
func namedOrNil(st *pipeline.State, i *pipeline.ChannelImage) *Named {
	if i == nil || i.Build == "" {
		return nil
	}
	named := NameOf(st, i.Build)
	return &named
}

// heldOf lists the persistent environments that run a build, in the order of the stages, and of
// a stage's targets in that of their waves.
func heldOf(st *pipeline.State, build string) []Held {
	list := []Held{}
	for _, v := range gate.Now(st).Views() {
		s, isStage := st.Stages[v.Name]
		if !isStage || !s.Persistent() {
			continue
		}
		add := func(at pipeline.Target, env *pipeline.Environment, since time.Time) {
			if env == nil || env.Build != build {
				return
			}
			h := Held{Stage: s.Name, Target: at.Name, Environment: env.ID, Status: env.Status, Since: since, Endpoint: env.Endpoint}
			if at.RoleARN != "" || at.Region != "" {
				named := at
				named.Name = ""
				h.Place = named.Describe()
			}
			list = append(list, h)
		}
		if !s.Spread() {
			env, _ := st.RunEnvironment(s.Name, pipeline.ForStage)
			add(s.At, &env, v.Current.Since)
		}
		for _, t := range v.Current.Targets {
			add(t.Target, t.Environment, t.Since)
		}
	}
	return list
}
