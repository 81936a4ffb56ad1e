// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package draw makes pictures: a pipeline with where its stages are, as SVG, as text, and in
// the languages of Mermaid and Graphviz; and numbers as SVG, lines over time with the limits
// that they have to keep, and bars. It decides nothing; package pipeline does. A picture
// says what it shows to who can't see it, and has colours by light and by dark.
//
//	svg := draw.GraphOf(state).SVG()
//	svg = draw.Lines{Title: "Latency", Unit: draw.Seconds, Series: series}.SVG()
package draw
