// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"context"
	"fmt"
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/state"
)

// Diff is what differs between two builds: what a promotion of the second would release to a
// stage that runs the first.
type Diff struct {
	Pipeline   string  `json:"pipeline"`
	From       string  `json:"from"`
	To         string  `json:"to"`
	FromNumber int64   `json:"from_number"`             // of the first build, as people say it
	ToNumber   int64   `json:"to_number"`               // of the second build, as people say it
	URL        string  `json:"url,omitempty"`           // of a page that compares the commits
	Stage      string  `json:"stage,omitempty"`         // the stage whose current build it is compared with, if no build was named
	ToStage    string  `json:"to_stage,omitempty"`      // the stage whose current build is compared, if it was named
	Waits      string  `json:"waiting_stage,omitempty"` // the stage at which the newer build waits for a decision, if no build was named
	Parts      []Part  `json:"parts"`                   // what differs of artifact, base image and image
	Lineage    Lineage `json:"lineage"`
	// Packages are the differences between the images. They are known only of baked images
	// whose packages the platform could list.
	Packages []pipeline.PackageChange `json:"packages"`
	// Infrastructure is what the module of the second build would do in the environments of
	// the stages that it is compared for; absent where no module makes them.
	Infrastructure []Infrastructure      `json:"infrastructure,omitempty" shape:"infrastructure_plans"`
	Ahead          []Commit              `json:"ahead"`  // that the second build has and the first has not, the newest first
	Behind         []Commit              `json:"behind"` // the reverse: what a rollback takes back
	Files          []pipeline.FileChange `json:"files"`  // that differ, by path
	// Migrations are the files of the data component that the second build adds or changes.
	Migrations []Migration `json:"migrations"`
	Cut        bool        `json:"cut,omitempty"` // there are more commits or files than are listed
	// Unknown says why commits and files could not be compared; empty if they were.
	Unknown string `json:"unknown,omitempty"`
}

// Migration is a file by which service.migrate migrates the data.
type Migration struct {
	Path   string `json:"path"`
	Change string `json:"change"` // added or changed
}

// migrations returns the files of the data component that are added or changed.
func migrations(files []pipeline.FileChange) []Migration {
	all := []Migration{}
	for _, f := range files {
		if f.Component == "data" && f.Change != pipeline.FileRemoved {
			all = append(all, Migration{f.Path, f.Change})
		}
	}
	return all
}

// Part is a part of a build that differs.
type Part struct {
	Name string `json:"name"`           // artifact, base image or image
	From string `json:"from,omitempty"` // digest or ID in the first build; empty if that has none
	To   string `json:"to,omitempty"`   // the same of the second
}

// Lineage is the images that the images of the two builds were baked from, the image itself
// first.
type Lineage struct {
	From []string `json:"from_images"` // IDs of images, of the first build
	To   []string `json:"to_images"`   // and of the second
}

// Diff compares two builds. Each is named by its ID, by its number, or by a stage whose
// current build it is. An empty from is the current build of the last stage that people move
// or whose environment is persistent. An empty to, or one that names a stage beside an empty
// from, is the newest build that may enter there, or that waits for a decision on its way
// there.
func (r *Reports) Diff(ctx context.Context, pipelineName, from, to string) (Diff, error) {
	const op = "compare builds"
	st, err := r.states.Existing(ctx, pipelineName)
	if err != nil {
		return Diff{}, err
	}
	d := Diff{Pipeline: pipelineName, Parts: []Part{}, Packages: []pipeline.PackageChange{}}
	if _, is := st.Stages[to]; is && from == "" {
		from, to = to, ""
	}
	if d.From, d.Stage, err = operand(st, from); err != nil {
		return d, err
	}
	if d.To, d.ToStage, err = operand(st, to); err != nil {
		return d, err
	}
	if from == "" || d.To == "" && d.Stage != "" {
		if d, err = nextRelease(st, d); err != nil {
			return d, err
		}
	}
	a, okA := st.Builds[d.From]
	b, okB := st.Builds[d.To]
	switch {
	case !okA:
		return d, state.NoBuild(op, pipelineName, d.From)
	case !okB:
		return d, state.NoBuild(op, pipelineName, d.To)
	}
	for _, p := range []Part{{"artifact", digestOf(a), digestOf(b)}, {"base image", a.BaseImage, b.BaseImage}, {"image", a.Image, b.Image}} {
		if p.From != p.To {
			d.Parts = append(d.Parts, p)
		}
	}
	d.FromNumber, d.ToNumber = a.Number, b.Number
	d.URL = ForgeOf(st, b).Compare(a.Revision.Commit, b.Revision.Commit)
	d.Lineage = Lineage{lineage(st, a), lineage(st, b)}
	d.Infrastructure = infrastructureBetween(st, d)
	r.compare(ctx, st, a, b, &d)
	d.Packages, err = r.packages(ctx, st, d.Lineage)
	return d, err
}

// operand finds the build that an operand names: by its ID, by its number, or as the current
// build of a stage, whose name it returns then. An empty operand names none.
func operand(st *pipeline.State, name string) (build, stage string, err error) {
	s, ok := st.Stages[name]
	if name == "" || !ok {
		return pipeline.FindBuildID(st, name), "", nil
	}
	if build = st.Current[name].Build; build == "" {
		return "", name, pipeline.Errorf(pipeline.CodeRefused, "compare builds", "stage %q has no current build yet", s.Name).
			WithHint("Name a build.").WithAdvice(pipeline.Advice{Verb: pipeline.VerbListBuilds, Pipeline: st.Pipeline.Name})
	}
	return build, name, nil
}

// nextRelease fills in what a promotion would release: only the builds.
func nextRelease(st *pipeline.State, d Diff) (Diff, error) {
	const op = "compare builds"
	stage, current, ok := st.Delivered()
	if d.Stage != "" {
		stage, current, ok = st.Stages[d.Stage], d.From, true
	}
	if !ok {
		return d, pipeline.Errorf(pipeline.CodeRefused, op, "no stage with a manual trigger or a persistent environment has a current build yet").
			WithHint("Name two builds.").WithAdvice(pipeline.Advice{Verb: pipeline.VerbListBuilds, Pipeline: d.Pipeline})
	}
	d.Stage, d.From = stage.Name, current
	if d.To == "" {
		if d.To, d.Waits = gate.NextRelease(st, stage); d.To == "" {
			return d, pipeline.Errorf(pipeline.CodeRefused, op, "no build newer than %s, the current build of stage %q, may enter it or waits for a decision", current, stage.Name).
				WithHint("Name the builds.").WithAdvice(pipeline.Advice{Verb: pipeline.VerbListBuilds, Pipeline: d.Pipeline})
		}
	}
	return d, nil
}

// compare compares the commits and files of two builds. If a repository can't be read, that
// is no failure: what the ledger has is shown all the same.
func (r *Reports) compare(ctx context.Context, st *pipeline.State, a, b pipeline.Build, d *Diff) {
	d.Ahead, d.Behind, d.Files, d.Migrations = []Commit{}, []Commit{}, []pipeline.FileChange{}, []Migration{}
	if a.Revision.Repository != b.Revision.Repository {
		d.Unknown = fmt.Sprintf("the builds are of different repositories, %s and %s", a.Revision.Repository, b.Revision.Repository)
		return
	}
	var paths *pipeline.Paths
	if source := st.Stages[b.Stage].Source; source != nil {
		paths = source.Paths
	}
	c, err := r.sources.Compare(ctx, b.Revision.Repository, a.Revision.Commit, b.Revision.Commit, paths)
	if err != nil {
		d.Unknown = err.Error()
		return
	}
	f := ForgeOf(st, b)
	d.Ahead, d.Behind, d.Files, d.Cut = commits(st, f, c.Ahead), commits(st, f, c.Behind), c.Files, c.Cut
	d.Migrations = migrations(c.Files)
}

func digestOf(b pipeline.Build) string {
	if b.Artifact == nil {
		return ""
	}
	return b.Artifact.Digest
}

// lineage follows the images that an image of a build was baked from.
func lineage(st *pipeline.State, b pipeline.Build) []string {
	images := []string{}
	id := b.Image
	if id == "" {
		id = b.BaseImage
	}
	for id != "" && !slices.Contains(images, id) {
		images = append(images, id)
		id = st.Images[id].Parent
	}
	return images
}
