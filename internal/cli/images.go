// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

type imagesOptions struct {
	*factory
	pipeline string
	channel  string
}

func newImages(f *factory, runF func(context.Context, *imagesOptions) error) *cobra.Command {
	o := &imagesOptions{factory: f}
	if runF == nil {
		runF = runImages
	}
	c := &cobra.Command{
		Use:   "images [PIPELINE]",
		Short: "List images, what they were baked from, and what uses them",
		Long: "List the images of a pipeline, or of all: what they were baked from, and what keeps them. `penstock gc`\n" +
			"removes images that nothing keeps. Without PIPELINE, also list images that no record names.\n\n" +
			"With --channel, say to which image a channel leads, of which build, and since when.",
		Args: args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline = arg(given, 0)
			return runF(c.Context(), o)
		},
	}
	c.Flags().StringVar(&o.channel, "channel", "", "only the image to which the channel of this `NAME` leads")
	return c
}

func runImages(ctx context.Context, o *imagesOptions) error {
	return o.with(ctx, func(a *app.App) error {
		look := a.Engine.Reports.Images
		if o.channel != "" {
			look = func(ctx context.Context, name string) ([]report.ImageUse, error) {
				return a.Engine.Reports.ImagesOf(ctx, name, o.channel)
			}
		}
		images, err := look(ctx, o.pipeline)
		if err != nil || o.json {
			return o.printDone(err, images, "")
		}
		if o.channel != "" {
			return o.leads(images)
		}
		t := o.newTable("PIPELINE", "NAME", "IMAGE", "FROM", "BUILD", "SIZE", "BAKED", "USED BY")
		for _, i := range images {
			t.row(i.Pipeline, i.Name, i.ID, i.Parent, present.Build(i.BuildNumber, i.Build), present.Size(i.Size), present.Ago(o.now(), i.CreatedAt), usedBy(i))
		}
		return t.flush()
	})
}

// leads says where channels lead, each with its image in every region.
func (o *imagesOptions) leads(images []report.ImageUse) error {
	t := o.newTable("CHANNEL", "PIPELINE", "STAGE", "BUILD", "ID", "SINCE", "REGION", "IMAGE")
	for _, i := range images {
		for _, c := range i.Channels {
			for _, region := range slices.Sorted(maps.Keys(c.Images)) {
				t.row(c.Name, c.Pipeline, c.Stage, present.Build(c.BuildNumber, c.Build), c.Build, present.Ago(o.now(), c.Since), region, c.Images[region])
			}
		}
	}
	return t.flush()
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
