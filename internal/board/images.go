// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"context"
	"net/http"
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// images lists the images of a pipeline, what uses them, and those that are being baked.
func (b *Board) images(w http.ResponseWriter, r *http.Request, s *session) error {
	live, err := b.live(kindImages, r)
	if err != nil {
		return err
	}
	st, err := b.existing(r)
	if err != nil {
		return err
	}
	var body struct {
		Bakes  []report.Progress
		Images []report.ImageUse
	}
	if body.Bakes, err = b.bakes(r.Context(), st.Pipeline.Name); err != nil {
		return err
	}
	if body.Images, err = b.Engine.Reports.Images(r.Context(), st.Pipeline.Name); err != nil {
		return err
	}
	b.show(w, s, http.StatusOK, "images", view{Title: "Images · " + st.Pipeline.Name, Pipeline: st.Pipeline.Name, Tab: "images", Live: live, Body: body})
	return nil
}

// bakes returns the bakes that are under way: those of image definitions, and those
// of stages.
func (b *core) bakes(ctx context.Context, name string) ([]report.Progress, error) {
	all, err := b.Engine.Reports.UnderWay(ctx, name)
	return slices.DeleteFunc(all, func(p report.Progress) bool {
		return p.Run.Kind != pipeline.KindBake && p.Run.Phase != pipeline.PhaseBake
	}), err
}
