// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// imagesPage is a page of the images that a search finds.
type imagesPage struct {
	Bakes              []report.Progress
	Images             []report.ImageUse
	Search             string
	Found, All         int
	From, To           int
	Newer, Older, Page int // pages; 0 for none
}

// choose takes the page of the images that have all words of a search in what the table says.
func (p *imagesPage) choose(all []report.ImageUse, search, page string) {
	p.Search, p.All = search, len(all)
	found := slices.DeleteFunc(slices.Clone(all), func(i report.ImageUse) bool {
		text := strings.ToLower(strings.Join(append([]string{i.ID, i.Name, i.Parent, i.Build}, i.Uses...), " "))
		for word := range strings.FieldsSeq(strings.ToLower(search)) {
			if !strings.Contains(text, word) {
				return true
			}
		}
		return false
	})
	p.Found = len(found)
	pages := max((p.Found+rowsPerPage-1)/rowsPerPage, 1)
	n, _ := strconv.Atoi(page)
	p.Page = min(max(n, 1), pages)
	p.Newer = p.Page - 1
	if p.Page < pages {
		p.Older = p.Page + 1
	}
	from := (p.Page - 1) * rowsPerPage
	p.To = min(from+rowsPerPage, p.Found)
	p.From = min(from+1, p.To)
	p.Images = found[from:p.To]
}

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
	var body imagesPage
	if body.Bakes, err = b.bakes(r.Context(), st.Pipeline.Name); err != nil {
		return err
	}
	all, err := b.Engine.Reports.Images(r.Context(), st.Pipeline.Name)
	if err != nil {
		return err
	}
	body.choose(all, strings.TrimSpace(r.URL.Query().Get("q")), r.URL.Query().Get("page"))
	b.show(w, s, http.StatusOK, "images", view{Title: "Images · " + st.Pipeline.Name, Pipeline: st.Pipeline.Name, Tab: "images", Live: live, Body: body, State: st})
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
