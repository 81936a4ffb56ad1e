// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"context"
	"fmt"
	"os"
	"path"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/lock"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// BakeRequest asks for a baked image to be defined and baked.
type BakeRequest struct {
	Definition pipeline.ImageDefinition
	Create     bool               // the caller knows of no such image yet: it takes over an existing one
	Secrets    []pipeline.Secrets // of the steps, by index; may be shorter
}

// Bake records the definition and returns its image: the existing one, if an image was baked
// from the same inputs before, else a new one. Older images stay as long as they are needed.
func (im *Images) Bake(ctx context.Context, r BakeRequest) (pipeline.Image, error) {
	definition := r.Definition
	leased, h, err := im.locks.Lock(ctx, lock.Image(definition.Pipeline, definition.Name), "bake of image "+definition.Name)
	if err != nil {
		return pipeline.Image{}, err
	}
	defer im.locks.Unlock(ctx, h)
	st, err := im.recovered(leased, h, definition.Pipeline, pipeline.ImageRun(definition.Name))
	if err != nil {
		return pipeline.Image{}, err
	}
	definition.ID, definition.Made = "k-"+state.RandomHex(8), im.creations.stamp()
	if old, ok := st.ImageDefinitions[definition.Name]; ok {
		definition.Image, definition.Baked, definition.Run = old.Image, old.Baked, old.Run
		if !r.Create {
			definition.ID, definition.Owner, definition.Made = old.ID, old.Owner, old.Made
		}
	}
	var creation *pipeline.Creation
	if r.Create {
		if err := im.creations.Check(leased, st, CreateRequest{Kind: pipeline.RecordImageDefinition, Name: definition.Name}); err != nil {
			return pipeline.Image{}, err
		}
		if creation, err = im.creations.creation(leased, definition.Pipeline, pipeline.RecordImageDefinition, definition.Name, definition.ID); err != nil {
			return pipeline.Image{}, err
		}
	}
	image, err := im.bake(leased, h, st, definition, creation, r.Secrets)
	if err == nil && r.Create {
		im.creations.created(definition.Pipeline, pipeline.RecordImageDefinition, definition.Name, definition.ID)
	}
	return image, err
}

// bake returns the image of a definition, under its lease.
func (im *Images) bake(leased context.Context, h *lock.Lock, st *pipeline.State, definition pipeline.ImageDefinition, creation *pipeline.Creation, secrets []pipeline.Secrets) (_ pipeline.Image, err error) {
	if definition, err = im.Rebased(leased, st, definition); err != nil {
		return pipeline.Image{}, err
	}
	if err := im.platform.CheckImage(definition); err != nil {
		return pipeline.Image{}, err
	}
	if image, ok, err := im.baked(leased, st, definition); err != nil || ok {
		definition.Image, definition.Baked, definition.Run = image.ID, definition.Key(), image.Run
		if err := im.finishImage(leased, h, definition, creation, err); err != nil {
			return image, err
		}
		return im.publish(leased, h, definition, image)
	}
	image, err := im.bakeRun(leased, h, st, definition, creation, secrets)
	if err != nil {
		return pipeline.Image{}, lock.LostOr(leased, err)
	}
	if err := im.collector.Sweep(leased, h); err != nil {
		im.logger.Warn("collect garbage", "pipeline", definition.Pipeline, "error", err)
	}
	return im.publish(leased, h, definition, image)
}

// publish puts an image into the places that its definition names, as far as it is not there.
// If it fails, the image stays, and the next call goes on.
func (im *Images) publish(ctx context.Context, h *lock.Lock, definition pipeline.ImageDefinition, image pipeline.Image) (pipeline.Image, error) {
	want := definition.Publish.Digest()
	if image.Published == want {
		return image, nil
	}
	r := pipeline.PublishRequest{Image: image.ID, Labels: pipeline.Labels{Pipeline: definition.Pipeline, Stage: pipeline.ImageRun(definition.Name), Run: image.Run}}
	if definition.Publish != nil {
		r.Publication = *definition.Publish
	}
	if file, err := im.logs.Create(ctx, definition.Pipeline, image.Run); err == nil {
		log := im.newLog(file)
		defer log.Close()
		r.Log = log
	}
	copies, err := im.under(h.Lease).Publish(ctx, r)
	if err != nil {
		return image, lock.LostOr(ctx, fmt.Errorf("publish image %s: %w", image.ID, err))
	}
	if r.Publication.Parameter != "" {
		err := im.under(h.Lease).Point(ctx, pipeline.PointRequest{Name: r.Publication.Parameter, Images: copies, Labels: r.Labels, Log: r.Log})
		if err != nil {
			return image, lock.LostOr(ctx, fmt.Errorf("publish image %s: %w", image.ID, err))
		}
	}
	image.Published, image.Copies = want, copies
	return image, im.states.Append(ctx, definition.Pipeline, &h.Lease, pipeline.Event{Kind: pipeline.ImagePublished, Facts: pipeline.Facts{Image: &image}})
}

func (im *Images) finishImage(ctx context.Context, h *lock.Lock, definition pipeline.ImageDefinition, creation *pipeline.Creation, err error) error {
	if err != nil {
		return err
	}
	definition.Applied = true
	return im.states.Append(ctx, definition.Pipeline, &h.Lease, pipeline.Event{Kind: pipeline.ImageDefined, Facts: pipeline.Facts{ImageDefinition: &definition, Creation: creation}})
}

// baked returns the image that its inputs yielded before, if the platform still has it.
func (im *Images) baked(ctx context.Context, st *pipeline.State, definition pipeline.ImageDefinition) (pipeline.Image, bool, error) {
	image, ok := FindBaked(st, definition)
	if !ok {
		return pipeline.Image{}, false, nil
	}
	on, err := im.platformImages(ctx)
	return image, err == nil && on[image.ID], err
}

// Rebased returns the definition with the image that its bake starts from. That is the
// earlier one if the inputs are those of an existing image and the definition does not follow
// its origin.
func (im *Images) Rebased(ctx context.Context, st *pipeline.State, definition pipeline.ImageDefinition) (pipeline.ImageDefinition, error) {
	if old, ok := st.ImageDefinitions[definition.Name]; ok && !definition.Follow {
		definition.Base = old.Base
		if _, baked := FindBaked(st, definition); baked {
			return definition, nil
		}
	}
	base, err := im.platform.Resolve(ctx, definition.From)
	definition.Base = base
	return definition, err
}

// FindBaked returns the recorded image that was baked from the inputs of a definition; the
// newest if there are several.
func FindBaked(st *pipeline.State, definition pipeline.ImageDefinition) (pipeline.Image, bool) {
	var found pipeline.Image
	key := definition.Key()
	if old := st.ImageDefinitions[definition.Name]; old.Baked == key {
		if image, ok := ImageOf(st, old); ok {
			return image, true
		}
	}
	for _, image := range st.Images {
		if image.Name == definition.Name && image.Key == key && image.Order >= found.Order {
			found = image
		}
	}
	return found, found.ID != ""
}

// ImageOf returns the present image of a recorded definition. If bakes of other names yielded
// the same image, it is recorded as one of those.
func ImageOf(st *pipeline.State, definition pipeline.ImageDefinition) (pipeline.Image, bool) {
	image, ok := st.Images[definition.Image]
	if ok && definition.Run != "" {
		image.Name, image.Run = definition.Name, definition.Run
	}
	return image, ok
}

// recordOf returns what to record of a baked image. If bakes of other names yielded the same
// one before, it stays theirs.
func recordOf(st *pipeline.State, image pipeline.Image) pipeline.Image {
	if before, ok := st.Images[image.ID]; ok && before.Name != image.Name {
		return before
	}
	return image
}

func (im *Images) platformImages(ctx context.Context) (map[string]bool, error) {
	images, err := im.platform.Images(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	on := make(map[string]bool, len(images))
	for _, image := range images {
		on[image.ID] = true
	}
	return on, nil
}

// Check refuses an image that the platform can't make or publish.
func (im *Images) Check(definition pipeline.ImageDefinition) error {
	return im.platform.CheckImage(definition)
}

// CheckBuilder refuses an image that can't be baked on an instance of the type that its
// definition names, or with that volume.
func (im *Images) CheckBuilder(ctx context.Context, definition pipeline.ImageDefinition) error {
	if definition.Base == "" {
		return nil
	}
	return im.platform.CheckLaunch(ctx, definition.Base, definition.Builder, definition.Volume)
}

// Resolve returns the image that a bake starts from; empty for a directory.
func (im *Images) Resolve(ctx context.Context, from pipeline.ImageFrom) (image string, err error) {
	return im.platform.Resolve(ctx, from)
}

// Exists reports whether the platform has the image. One plan asks for each image, and gets
// one answer.
func (im *Images) Exists(ctx context.Context, id string) (bool, error) {
	im.found.mu.Lock()
	defer im.found.mu.Unlock()
	if im.found.on[id] && time.Since(im.found.asked) < im.states.Believed() {
		return true, nil
	}
	asked := time.Now()
	on, err := im.platformImages(ctx)
	if err == nil {
		im.found.on, im.found.asked = on, asked
	}
	return on[id], err
}

// bakeRun bakes the definition as a run with a log of its own.
func (im *Images) bakeRun(ctx context.Context, h *lock.Lock, st *pipeline.State, definition pipeline.ImageDefinition, creation *pipeline.Creation, secrets []pipeline.Secrets) (pipeline.Image, error) {
	name := pipeline.ImageRun(definition.Name)
	a := &attempt{core: im.core, lease: h.Lease, state: st}
	a.run = pipeline.Run{
		ID: im.states.NewID(pipeline.RunPrefix), Pipeline: definition.Pipeline, Stage: name, Kind: pipeline.KindBake, Digest: definition.Key(),
		Status: pipeline.RunRunning, Phase: pipeline.PhaseCheckout, Why: "no image was baked from these inputs yet",
		Actor: im.holder.Actor, Process: im.holder.Process, StartedAt: im.now().UTC(),
	}
	a.work = im.workDir(a.run.ID)
	if err := im.states.Append(ctx, definition.Pipeline, &h.Lease, pipeline.Event{Kind: pipeline.RunStarted, Facts: pipeline.Facts{Run: &a.run, ImageDefinition: &definition, Creation: creation}}); err != nil {
		return pipeline.Image{}, err
	}
	log, err := im.createLog(ctx, definition.Pipeline, a.run.ID, StageSecrets{Steps: secrets}.all()...)
	if err != nil {
		return pipeline.Image{}, a.fail(ctx, err)
	}
	a.log = log
	defer a.closeLog()
	image, err := a.bakeImage(ctx, definition, secrets)
	if err != nil {
		return pipeline.Image{}, a.fail(ctx, lock.LostOr(ctx, err))
	}
	a.run.Image = image.ID
	a.finish(pipeline.RunPassed)
	definition.Image, definition.Baked, definition.Run, definition.Applied = image.ID, definition.Key(), a.run.ID, true
	record := recordOf(st, image)
	err = im.states.Append(ctx, definition.Pipeline, &h.Lease, pipeline.Event{
		Kind: pipeline.ImageBaked, Facts: pipeline.Facts{Run: &a.run, Image: &record, ImageDefinition: &definition},
	})
	a.removeWork()
	return image, err
}

func (a *attempt) bakeImage(ctx context.Context, definition pipeline.ImageDefinition, secrets []pipeline.Secrets) (pipeline.Image, error) {
	if err := os.MkdirAll(a.work, 0o700); err != nil {
		return pipeline.Image{}, pipeline.Errorf(pipeline.CodeFailed, "create work directory", "%w", err)
	}
	err := a.sources.Checkout(ctx, pipeline.CheckoutRequest{
		Repository: definition.Source.Repository, Commit: definition.Source.Commit, Dir: a.checkout(), Travels: true, // to the machine that bakes
	})
	if err != nil {
		return pipeline.Image{}, err
	}
	req := pipeline.BakeRequest{
		Token: a.run.ID, Started: a.run.StartedAt, Inputs: definition.Key(), Name: definition.Name, Labels: a.labels(), Image: definition.Base, Source: a.source(definition),
		Cleanup: definition.Cleanup, KMSKey: definition.KMSKey, Builder: definition.Builder, Volume: definition.Volume, Profile: definition.Profile, Groups: definition.Groups, Log: a.log,
	}
	if definition.From.Directory != "" {
		req.Tree = inside(a.source(definition), definition.From.Directory)
		if info, err := os.Stat(req.Tree); err != nil || !info.IsDir() {
			return pipeline.Image{}, pipeline.Errorf(pipeline.CodeInvalid, "bake image "+definition.Name,
				"from.directory %q is not a directory of %s at %s", definition.From.Directory, definition.Source.Repository, definition.Source.Commit).
				WithHint("Set from.directory to a directory of the source, relative to its root.")
		}
	}
	for i, step := range definition.Steps {
		c, err := a.bakeCommand(definition, step)
		if err != nil {
			return pipeline.Image{}, err
		}
		c.Secrets, c.Mask = StageSecrets{Steps: secrets}.step(i), StageSecrets{Steps: secrets}.all()
		req.Commands = append(req.Commands, c)
	}
	if err := a.enter(ctx, pipeline.PhaseBake); err != nil {
		return pipeline.Image{}, err
	}
	baked, err := a.under(a.lease).Bake(ctx, req)
	if err != nil {
		return pipeline.Image{}, err
	}
	return pipeline.Image{
		ID: baked.ID, Pipeline: definition.Pipeline, Name: definition.Name, Key: definition.Key(), Parent: definition.Base,
		Run: a.run.ID, Commit: definition.Source.Commit, Size: baked.Size, CreatedAt: a.now().UTC(), Packages: a.keepPackages(ctx, baked),
	}, nil
}

// source returns where the files are that an image is baked from.
func (a *attempt) source(definition pipeline.ImageDefinition) string {
	return inside(a.checkout(), definition.Source.Directory())
}

// bakeCommand returns the command of a bake step.
func (a *attempt) bakeCommand(definition pipeline.ImageDefinition, step pipeline.Step) (pipeline.Command, error) {
	c := pipeline.Command{Name: step.Name, Line: step.Command, Timeout: step.Timeout, Env: map[string]string{
		"PENSTOCK_PIPELINE": definition.Pipeline,
		"PENSTOCK_RUN":      a.run.ID,
		"PENSTOCK_REVISION": definition.Source.Commit,
	}}
	for k, v := range step.Env {
		c.Env[k] = v
	}
	if step.Script == "" {
		return c, nil
	}
	script := inside(a.source(definition), step.Script)
	if info, err := os.Stat(script); err != nil || !info.Mode().IsRegular() {
		return c, pipeline.Errorf(pipeline.CodeInvalid, "bake image "+definition.Name,
			"script %q of step %q is not a file of the source", step.Script, step.Name).
			WithHint("Set script to a file of the source, relative to its root.")
	}
	c.Script = path.Clean(step.Script)
	return c, nil
}

// Remove removes a baked image's definition and those of its images that nothing needs. A
// definition that does not exist is no error. A definition of another ID has taken the name
// over: it stays, without an error.
func (im *Images) Remove(ctx context.Context, pipelineName, name, id string) error {
	leased, h, err := im.locks.Lock(ctx, lock.Image(pipelineName, name), "removal of image "+name)
	if err != nil {
		return err
	}
	defer im.locks.Unlock(ctx, h)
	st, err := im.states.Fresh(leased, pipelineName)
	if err != nil {
		return err
	}
	if old, ok := st.ImageDefinitions[name]; !ok || old.ID != id {
		return nil
	}
	if err := im.recover(leased, h, st, pipeline.ImageRun(name)); err != nil {
		return err
	}
	err = im.states.Append(leased, pipelineName, &h.Lease, pipeline.Event{Kind: pipeline.ImageUndefined, Facts: pipeline.Facts{
		Gone: []pipeline.Key{{Kind: pipeline.RecordImageDefinition, ID: name}, {Kind: pipeline.RecordLatest, ID: pipeline.ImageRun(name)}, pipeline.CreationKey(pipeline.RecordImageDefinition, name)},
	}})
	if err != nil {
		return err
	}
	return im.collector.Sweep(leased, h)
}
