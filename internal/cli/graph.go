// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/draw"
)

type graphOptions struct {
	*factory
	target
	format, file string
}

func newGraph(f *factory, runF func(context.Context, *graphOptions) error) *cobra.Command {
	o := &graphOptions{factory: f}
	if runF == nil {
		runF = runGraph
	}
	c := &cobra.Command{
		Use:   "graph [PIPELINE]",
		Short: "Draw a pipeline with the status of its stages",
		Long: "Draw a pipeline with the status of its stages: as text, as an SVG, or in the languages of Mermaid or Graphviz\n" +
			"(DOT). Without --format, the end of the file's name says which (.svg, .mmd or .dot); otherwise it is text.\n" +
			"PIPELINE may be left out if there is only one.",
		Args: args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			o.pipeline = arg(given, 0)
			if o.format == "" {
				o.format = cmp.Or(formatOf[filepath.Ext(o.file)], "text")
			}
			if formats[o.format] == nil {
				return &usageError{fmt.Errorf("--format %q is none of text, svg, mermaid and dot", o.format)}
			}
			return runF(c.Context(), o)
		},
	}
	c.Flags().StringVar(&o.format, "format", "", "text, svg, mermaid or dot (default: by the end of the file's name, otherwise text)")
	c.Flags().StringVarP(&o.file, "output", "o", "", "a new file to write (default: standard output)")
	return c
}

// formats are how a graph can be written.
var formats = map[string]func(draw.Graph) string{
	"text":    func(g draw.Graph) string { return g.Text(0) },
	"svg":     draw.Graph.SVG,
	"mermaid": draw.Graph.Mermaid,
	"dot":     draw.Graph.DOT,
}

// formatOf says which format the end of a file's name asks for.
var formatOf = map[string]string{".svg": "svg", ".mmd": "mermaid", ".dot": "dot", ".gv": "dot"}

// drawing is the JSON shape of a graph.
type drawing struct {
	Pipeline string `json:"pipeline"`
	Format   string `json:"format"`
	Graph    string `json:"graph"` // in the format
}

func runGraph(ctx context.Context, o *graphOptions) error {
	return o.with(ctx, func(a *app.App) error {
		if err := o.resolve(ctx, a, "draw a pipeline", &o.target); err != nil {
			return err
		}
		states, err := selectPipelines(ctx, a, o.pipeline)
		if err != nil {
			return err
		}
		graph := draw.GraphOf(states[o.pipeline])
		text := formats[o.format](graph)
		if width, _ := screenOf(o.Out).size(); o.format == "text" && o.file == "" && !o.json {
			text = graph.Text(width)
		}
		if o.json {
			return o.printJSON(drawing{o.pipeline, o.format, text})
		}
		return o.write(o.file, func(w io.Writer) error {
			_, err := io.Copy(w, strings.NewReader(text))
			return err
		})
	})
}
