// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package draw makes pictures: a pipeline with the status of its stages, as SVG, as text, and
// in the languages of Mermaid and Graphviz; and numbers as SVG, lines over time with their
// limits, and bars. It decides nothing; package pipeline does. A picture describes itself to
// people who can't see it, and has light and dark colours.
//
//	svg := draw.GraphOf(state).SVG()
//	svg = draw.Lines{Title: "Latency", Unit: draw.Seconds, Series: series}.SVG()
package draw
