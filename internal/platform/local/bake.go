// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/filetree"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/store"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace"
)

const (
	opBake = "bake image"

	// bakesDir is where trees are while commands change them. Each has a lock, which its
	// baker holds, so that the trees of dead bakers are recognized.
	bakesDir = "bakes"
)

// Resolve returns the image that a bake starts from. This platform has no AMIs.
func (p *Platform) Resolve(_ context.Context, from pipeline.ImageFrom) (string, error) {
	if from.AMI != "" || from.SSMParameter != "" || from.Filter != nil {
		return "", pipeline.Errorf(pipeline.CodeInvalid, opBake, "the local platform has no AMIs: from can't be ami, ssm_parameter or filter").
			WithAdvice(pipeline.Set("from.directory", "…", ""), pipeline.Set("from.image", "…", ""), pipeline.Set("aws", "{ … }", "the provider"))
	}
	return from.Image, nil
}

// Abandon removes the tree of a bake whose process died.
func (p *Platform) Abandon(context.Context, string) error {
	p.sweepBakes()
	return nil
}

// Bake makes an image. The commands run as processes of this machine in the root
// of a copy of the tree.
func (p *Platform) Bake(ctx context.Context, r pipeline.BakeRequest) (pipeline.BakedImage, error) {
	if err := checkID(opBake, "run", r.Token); err != nil {
		return pipeline.BakedImage{}, err
	}
	if err := p.admit(ctx, opBake); err != nil {
		return pipeline.BakedImage{}, protocol.Coded(ctx, opBake, err)
	}
	image, err := p.bake(ctx, r)
	return image, protocol.Coded(ctx, opBake, err)
}

func (p *Platform) bake(ctx context.Context, r pipeline.BakeRequest) (pipeline.BakedImage, error) {
	if len(r.Cleanup) > 0 {
		r.Commands = append(slices.Clone(r.Commands), pipeline.Command{Name: "cleanup", Line: strings.Join(r.Cleanup, "\n")})
	}
	tree, image, err := p.origin(ctx, r)
	if err != nil {
		return pipeline.BakedImage{}, err
	}
	if len(r.Commands) == 0 && tree == "" && image != "" { // nothing changes
		known, err := p.store.Image(ctx, image)
		return pipeline.BakedImage{ID: known.ID, Size: known.Size}, err
	}
	if len(r.Commands) == 0 && tree != "" && r.Tree == "" {
		return p.ingest(ctx, tree)
	}
	p.sweepBakes()
	dir := filepath.Join(p.Work, bakesDir, r.Token)
	lock, err := lockBake(ctx, dir)
	if err != nil {
		return pipeline.BakedImage{}, err
	}
	defer func() {
		_ = workplace.RemoveTree(dir)
		_ = os.Remove(filepath.Dir(dir)) // stays where there are others
		_ = lock.Close()
	}()
	work := filepath.Join(dir, protocol.InstanceRoot)
	if err := workplace.RemoveTree(work); err != nil {
		return pipeline.BakedImage{}, err
	}
	switch {
	case r.Tree != "": // of a work tree, perhaps
		err = filetree.CopyWithout(ctx, tree, work, filetree.GitDir)
	case tree != "":
		err = filetree.Copy(ctx, tree, work)
	default:
		err = filetree.Make(ctx, p.store, image, work, store.Options{})
	}
	if err != nil {
		return pipeline.BakedImage{}, err
	}
	for i, c := range r.Commands {
		do, err := bakeCommand(c, i, work, r.Source)
		if err == nil {
			_, err = do.must(ctx, r.Log)
		}
		if err != nil {
			return pipeline.BakedImage{}, err
		}
	}
	return p.ingest(ctx, work)
}

// lockBake makes the directory of a bake and takes its lock. A sweep may hold the
// lock for an instant, and remove the directory.
func lockBake(ctx context.Context, dir string) (lock *os.File, err error) {
	schedule := poll.Schedule{First: time.Millisecond, Max: 50 * time.Millisecond, Factor: 2, Limit: time.Second, What: "the lock of the bake"}
	err = poll.Until(ctx, schedule, func(context.Context) (poll.Probe, error) {
		err := os.MkdirAll(dir, 0o700)
		if err == nil {
			lock, err = protocol.TryLock(filepath.Join(dir, protocol.LockFile))
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = poll.Retryable(err)
		}
		return poll.Probe{Done: lock != nil, State: "it is held"}, err
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, pipeline.Errorf(pipeline.CodeConflict, opBake, "run %s is already baking the image", filepath.Base(dir))
	}
	return lock, err
}

// runScript runs a script by itself where it is executable, else by the shell.
const runScript = `if [ -x "$PENSTOCK_SCRIPT" ]; then exec "$PENSTOCK_SCRIPT"; else exec /bin/sh -e "$PENSTOCK_SCRIPT"; fi`

// bakeCommand returns the command of a bake's step.
func bakeCommand(c pipeline.Command, i int, root, source string) (command, error) {
	dir, err := inside(root, c.Dir)
	own := []string{"PENSTOCK_ROOT=" + root, "PENSTOCK_SOURCE=" + source}
	if c.Script != "" {
		script, outside := inside(source, c.Script)
		err = errors.Join(err, outside)
		own, c.Line = append(own, "PENSTOCK_SCRIPT="+script), runScript
	}
	v := withOwn(protocol.Variables{Env: apart(filepath.Dir(root), filepath.Dir(source))}, c.Env, c.Secrets)
	for _, s := range c.Mask {
		v.Secrets = append(v.Secrets, s.Reveal())
	}
	return command{
		what: "step " + cmp.Or(c.Name, fmt.Sprint(i+1)), line: c.Line, dir: dir,
		env: append(v.Env, own...), secrets: v.Secrets, timeout: c.Timeout,
	}, err
}

func (p *Platform) ingest(ctx context.Context, tree string) (pipeline.BakedImage, error) {
	image, err := p.store.Ingest(ctx, tree, func() error { return p.admit(ctx, opBake) })
	return pipeline.BakedImage{ID: image.ID, Size: image.Size, Packages: packages(tree)}, err
}

// origin returns the tree or the image that a bake starts from.
func (p *Platform) origin(ctx context.Context, r pipeline.BakeRequest) (tree, image string, err error) {
	given := 0
	for _, s := range []string{r.Tree, r.Image, r.Environment} {
		if s != "" {
			given++
		}
	}
	if given != 1 {
		return "", "", pipeline.Errorf(pipeline.CodeInvalid, opBake, "an image is made from exactly one of a tree, an image and an environment, not %d", given)
	}
	if r.Environment == "" {
		return r.Tree, r.Image, nil
	}
	var s protocol.Status
	if err := p.ask(ctx, r.Environment, opBake, "GET", protocol.PathStatus, nil, &s); err != nil {
		return "", "", err
	}
	fleet := cmp.Or(s.Report.Pending, s.Report.Serving)
	rec, err := protocol.ReadFleet(p.fleets(r.Environment), fleet)
	if err != nil {
		return "", "", fmt.Errorf("read fleet of environment %s: %w", r.Environment, err)
	}
	if rec.Installed {
		return filepath.Join(p.fleets(r.Environment), fleet, protocol.InstalledDir), "", nil
	}
	return "", rec.Image, nil
}

// sweepBakes removes the trees of bakers that have died.
func (p *Platform) sweepBakes() {
	dir := filepath.Join(p.Work, bakesDir)
	tokens, _ := names(dir)
	for _, token := range tokens {
		path := filepath.Join(dir, token)
		if lock, err := protocol.TryLock(filepath.Join(path, protocol.LockFile)); err == nil && lock != nil {
			if err := workplace.RemoveTree(path); err != nil {
				p.Logger.Warn("remove tree of a dead bake", "run", token, "error", err)
			}
			_ = lock.Close()
		}
	}
	_ = os.Remove(dir)
}

// Orphans implements pipeline.Platform. Nothing outlives its process for long: whatever
// is removed or baked next removes it.
func (p *Platform) Orphans(context.Context) (bakes, images []string, err error) {
	p.sweepBakes()
	return nil, nil, nil
}

// Images lists the images.
func (p *Platform) Images(ctx context.Context) ([]pipeline.BakedImage, error) {
	list, err := p.store.List(ctx)
	if err != nil {
		return nil, protocol.Coded(ctx, "list images", err)
	}
	images := make([]pipeline.BakedImage, len(list))
	for i, image := range list {
		images[i] = pipeline.BakedImage{ID: image.ID, Size: image.Size}
	}
	return images, nil
}

// CheckImage implements pipeline.Platform.
func (p *Platform) CheckImage(r pipeline.ImageDefinition) error {
	for _, a := range []struct {
		name string
		set  bool
	}{
		{"kms_key", r.KMSKey != ""}, {"publish", r.Publish != nil}, {"instance_type", r.Builder != ""}, {"volume", r.Volume != nil},
		{"instance_profile", r.Profile != ""}, {"security_groups", len(r.Groups) > 0},
	} {
		if a.set {
			return pipeline.Errorf(pipeline.CodeInvalid, "check image "+r.Name, "%s has no meaning on the local platform", a.name).
				WithAdvice(pipeline.Unset(a.name), pipeline.Set("aws", "{ … }", "the provider"))
		}
	}
	_, err := p.Resolve(context.Background(), r.From)
	return err
}

// RemoveImage removes an image that no fleet was made from.
func (p *Platform) RemoveImage(ctx context.Context, id string) error {
	const op = "remove image"
	p.sweepBakes()
	environments, err := names(filepath.Join(p.Work, protocol.EnvironmentsDir))
	if err != nil {
		return protocol.Coded(ctx, op, err)
	}
	for _, environment := range environments {
		fleets, err := names(p.fleets(environment))
		if err != nil {
			return protocol.Coded(ctx, op, err)
		}
		for _, fleet := range fleets {
			if rec, err := protocol.ReadFleet(p.fleets(environment), fleet); err == nil && rec.Image == id {
				return pipeline.Errorf(pipeline.CodeConflict, op, "environment %s was made from image %s", environment, id).
					WithHint("Destroy the environment, or move it to another build, first.")
			}
		}
	}
	return protocol.Coded(ctx, op, p.store.Remove(ctx, id, func() error { return p.admit(ctx, op) }))
}
