// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

type imagesOptions struct {
	*factory
	pipeline string
}

func newImages(f *factory, runF func(context.Context, *imagesOptions) error) *cobra.Command {
	o := &imagesOptions{factory: f}
	if runF == nil {
		runF = runImages
	}
	return &cobra.Command{
		Use:   "images [PIPELINE]",
		Short: "List images, what they were baked from, and what uses them",
		Long: "List the images of a pipeline, or of all: what they were baked from, and what keeps them. `penstock gc`\n" +
			"removes images that nothing keeps. Without PIPELINE, also list images that no record names.",
		Args: args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline = arg(given, 0)
			return runF(c.Context(), o)
		},
	}
}

func runImages(ctx context.Context, o *imagesOptions) error {
	return o.with(ctx, func(a *app.App) error {
		images, err := a.Engine.Reports.Images(ctx, o.pipeline)
		if err != nil || o.json {
			return o.printDone(err, images, "")
		}
		t := o.newTable("PIPELINE", "NAME", "IMAGE", "FROM", "BUILD", "SIZE", "BAKED", "USED BY")
		for _, i := range images {
			t.row(i.Pipeline, i.Name, i.ID, i.Parent, present.Build(i.BuildNumber, i.Build), present.Size(i.Size), present.Ago(o.now(), i.CreatedAt), usedBy(i))
		}
		return t.flush()
	})
}

func usedBy(i report.ImageUse) string {
	text := strings.Join(i.Uses, ", ")
	switch {
	case !i.There && text != "":
		return "it is gone, but needed by " + text
	case !i.There:
		return "it is gone"
	case text == "":
		return "nothing: `penstock gc` removes it"
	}
	return text
}
