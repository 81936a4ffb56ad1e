// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/forge"
)

// ForgeOf returns where the pages of a build's repository are: as the stage that made the
// build says, else by the repository's address.
func ForgeOf(st *pipeline.State, b pipeline.Build) forge.Forge {
	web := ""
	if s := st.Stages[b.Stage].Source; s != nil && s.Repository == b.Revision.Repository {
		web = s.Web
	}
	return forge.Of(b.Revision.Repository, web)
}

// NameOf returns a build as people name it. Of one that was collected, it returns the ID
// alone.
func NameOf(st *pipeline.State, id string) Named {
	b := st.Builds[id]
	return Named{
		ID: id, Number: b.Number, Commit: b.Revision.Commit, Message: pipeline.FirstLine(b.Revision.Message), Author: b.Revision.Author,
		URL: ForgeOf(st, b).Commit(b.Revision.Commit), Made: b.CreatedAt,
	}
}

// Commit is a commit with what became of the build that was made of it.
type Commit struct {
	pipeline.Revision
	URL      string   `json:"url,omitempty"`
	Build    string   `json:"build,omitempty"`          // that was made of it, if it is retained
	Number   int64    `json:"number,omitempty"`         // of that build, as people say it
	Rejected string   `json:"rejected_stage,omitempty"` // the stage at which that build stands rejected
	Failed   []string `json:"failed_stages,omitempty"`  // stages at which it failed
}

// commits returns commits with their links and builds.
func commits(st *pipeline.State, f forge.Forge, revisions []pipeline.Revision) []Commit {
	list := []Commit{}
	for _, r := range revisions {
		list = append(list, Commit{Revision: r, URL: f.Commit(r.Commit)})
	}
	mark(st, list)
	return list
}

// Marked returns a comparison with the marks of builds as they are in a state. It shares all
// else with d.
func (d Diff) Marked(st *pipeline.State) Diff {
	d.Ahead, d.Behind = slices.Clone(d.Ahead), slices.Clone(d.Behind)
	mark(st, d.Ahead)
	mark(st, d.Behind)
	return d
}

// mark fills in the newest build of each commit, and how it fared.
func mark(st *pipeline.State, list []Commit) {
	of := map[string]pipeline.Build{}
	for b := range st.NewestBuilds() {
		if _, newer := of[b.Revision.Commit]; !newer {
			of[b.Revision.Commit] = b
		}
	}
	for i, c := range list {
		b := of[c.Commit]
		c.Build, c.Number, c.Rejected, c.Failed = b.ID, b.Number, "", nil
		if b.ID != "" {
			c.Rejected = st.RejectedAt(b.ID)
			for _, s := range st.StagesInOrder() {
				if st.Outcome(s, b.ID) == pipeline.OutcomeFailed {
					c.Failed = append(c.Failed, s.Name)
				}
			}
		}
		list[i] = c
	}
}
