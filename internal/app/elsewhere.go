// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/penstock-io/terraform-provider-penstock/internal/artifact"
	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// View is a ledger that is read, and that nothing is changed in. It may be another team's. It
// is safe for concurrent use.
type View struct {
	id     string // of the ledger
	open   func(context.Context) (*ledger.View, error)
	place  string // where it is, in words
	region string // of AWS; empty for a data directory
	role   string // ARN, by which it is read; empty for none
	keep   string // directory in which it keeps what it has verified; empty: nowhere

	mu   sync.Mutex
	read map[string]*reading // by pipeline
}

// reading is a history as it was read and verified last.
type reading struct {
	sync.Mutex
	state *pipeline.State // nil before the first time
	ledger.Checked
}

// Passed is what a stage has passed, as a view says.
type Passed struct {
	pipeline.Elsewhere
	Of     pipeline.Build    // zero where no build has passed
	Images map[string]string // IDs of its image by region, where it is published
	At     time.Time         // it passed
}

// View returns the view of the ledger that is open.
func (a *App) View() *View {
	v := newView(func(context.Context) (*ledger.View, error) { return ledger.ViewOf(a.ledger, a.Identity), nil }, a.Identity, a.Place)
	v.KeepIn(a.VerifiedDir())
	return v
}

// VerifiedDir is the directory in which views keep what they have verified.
func (a *App) VerifiedDir() string { return filepath.Join(a.Dir, verifiedDir) }

func newView(open func(context.Context) (*ledger.View, error), id, place string) *View {
	return &View{open: open, id: id, place: place, read: map[string]*reading{}}
}

// ViewDir returns the view of the ledger in a data directory, and makes nothing there. The
// ledger is open only while it is read, so that a process that is killed leaves nothing there,
// either. Errors are CodeNotFound where there is none.
func ViewDir(ctx context.Context, dir string) (*View, error) {
	const op = "read ledger"
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, op, "%q: %w", dir, err)
	}
	open := func(ctx context.Context) (*ledger.View, error) {
		return ledger.OpenView(ctx, filepath.Join(dir, ledgerFile))
	}
	l, err := open(ctx)
	switch {
	case err == nil:
		return newView(open, l.ID, "data directory "+dir), l.Close()
	case !pipeline.IsNotFound(err):
		return nil, err
	case isFile(dir, contextFile):
		return nil, pipeline.Errorf(pipeline.CodeNotFound, op, "the pipelines of data directory %s are on AWS, and not in it", dir).
			WithHint("Name their region and stack in aws, in place of the directory.")
	}
	return nil, pipeline.Errorf(pipeline.CodeNotFound, op, "there is no ledger in %s", dir).
		WithHint("Name the data directory of the other configuration, and apply that configuration first.")
}

// ViewStack returns the view of the ledger of a stack on AWS. It needs the rights of the
// stack's reader role, and calls nothing else. Errors are CodeNotAllowed where AWS refuses
// it, and CodeNotFound where there is no such stack or ledger.
func ViewStack(ctx context.Context, at AWS) (*View, error) {
	if at.Stack == "" {
		at.Stack = bootstrap.DefaultName
	}
	c, err := cloud.Load(ctx, cloud.Options{Region: at.Region, Profile: at.Profile, AssumeRoles: at.AssumeRoles})
	if err != nil {
		return nil, err
	}
	v := newView(nil, "", fmt.Sprintf("stack %q of account %s in region %s on AWS", at.Stack, c.Account, c.Config.Region))
	v.region = c.Config.Region
	if n := len(at.AssumeRoles); n > 0 {
		v.role = at.AssumeRoles[n-1].ARN
	}
	made, err := bootstrap.Find(ctx, cloudformation.NewFromConfig(c.Config), at.Stack)
	if err != nil {
		return nil, v.refused(err)
	}
	if made.Table == "" {
		return nil, pipeline.Errorf(pipeline.CodeNotFound, "read ledger", "%s has no table with a ledger", v.place).WithHint("Name the stack that was made with the part support.")
	}
	l, err := ledger.ViewDynamo(ctx, ledger.DynamoOptions{
		Client: dynamodb.NewFromConfig(c.Config), Table: made.Table, Blobs: artifact.NewBlobs(s3.NewFromConfig(c.Config, cloud.Objects), made.Bucket),
	})
	if err != nil {
		return nil, v.refused(err)
	}
	v.id, v.open = l.ID, func(context.Context) (*ledger.View, error) { return l, nil }
	return v, nil
}

// with lets f read the ledger, and closes it.
func (v *View) with(ctx context.Context, f func(*ledger.View) error) error {
	l, err := v.open(ctx)
	if err == nil {
		err = errors.Join(f(l), l.Close())
	}
	return v.refused(err)
}

// refused says of an error as who AWS refused what, and what to do.
func (v *View) refused(err error) error {
	if err == nil || pipeline.CodeOf(err) != pipeline.CodeNotAllowed {
		return err
	}
	as := "the caller"
	if v.role != "" {
		as = "role " + v.role
	}
	return pipeline.Errorf(pipeline.CodeNotAllowed, "read ledger", "%s may not read the ledger of %s: %w", as, v.place, err).
		WithHint("Ask the owners of that stack for its reader role, and assume that. The guide to IAM lists what it may do.")
}

// Passed returns which build a stage has passed, from the history, which is read and verified
// once, and again when it has come further. A stage that has passed none is no error. Errors are CodeNotFound
// for a pipeline or a stage that there is not, or not any more, and CodeCorrupt for a history
// that is not what was written.
func (v *View) Passed(ctx context.Context, name, stage string) (Passed, error) {
	const op = "read what passed"
	st, head, err := v.verified(ctx, name)
	switch {
	case err != nil:
		return Passed{}, err
	case !st.Exists():
		return Passed{}, v.noPipeline(ctx, op, name, head)
	}
	of, ok := st.Stages[stage]
	switch {
	case !ok:
		var names []string
		for _, s := range st.StagesInOrder() {
			names = append(names, s.Name)
		}
		return Passed{}, pipeline.Errorf(pipeline.CodeNotFound, op, "pipeline %q in %s has no stage %q", name, v.place, stage).WithHint("Its stages are %s.", orNone(names))
	case !of.TakesBuild():
		return Passed{}, pipeline.Errorf(pipeline.CodeInvalid, op, "stage %q of pipeline %q is of type %s, and takes no builds, so none can pass it", stage, name, of.Type).
			WithHint("Name a stage that takes builds.")
	}
	p := Passed{Elsewhere: pipeline.Elsewhere{Ledger: v.id, Pipeline: name, Stage: stage, Build: pipeline.Reliable(st, stage), Head: head}}
	if p.Build == "" {
		return p, nil
	}
	p.Of, p.At = st.Builds[p.Build], pipeline.PassedAt(st, stage, p.Build)
	p.Number = p.Of.Number
	p.Images = v.images(st, p.Of)
	return p, nil
}

// verified returns a pipeline's state, and the event up to which its history was verified.
func (v *View) verified(ctx context.Context, name string) (st *pipeline.State, head pipeline.Anchor, err error) {
	v.mu.Lock()
	r := v.read[name]
	if r == nil {
		r = &reading{}
		v.read[name] = r
	}
	v.mu.Unlock()
	r.Lock()
	defer r.Unlock()
	err = v.with(ctx, func(l *ledger.View) error {
		if r.state != nil {
			if head, err := l.Newest(ctx, name); err != nil || head == r.Head {
				return err
			}
		} else {
			r.Checked = v.kept(l.ID, name)
		}
		st, checked, err := l.Verified(ctx, name, r.Checked)
		if err != nil {
			return err
		}
		if r.state, r.Checked = st, checked; len(checked.Records) > 0 {
			v.store(l.ID, name, checked)
		}
		return nil
	})
	return r.state, r.Head, err
}

// KeepIn makes the view keep in a directory, from one process to the next, what it has verified
// of long histories on AWS, so that it reads only what has come since. What is kept there may be
// lost, and nobody relies on it: the ledger must agree with it.
func (v *View) KeepIn(dir string) { v.keep = dir }

// keptVersion is of the form of what is kept. Another one is as good as none.
const keptVersion = 1

// keptReading is what is kept of a history.
type keptReading struct {
	Version  int    `json:"version"`
	Ledger   string `json:"ledger"`
	Pipeline string `json:"pipeline"`
	ledger.Checked
}

func (v *View) keptFile(id, name string) string {
	return filepath.Join(v.keep, pipeline.HashOf([]byte(id + " " + name))[:16]+".json")
}

// kept returns what was verified before; nothing where that is not known.
func (v *View) kept(id, name string) ledger.Checked {
	var k keptReading
	data, err := os.ReadFile(v.keptFile(id, name))
	if v.keep == "" || err != nil || json.Unmarshal(data, &k) != nil || k.Version != keptVersion || k.Ledger != id || k.Pipeline != name {
		return ledger.Checked{}
	}
	return k.Checked
}

// store keeps what was verified. If that fails, the next process verifies the whole again.
func (v *View) store(id, name string, checked ledger.Checked) {
	if v.keep == "" {
		return
	}
	data, err := json.Marshal(keptReading{keptVersion, id, name, checked})
	if err != nil || os.MkdirAll(v.keep, 0o700) != nil {
		return
	}
	temp, err := os.CreateTemp(v.keep, "new-*")
	if err != nil {
		return
	}
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), v.keptFile(id, name))
	}
	if err != nil {
		_ = os.Remove(temp.Name())
	}
}

// noPipeline says why there is no pipeline of a name.
func (v *View) noPipeline(ctx context.Context, op, name string, head pipeline.Anchor) error {
	if head.Sequence > 0 {
		return pipeline.Errorf(pipeline.CodeNotFound, op, "pipeline %q was removed from %s", name, v.place).
			WithHint("Remove what refers to it, or have its owners apply it again.")
	}
	var names []string
	err := v.with(ctx, func(l *ledger.View) (err error) {
		names, err = l.Pipelines(ctx)
		return err
	})
	if err != nil {
		return err
	}
	return pipeline.Errorf(pipeline.CodeNotFound, op, "there is no pipeline %q in %s", name, v.place).
		WithHint("The pipelines there are %s. A pipeline of a namespace is named with it, as in two.shop.", orNone(names))
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// images returns the IDs of a build's image by region: of its application image, else of the
// base image.
func (v *View) images(st *pipeline.State, b pipeline.Build) map[string]string {
	id := b.Image
	if id == "" {
		id = b.BaseImage
	}
	if copies := st.Images[id].Copies; len(copies) > 0 {
		return copies
	}
	if id == "" || v.region == "" {
		return nil
	}
	return map[string]string{v.region: id}
}

// CheckAnchor reports, with CodeCorrupt, that a pipeline's history has not the event that an
// anchor names.
func (v *View) CheckAnchor(ctx context.Context, name string, anchor pipeline.Anchor) error {
	return v.with(ctx, func(l *ledger.View) error { return pipeline.CheckAnchor(ctx, l, name, anchor) })
}
