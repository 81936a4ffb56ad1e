// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"os"
	"path"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// BakeRequest asks for a baked image to be defined and baked.
type BakeRequest struct {
	Recipe  pipeline.Recipe
	Create  bool               // the caller knows of no such image yet: it takes over what there is
	Secrets []pipeline.Secrets // of the steps, by index; may be shorter
}

// RecipeRun is the name under which the bakes of a recipe stand in the list of runs.
func RecipeRun(name string) string { return "image/" + name }

// Bake records the recipe and gives its image: the one that exists, where an image
// was baked from the same inputs before, else a new one. Older images stay as long
// as they are needed.
func (e *Engine) Bake(ctx context.Context, r BakeRequest) (pipeline.Image, error) {
	recipe := r.Recipe
	leased, h, err := e.hold(ctx, recipeKey(recipe.Pipeline, recipe.Name), "bake of image "+recipe.Name)
	if err != nil {
		return pipeline.Image{}, err
	}
	defer e.release(ctx, h)
	st, err := e.recovered(leased, h, recipe.Pipeline, RecipeRun(recipe.Name))
	if err != nil {
		return pipeline.Image{}, err
	}
	recipe.ID, recipe.Made = "k-"+randomHex(8), e.madeNow()
	if old, ok := st.Recipes[recipe.Name]; ok {
		recipe.Image, recipe.Baked, recipe.Run = old.Image, old.Baked, old.Run
		if !r.Create {
			recipe.ID, recipe.Owner, recipe.Made = old.ID, old.Owner, old.Made
		}
	}
	var creation *pipeline.Creation
	if r.Create {
		if err := e.CheckCreate(leased, st, CreateRequest{Kind: pipeline.RecordRecipe, Name: recipe.Name}); err != nil {
			return pipeline.Image{}, err
		}
		if creation, err = e.creation(leased, recipe.Pipeline, pipeline.RecordRecipe, recipe.Name, recipe.ID); err != nil {
			return pipeline.Image{}, err
		}
	}
	image, err := e.bake(leased, h, st, recipe, creation, r.Secrets)
	if err == nil && r.Create {
		e.creations.created(recipe.Pipeline, pipeline.RecordRecipe, recipe.Name, recipe.ID)
	}
	return image, err
}

// bake gives the image of a recipe, under its lease.
func (e *Engine) bake(leased context.Context, h *held, st *pipeline.State, recipe pipeline.Recipe, creation *pipeline.Creation, secrets []pipeline.Secrets) (_ pipeline.Image, err error) {
	if recipe, err = e.Rebased(leased, st, recipe); err != nil {
		return pipeline.Image{}, err
	}
	if err := e.Platform.CheckRecipe(recipe); err != nil {
		return pipeline.Image{}, err
	}
	if image, ok, err := e.baked(leased, st, recipe); err != nil || ok {
		recipe.Image, recipe.Baked, recipe.Run = image.ID, recipe.Key(), image.Run
		if err := e.settleRecipe(leased, h, recipe, creation, err); err != nil {
			return image, err
		}
		return e.publish(leased, h, recipe, image)
	}
	image, err := e.bakeRun(leased, h, st, recipe, creation, secrets)
	if err != nil {
		return pipeline.Image{}, lostOr(leased, err)
	}
	if err := e.sweep(leased, h); err != nil {
		e.Logger.Warn("collect garbage", "pipeline", recipe.Pipeline, "error", err)
	}
	return e.publish(leased, h, recipe, image)
}

// publish puts an image where its recipe says, as far as it is not there. When it
// fails, the image stays, and the next call goes on.
func (e *Engine) publish(ctx context.Context, h *held, recipe pipeline.Recipe, image pipeline.Image) (pipeline.Image, error) {
	want := recipe.Publish.Digest()
	if image.Published == want {
		return image, nil
	}
	r := pipeline.PublishRequest{Image: image.ID, Labels: pipeline.Labels{Pipeline: recipe.Pipeline, Stage: RecipeRun(recipe.Name), Run: image.Run}}
	if recipe.Publish != nil {
		r.Publication = *recipe.Publish
	}
	if log, err := e.Logs.Create(ctx, recipe.Pipeline, image.Run); err == nil {
		defer log.Close()
		r.Log = log
	}
	copies, err := e.under(h.lease).Publish(ctx, r)
	if err != nil {
		return image, lostOr(ctx, fmt.Errorf("publish image %s: %w", image.ID, err))
	}
	image.Published, image.Copies = want, copies
	return image, e.append(ctx, recipe.Pipeline, &h.lease, pipeline.Event{Kind: pipeline.ImagePublished, Facts: pipeline.Facts{Image: &image}})
}

func (e *Engine) settleRecipe(ctx context.Context, h *held, recipe pipeline.Recipe, creation *pipeline.Creation, err error) error {
	if err != nil {
		return err
	}
	recipe.Settled = true
	return e.append(ctx, recipe.Pipeline, &h.lease, pipeline.Event{Kind: pipeline.RecipeDefined, Facts: pipeline.Facts{Recipe: &recipe, Creation: creation}})
}

// baked gives the image that the recipe's inputs yielded before, if the platform
// still has it.
func (e *Engine) baked(ctx context.Context, st *pipeline.State, recipe pipeline.Recipe) (pipeline.Image, bool, error) {
	image, ok := FindBaked(st, recipe)
	if !ok {
		return pipeline.Image{}, false, nil
	}
	on, err := e.platformImages(ctx)
	return image, err == nil && on[image.ID], err
}

// Rebased gives the recipe with the image that its bake starts from. Where the
// inputs are those of an image that exists, and the recipe does not follow its
// origin, that is the one of before.
func (e *Engine) Rebased(ctx context.Context, st *pipeline.State, recipe pipeline.Recipe) (pipeline.Recipe, error) {
	if old, ok := st.Recipes[recipe.Name]; ok && !recipe.Follow {
		recipe.Base = old.Base
		if _, baked := FindBaked(st, recipe); baked {
			return recipe, nil
		}
	}
	base, err := e.Platform.Resolve(ctx, recipe.From)
	recipe.Base = base
	return recipe, err
}

// FindBaked gives the recorded image that was baked from the recipe's inputs, the newest
// where there are several.
func FindBaked(st *pipeline.State, recipe pipeline.Recipe) (pipeline.Image, bool) {
	var found pipeline.Image
	key := recipe.Key()
	if old := st.Recipes[recipe.Name]; old.Baked == key {
		if image, ok := ImageOf(st, old); ok {
			return image, true
		}
	}
	for _, image := range st.Images {
		if image.Name == recipe.Name && image.Key == key && image.Order >= found.Order {
			found = image
		}
	}
	return found, found.ID != ""
}

// ImageOf gives the image that a recorded recipe has now. Where bakes of other names
// yielded the same one, it is recorded as one of those.
func ImageOf(st *pipeline.State, recipe pipeline.Recipe) (pipeline.Image, bool) {
	image, ok := st.Images[recipe.Image]
	if ok && recipe.Run != "" {
		image.Name, image.Run = recipe.Name, recipe.Run
	}
	return image, ok
}

// recordOf gives what to record of an image that was baked. Bakes of other names may have
// yielded the same one before: then it stays theirs.
func recordOf(st *pipeline.State, image pipeline.Image) pipeline.Image {
	if before, ok := st.Images[image.ID]; ok && before.Name != image.Name {
		return before
	}
	return image
}

func (e *Engine) platformImages(ctx context.Context) (map[string]bool, error) {
	images, err := e.Platform.Images(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	on := make(map[string]bool, len(images))
	for _, image := range images {
		on[image.ID] = true
	}
	return on, nil
}

// ImageExists reports whether the platform has the image. One plan asks for each
// image, and gets one answer.
func (e *Engine) ImageExists(ctx context.Context, id string) (bool, error) {
	e.images.mu.Lock()
	defer e.images.mu.Unlock()
	if e.images.on[id] && time.Since(e.images.asked) < e.believed() {
		return true, nil
	}
	asked := time.Now()
	on, err := e.platformImages(ctx)
	if err == nil {
		e.images.on, e.images.asked = on, asked
	}
	return on[id], err
}

// bakeRun bakes the recipe as a run with a log of its own.
func (e *Engine) bakeRun(ctx context.Context, h *held, st *pipeline.State, recipe pipeline.Recipe, creation *pipeline.Creation, secrets []pipeline.Secrets) (pipeline.Image, error) {
	name := RecipeRun(recipe.Name)
	a := &attempt{Engine: e, lease: h.lease, state: st, stage: pipeline.Stage{Pipeline: recipe.Pipeline, Name: name}}
	a.run = pipeline.Run{
		ID: e.newID(runPrefix), Pipeline: recipe.Pipeline, Stage: name, Kind: pipeline.KindBake, Digest: recipe.Key(),
		Status: pipeline.RunRunning, Phase: pipeline.PhaseCheckout, Why: "no image was baked from these inputs yet",
		Actor: e.Holder.Actor, Process: e.Holder.Process, StartedAt: e.Now().UTC(),
	}
	a.work = e.workDir(a.run.ID)
	if err := e.append(ctx, recipe.Pipeline, &h.lease, pipeline.Event{Kind: pipeline.RunStarted, Facts: pipeline.Facts{Run: &a.run, Recipe: &recipe, Creation: creation}}); err != nil {
		return pipeline.Image{}, err
	}
	log, err := e.createLog(ctx, recipe.Pipeline, a.run.ID)
	if err != nil {
		return pipeline.Image{}, a.fail(ctx, err)
	}
	defer log.Close()
	a.log = log
	image, err := a.bakeRecipe(ctx, recipe, secrets)
	if err != nil {
		return pipeline.Image{}, a.fail(ctx, lostOr(ctx, err))
	}
	a.run.Image = image.ID
	a.finish(pipeline.RunPassed)
	recipe.Image, recipe.Baked, recipe.Run, recipe.Settled = image.ID, recipe.Key(), a.run.ID, true
	record := recordOf(st, image)
	err = e.append(ctx, recipe.Pipeline, &h.lease, pipeline.Event{
		Kind: pipeline.ImageBaked, Facts: pipeline.Facts{Run: &a.run, Image: &record, Recipe: &recipe},
	})
	a.removeWork()
	return image, err
}

func (a *attempt) bakeRecipe(ctx context.Context, recipe pipeline.Recipe, secrets []pipeline.Secrets) (pipeline.Image, error) {
	if err := os.MkdirAll(a.work, 0o700); err != nil {
		return pipeline.Image{}, pipeline.Errorf(pipeline.CodeFailed, "make work directory", "%w", err)
	}
	err := a.Sources.Checkout(ctx, pipeline.CheckoutRequest{
		Repository: recipe.Source.Repository, Commit: recipe.Source.Commit, Dir: a.checkout(), Travels: true, // to the machine that bakes
	})
	if err != nil {
		return pipeline.Image{}, err
	}
	req := pipeline.BakeRequest{
		Token: a.run.ID, Inputs: recipe.Key(), Name: recipe.Name, Labels: a.labels(), Image: recipe.Base, Source: a.source(recipe),
		Cleanup: recipe.Cleanup, KMSKey: recipe.KMSKey, Log: a.log,
	}
	if recipe.From.Directory != "" {
		req.Tree = inside(a.source(recipe), recipe.From.Directory)
		if info, err := os.Stat(req.Tree); err != nil || !info.IsDir() {
			return pipeline.Image{}, pipeline.Errorf(pipeline.CodeInvalid, "bake image "+recipe.Name,
				"from.directory %q is not a directory of %s at %s", recipe.From.Directory, recipe.Source.Repository, recipe.Source.Commit).
				WithHint("Set from = { directory = … } to a directory of the source, relative to its root.")
		}
	}
	for i, step := range recipe.Steps {
		c, err := a.bakeCommand(recipe, step)
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
		ID: baked.ID, Pipeline: recipe.Pipeline, Name: recipe.Name, Key: recipe.Key(), Parent: recipe.Base,
		Run: a.run.ID, Commit: recipe.Source.Commit, Size: baked.Size, CreatedAt: a.Now().UTC(),
	}, nil
}

// source returns where the files are that an image is baked from.
func (a *attempt) source(recipe pipeline.Recipe) string {
	return inside(a.checkout(), recipe.Source.Directory())
}

// bakeCommand gives the command of a bake step.
func (a *attempt) bakeCommand(recipe pipeline.Recipe, step pipeline.Step) (pipeline.Command, error) {
	c := pipeline.Command{Name: step.Name, Line: step.Command, Timeout: step.Timeout, Env: map[string]string{
		"PENSTOCK_PIPELINE": recipe.Pipeline,
		"PENSTOCK_RUN":      a.run.ID,
		"PENSTOCK_REVISION": recipe.Source.Commit,
	}}
	for k, v := range step.Env {
		c.Env[k] = v
	}
	if step.Script == "" {
		return c, nil
	}
	script := inside(a.source(recipe), step.Script)
	if info, err := os.Stat(script); err != nil || !info.Mode().IsRegular() {
		return c, pipeline.Errorf(pipeline.CodeInvalid, "bake image "+recipe.Name,
			"script %q of step %q is not a file of the source", step.Script, step.Name).
			WithHint("Set script to a file of the source, relative to its root.")
	}
	c.Script = path.Clean(step.Script)
	return c, nil
}

// RemoveRecipe removes a baked image's definition and those of its images that nothing
// needs. A recipe that does not exist is no error, nor is one of another ID, which has
// taken the name over: that one stays.
func (e *Engine) RemoveRecipe(ctx context.Context, pipelineName, name, id string) error {
	leased, h, err := e.hold(ctx, recipeKey(pipelineName, name), "removal of image "+name)
	if err != nil {
		return err
	}
	defer e.release(ctx, h)
	st, err := e.fresh(leased, pipelineName)
	if err != nil {
		return err
	}
	if old, ok := st.Recipes[name]; !ok || old.ID != id {
		return nil
	}
	if err := e.recover(leased, h, st, RecipeRun(name)); err != nil {
		return err
	}
	err = e.append(leased, pipelineName, &h.lease, pipeline.Event{Kind: pipeline.RecipeRemoved, Facts: pipeline.Facts{
		Gone: []pipeline.Key{{Kind: pipeline.RecordRecipe, ID: name}, {Kind: pipeline.RecordLatest, ID: RecipeRun(name)}, pipeline.CreationKey(pipeline.RecordRecipe, name)},
	}})
	if err != nil {
		return err
	}
	return e.sweep(leased, h)
}
