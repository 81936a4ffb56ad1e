// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package simulation_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// platform is the world's images and environments. It remembers tokens as a supervisor does.
type platform struct {
	tokens map[string]int64
	images map[string]bool
	bakes  map[string]bool
	envs   map[string]*environment
}

type environment struct {
	key              string // of the lease under which it is changed
	serving, pending string
	building         map[string]bool
	images           map[string]string // by fleet: what its installed state bakes to
	instances        int
	expires          time.Time
}

func newPlatform() *platform {
	return &platform{tokens: map[string]int64{}, images: map[string]bool{"img-base": true}, bakes: map[string]bool{}, envs: map[string]*environment{}}
}

// door is a process's way to the platform.
type door struct {
	*process
	by []pipeline.Fence
}

var _ pipeline.Platform = door{}

func (d door) Under(by ...pipeline.Fence) pipeline.Platform {
	d.by = by
	return d
}

// change makes a change under leases. A clean-up may be done under none.
func (d door) change(ctx context.Context, op, id string, clears bool, effect func(*platform) error) error {
	return d.call(ctx, "platform "+op+" "+id, true, func() error {
		p := d.world.platform
		if len(d.by) == 0 && !clears {
			d.violation("%s of %s is done without a lease", op, id)
		}
		for _, by := range d.by {
			if newest := p.tokens[by.Key]; by.Token < newest {
				return pipeline.LeaseLost(op, by, newest)
			}
			p.tokens[by.Key] = by.Token
		}
		if env := p.envs[id]; env != nil && len(d.by) == 1 && env.key != d.by[0].Key {
			d.violation("%s of %s is done under %s, and it was made under %s", op, id, d.by[0].Key, env.key)
		}
		return effect(p)
	})
}

func (d door) look(ctx context.Context, op string, read func(*platform) error) error {
	return d.call(ctx, "platform "+op, false, func() error { return read(d.world.platform) })
}

// takes lets as much time pass as something takes.
func (d door) takes(ctx context.Context, most time.Duration) error {
	d.mu.Lock()
	took := d.between(time.Millisecond, most)
	d.mu.Unlock()
	return d.pass(ctx, took)
}

func (d door) Prepare(ctx context.Context, r pipeline.FleetRequest) (pipeline.Fleet, error) {
	image := cmp.Or(r.Artifact, r.Image)
	err := d.change(ctx, "prepare", r.Environment, false, func(p *platform) error {
		if r.Image != "" && !p.images[r.Image] {
			return pipeline.Errorf(pipeline.CodeNotFound, "prepare", "there is no image %s", r.Image)
		}
		env := p.envs[r.Environment]
		if env == nil {
			env = &environment{building: map[string]bool{}, images: map[string]string{}, key: d.by[0].Key}
			p.envs[r.Environment] = env
		}
		if env.serving == "" {
			env.expires = r.ExpiresAt
		}
		env.building = map[string]bool{} // what others left goes
		if env.pending != r.Fleet {
			env.pending = ""
		}
		env.building[r.Fleet], env.images[r.Fleet] = true, "img-of-"+image
		return nil
	})
	if err == nil {
		err = d.takes(ctx, 20*time.Second)
	}
	if err == nil {
		err = d.change(ctx, "prepare all", r.Environment, false, func(p *platform) error {
			env := p.envs[r.Environment]
			if env == nil || !env.building[r.Fleet] && env.pending != r.Fleet {
				return pipeline.Errorf(pipeline.CodeFailed, "prepare", "the fleet was removed while it started")
			}
			delete(env.building, r.Fleet)
			env.pending = r.Fleet
			if env.serving == "" {
				env.instances = r.Instances
			}
			return nil
		})
	}
	if err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_ = d.Discard(undo, r.Environment, r.Fleet) // whoever can't says so by the next Prepare
		return pipeline.Fleet{}, err
	}
	return pipeline.Fleet{ID: r.Fleet, Endpoint: "http://test/" + r.Fleet}, nil
}

func (d door) Shift(ctx context.Context, id, fleet string, _ pipeline.Traffic) (report pipeline.EnvironmentReport, err error) {
	err = d.change(ctx, "shift", id, false, func(p *platform) error {
		env := p.envs[id]
		if env == nil || env.pending != fleet && env.serving != fleet {
			return pipeline.Errorf(pipeline.CodeNotFound, "shift", "there is no fleet %s", fleet)
		}
		if env.pending == fleet {
			env.serving, env.pending = fleet, ""
		}
		report = p.report(id)
		return nil
	})
	if err == nil {
		err = d.takes(ctx, 10*time.Second) // what served drains
	}
	return report, err
}

func (d door) Discard(ctx context.Context, id, fleet string) error {
	return d.change(ctx, "discard", id, false, func(p *platform) error {
		env := p.envs[id]
		if env == nil || env.serving == fleet {
			return nil
		}
		delete(env.building, fleet)
		if env.pending == fleet {
			env.pending = ""
		}
		if env.serving == "" && env.pending == "" && len(env.building) == 0 {
			delete(p.envs, id)
		}
		return nil
	})
}

func (d door) Resize(ctx context.Context, id string, to pipeline.Size) error {
	return d.change(ctx, "resize", id, false, func(p *platform) error {
		if p.envs[id] == nil {
			return pipeline.Errorf(pipeline.CodeNotFound, "resize", "there is no environment %s", id)
		}
		p.envs[id].instances = to.Instances
		return nil
	})
}

func (d door) Ringing(context.Context, []string) ([]string, error) { return nil, nil }

func (d door) Trust(ctx context.Context, id string, _ []string) error {
	return d.change(ctx, "trust", id, false, func(*platform) error { return nil })
}

func (d door) Extend(ctx context.Context, id string, at time.Time) error {
	return d.change(ctx, "extend", id, false, func(p *platform) error {
		if p.envs[id] == nil {
			return pipeline.Errorf(pipeline.CodeNotFound, "extend", "there is no environment %s", id)
		}
		p.envs[id].expires = at
		return nil
	})
}

func (d door) Destroy(ctx context.Context, id string) error {
	return d.change(ctx, "destroy", id, true, func(p *platform) error { delete(p.envs, id); return nil })
}

func (d door) Bake(ctx context.Context, r pipeline.BakeRequest) (image pipeline.BakedImage, err error) {
	err = d.change(ctx, "bake", r.Environment, false, func(p *platform) error { p.bakes[r.Token] = true; return nil })
	if err == nil {
		err = d.takes(ctx, 20*time.Second)
	}
	if err != nil {
		return image, err
	}
	return image, d.change(ctx, "bake all", r.Environment, false, func(p *platform) error {
		env := p.envs[r.Environment]
		if env == nil || !p.bakes[r.Token] && image.ID == "" {
			return pipeline.Errorf(pipeline.CodeNotFound, "bake", "what is baked is gone")
		}
		delete(p.bakes, r.Token)
		image = pipeline.BakedImage{ID: env.images[cmp.Or(env.pending, env.serving)], Size: 1}
		p.images[image.ID] = true
		return nil
	})
}

func (d door) Abandon(ctx context.Context, token string) error {
	return d.change(ctx, "abandon", token, true, func(p *platform) error { delete(p.bakes, token); return nil })
}

func (d door) RemoveImage(ctx context.Context, id string) error {
	return d.change(ctx, "remove image", id, true, func(p *platform) error { delete(p.images, id); return nil })
}

func (d door) Orphans(ctx context.Context) (bakes, images []string, err error) {
	return bakes, nil, d.look(ctx, "remains", func(p *platform) error { bakes = slices.Sorted(maps.Keys(p.bakes)); return nil })
}

func (d door) Images(ctx context.Context) (images []pipeline.BakedImage, err error) {
	return images, d.look(ctx, "images", func(p *platform) error {
		for _, id := range slices.Sorted(maps.Keys(p.images)) {
			if id != "img-base" { // which somebody else has made
				images = append(images, pipeline.BakedImage{ID: id, Size: 1})
			}
		}
		return nil
	})
}

func (d door) Describe(ctx context.Context, ids ...string) (reports map[string]pipeline.EnvironmentReport, err error) {
	return reports, d.look(ctx, "describe", func(p *platform) error {
		if len(ids) == 0 {
			ids = slices.Collect(maps.Keys(p.envs))
		}
		reports = map[string]pipeline.EnvironmentReport{}
		for _, id := range ids {
			reports[id] = p.report(id)
		}
		return nil
	})
}

// report reports on an environment. The supervisor has ended one that has expired.
func (p *platform) report(id string) pipeline.EnvironmentReport {
	env := p.envs[id]
	if env == nil {
		return pipeline.EnvironmentReport{ID: id, Status: pipeline.EnvGone}
	}
	if !env.expires.IsZero() && !time.Now().Before(env.expires) {
		env.serving, env.pending, env.building = "", "", map[string]bool{}
		return pipeline.EnvironmentReport{ID: id, Status: pipeline.EnvExpired}
	}
	r := pipeline.EnvironmentReport{ID: id, Status: pipeline.EnvRunning, Serving: env.serving, Pending: env.pending, Instances: env.instances, Healthy: env.instances, ExpiresAt: env.expires}
	if env.serving != "" {
		r.Endpoint = "http://test/" + id
	}
	return r
}

func (d door) Exec(context.Context, string, string, pipeline.Command, io.Writer) (int, error) {
	return 0, nil
}

func (door) Resolve(_ context.Context, from pipeline.ImageFrom) (string, error) {
	return from.Image, nil
}

func (door) Publish(context.Context, pipeline.PublishRequest) (map[string]string, error) {
	return nil, nil
}
func (door) Point(context.Context, pipeline.PointRequest) error { return nil }
func (door) Strays(_ context.Context, pointed ...pipeline.PointRequest) ([]pipeline.Stray, error) {
	return make([]pipeline.Stray, len(pointed)), nil
}
func (door) Unpoint(context.Context, pipeline.UnpointRequest) error              { return nil }
func (door) CheckPublication(pipeline.Publication) error                         { return nil }
func (door) CheckTargets(context.Context, pipeline.PublishRequest, string) error { return nil }
func (door) CheckImage(pipeline.ImageDefinition) error                           { return nil }
func (door) Check(pipeline.EnvironmentSpec) error                                { return nil }
func (door) Foresee(context.Context, pipeline.Foresight) (string, error)         { return "", nil }
func (door) CheckLaunch(context.Context, string, string, *pipeline.Volume) error { return nil }
func (door) CheckService(pipeline.Service) error                                 { return nil }
func (door) LogCommand(lines int, _ bool) string                                 { return fmt.Sprint("log ", lines) }
