// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package draw

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// shop is a pipeline in the middle of its life.
func shop(t *testing.T) *pipeline.State {
	t.Helper()
	var records []pipeline.Record
	put := func(kind pipeline.RecordKind, id string, v any) {
		doc, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, pipeline.Record{Key: pipeline.Key{Kind: kind, ID: id}, Version: int64(len(records) + 1), Doc: doc})
	}
	p := pipeline.Pipeline{Name: "shop", Service: pipeline.Service{Start: "start"}}
	put(pipeline.RecordPipeline, "shop", p)
	put(pipeline.RecordImageDefinition, "base", pipeline.ImageDefinition{Name: "base", Image: "img-1"})
	build := pipeline.BuildID("shop", "x", "img-1")
	put(pipeline.RecordBuild, build, pipeline.Build{ID: build, Pipeline: "shop", Stage: "commit", Order: 1})
	for _, s := range []struct {
		kind   pipeline.StageType
		after  []string
		status pipeline.RunStatus
	}{
		{pipeline.TypeCommit, nil, pipeline.RunPassed}, {pipeline.TypeAcceptance, []string{"commit"}, pipeline.RunPassed},
		{pipeline.TypeExploratory, []string{"acceptance"}, pipeline.RunPassed}, {pipeline.TypeCapacity, []string{"acceptance"}, pipeline.RunFailed},
		{pipeline.TypePreProduction, []string{"exploratory", "capacity"}, ""}, {pipeline.TypeProduction, []string{"pre-production"}, ""},
	} {
		stage := pipeline.Stage{Pipeline: "shop", Type: s.kind, After: s.after}.WithDefaults(nil, nil)
		if s.kind == pipeline.TypeCommit {
			stage.Source, stage.BaseImage = &pipeline.SourceRef{Digest: "x"}, "img-1"
		}
		put(pipeline.RecordStage, stage.Name, stage)
		if s.status != "" {
			run := pipeline.RunSummary{ID: "r-" + stage.Name, Stage: stage.Name, Kind: pipeline.KindStage, Build: build, Digest: stage.Digest(p), Status: s.status, Error: "p99 is 312ms & <more> than 200ms"}
			put(pipeline.RecordLatest, stage.Name, run)
			put(pipeline.RecordResult, pipeline.StageBuild(stage.Name, build)+"/"+run.Digest, run)
			put(pipeline.RecordCurrent, stage.Name, pipeline.Current{Stage: stage.Name, Build: build})
		}
	}
	st, err := pipeline.NewState(records)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestOf(t *testing.T) {
	g := GraphOf(shop(t))
	var got []string
	for _, n := range g.Nodes {
		got = append(got, fmt.Sprintf("%s %s %d/%d", n.Name, n.Status, n.Column, n.Row))
	}
	want := "image/base passed 0/0|commit passed 1/0|acceptance passed 2/0|exploratory waiting 3/0|capacity failed 3/1|pre-production waiting 4/0|production waiting 5/0"
	if strings.Join(got, "|") != want {
		t.Errorf("nodes %s\nwant  %s", strings.Join(got, "|"), want)
	}
	edges := 0
	g.Edges(func(from, to int) {
		edges++
		if g.Nodes[from].Column >= g.Nodes[to].Column {
			t.Errorf("%s is not left of %s", g.Nodes[from].Name, g.Nodes[to].Name)
		}
	})
	if edges != 7 {
		t.Errorf("%d edges", edges)
	}
}

// No two boxes overlap, and all are inside of the picture.
func TestLayout(t *testing.T) {
	for name, g := range map[string]Graph{"shop": GraphOf(shop(t)), "wide": wide(30), "none": {Title: "none"}} {
		t.Run(name, func(t *testing.T) {
			taken := map[[2]int]string{}
			for _, n := range g.Nodes {
				at := [2]int{n.Column, n.Row}
				if taken[at] != "" {
					t.Errorf("%s lies over %s", n.Name, taken[at])
				}
				taken[at] = n.Name
			}
			wellFormed(t, g.SVG())
			look(t, name, g.SVG())
		})
	}
}

// wide is a pipeline of many stages that fan out and in.
func wide(n int) Graph {
	g := Graph{Title: "wide"}
	for i := range n {
		node := Node{Name: fmt.Sprintf("stage-%d", i), Kind: "custom", Status: gate.Statuses[i%len(gate.Statuses)], Tone: Tones[i%len(Tones)].Tone, Build: "b-0123456789"}
		if i > 0 {
			node.After = []string{fmt.Sprintf("stage-%d", (i-1)/3)}
		}
		if i > 20 {
			node.After = append(node.After, "stage-2")
		}
		g.Nodes = append(g.Nodes, node)
	}
	g.place()
	return g
}

func wellFormed(t *testing.T, text string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatalf("it is no XML: %v\n%s", err, text)
		}
	}
}

// look keeps the picture for people to look at.
func look(t *testing.T, name, svg string) {
	t.Helper()
	if dir := os.Getenv("PENSTOCK_PICTURES"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".svg"), []byte(svg), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

const hostile = "a\"];<script>alert(1)</script>\n%%{init}%% &amp; \\ \x1b[31m\u202e`#`\xff -->"

// Whatever a name or an error contains stays text.
func TestHostile(t *testing.T) {
	g := Graph{Title: hostile, Nodes: []Node{{Name: hostile, Kind: hostile, Status: "failed", Tone: "failed", Build: hostile, Note: hostile}, {Name: "b", Status: "idle", Tone: "idle", After: []string{hostile}}}}
	g.place()
	svg := g.SVG()
	wellFormed(t, svg)
	if strings.Contains(svg, "<script") || strings.ContainsAny(svg, "\x1b\u202e") {
		t.Errorf("the picture has %s", svg)
	}
	if tree := g.Text(0); strings.Count(tree, "\n") != 3 || strings.ContainsAny(tree, "\x1b\u202e") {
		t.Errorf("text:\n%s", tree)
	}
	mermaid := g.Mermaid()
	if lines := strings.Split(strings.TrimSpace(mermaid), "\n"); len(lines) != 4+len(Tones) || strings.Count(mermaid, `"`) != 4 || strings.ContainsAny(mermaid, "`\\&\x1b") || strings.Contains(mermaid, "<script") {
		t.Errorf("mermaid:\n%s", mermaid)
	}
	dot := g.DOT()
	if strings.Count(dot, "\n") != 7 || strings.Contains(dot, "\x1b") || !strings.Contains(dot, `a\"];<script>`) {
		t.Errorf("dot:\n%s", dot)
	}
}

func TestText(t *testing.T) {
	g := GraphOf(shop(t))
	if got := g.Mermaid(); !strings.HasPrefix(got, "flowchart LR\n  n0[\"image/base<br>passed<br>img-1\"]:::passed\n") || !strings.Contains(got, "  n2 --> n3\n") || !strings.Contains(got, "classDef failed") {
		t.Errorf("mermaid:\n%s", got)
	}
	if got := g.DOT(); !strings.HasPrefix(got, "digraph \"shop\" {\n") || !strings.Contains(got, "  n2 -> n3\n") {
		t.Errorf("dot:\n%s", got)
	}
	tree := g.Text(0)
	for _, want := range []string{"shop\n└─ image/base  passed  img-1\n   └─ commit  passed", "\n         ├─ exploratory  waiting", "\n         └─ capacity  failed", "\n            └─ pre-production  waiting  (also after exploratory): waits for "} {
		if !strings.Contains(tree, want) {
			t.Errorf("no %q in the tree:\n%s", want, tree)
		}
	}
	if strings.Count(tree, "\n") != 1+len(g.Nodes) {
		t.Errorf("the tree has not a line for each node:\n%s", tree)
	}
	svg := g.SVG()
	if !strings.Contains(svg, "capacity: failed, b-") || !strings.Contains(svg, "p99 is 312ms &amp; &lt;more&gt;") {
		t.Errorf("svg:\n%s", svg)
	}
}
