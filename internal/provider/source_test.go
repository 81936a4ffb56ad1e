// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
)

// TestAccRevision follows a revision into the build: what the plan digested is what the
// build has. A revision that is written by hand may have the digest alone.
func TestAccRevision(t *testing.T) {
	b := newBench(t)
	config := func(revision string) string {
		return fmt.Sprintf(`
provider "penstock" { data_dir = %q }
data "penstock_source" "s" {
  repository     = %q
  ref            = "main"
  infrastructure = ["image/**"]
  data           = ["db/**"]
  ignore         = ["*.md"]
}
resource "penstock_pipeline" "p" { name = "shop" }
resource "penstock_stage" "commit" {
  pipeline = penstock_pipeline.p.name
  type     = "commit"
  source   = %s
}`, b.dir, b.repo, revision)
	}
	const byHand = `{
    repository = data.penstock_source.s.repository
    commit     = data.penstock_source.s.commit
    digest     = data.penstock_source.s.revision.digest
  }`
	digested := func(want func(source.Snapshot) pipeline.Components) statecheck.StateCheck {
		return stateCheck(func() (err error) {
			b.open(func(a *app.App) error {
				paths := pipeline.Paths{Infrastructure: []string{"image/**"}, Data: []string{"db/**"}, Ignore: []string{"*.md"}}
				snapshot, e := a.Source.Snapshot(context.Background(), source.Query{Repository: b.repo, Ref: "main", Paths: paths})
				if e != nil {
					return e
				}
				st, e := a.Engine.State(context.Background(), "shop")
				if e != nil {
					return e
				}
				build, ok := st.Builds[pipeline.BuildID("shop", snapshot.Source.Digest, "")]
				if got := build.Revision; !ok || got.Components != want(snapshot) || got.Author != snapshot.Author {
					err = fmt.Errorf("the build is of %+v; the commit has %+v", got, snapshot.Components)
				}
				return e
			})
			return err
		})
	}
	walk(t,
		resource.TestStep{
			Config:            config("data.penstock_source.s.revision"),
			ConfigStateChecks: []statecheck.StateCheck{digested(func(s source.Snapshot) pipeline.Components { return s.Components })},
		},
		resource.TestStep{
			Config:           config(byHand), // the same files: nothing moves
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}},
		},
		resource.TestStep{
			PreConfig: func() { b.commit("two") }, Config: config(byHand),
			ConfigStateChecks: []statecheck.StateCheck{digested(func(source.Snapshot) pipeline.Components { return pipeline.Components{} })},
		},
	)
}
