// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/app/apptest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// A promotion can be cancelled until an apply takes it up, by who may promote. Then the form that
// was open does nothing, and says so.
func TestCancelPromotion(t *testing.T) {
	b := newBed(t)
	b.authorize = &pipeline.Authorization{Deploy: []string{"ann", "carol"}}
	b.serve(behind)
	ann, bob, carol := b.as("ann"), b.as("bob"), b.as("carol")
	b.apply()
	one := b.newest()
	b.press(ann, "approve", stageBuild("exploratory", one), nil, http.StatusOK)
	cancel := "do/cancel-promotion?" + url.Values{"build": {one}, "stage": {"production"}}.Encode()
	b.lacks(b.want(ann, http.MethodGet, "/p/shop", nil, http.StatusOK), "cancel-promotion")
	b.press(ann, "promote", stageBuild("production", one), nil, http.StatusOK, "is promoted to stage production", "Promoted by ann", "waits for an apply that moves it to", cancel)
	page := b.want(bob, http.MethodGet, "/p/shop", nil, http.StatusOK, ">Cancel the promotion</button>", "Only ann or carol may cancel the promotion.")
	b.lacks(page, cancel)
	b.want(bob, http.MethodGet, "/p/shop/"+cancel, nil, http.StatusOK, "has no right to")

	open := form(b.want(carol, http.MethodGet, "/p/shop/"+cancel, nil, http.StatusOK, "which ann made at", "is taken back", "It can be promoted again."))
	b.press(ann, "cancel-promotion", stageBuild("production", one), nil, http.StatusOK, "The promotion of build "+b.named(one)+" to stage production is cancelled.", "can be promoted to")
	b.want(carol, http.MethodPost, "/p/shop/do/cancel-promotion", open, http.StatusConflict, "there is no promotion that waits for an apply")
	b.apply()
	if current := b.state().Current["production"].Build; current != "" {
		t.Fatalf("production went to %s in spite of it", current)
	}

	b.press(ann, "promote", stageBuild("production", one), nil, http.StatusOK)
	late := form(b.want(ann, http.MethodGet, "/p/shop/"+cancel, nil, http.StatusOK, "is taken back"))
	b.apply()
	b.want(ann, http.MethodPost, "/p/shop/do/cancel-promotion", late, http.StatusConflict, "there is no promotion that waits for an apply")
	if current := b.state().Current["production"].Build; current != one {
		t.Errorf("production's current build is %q", current)
	}
	b.lacks(b.want(ann, http.MethodGet, "/p/shop", nil, http.StatusOK), "cancel-promotion")
}

// The pages of an approval and of a promotion show the evidence: what runs, the commits with
// what became of them, tests, loads beside their limits, who approved, what follows, and the way
// back.
func TestDecisionPages(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	b.apply()
	one := b.newest()
	b.press(b.client, "approve", stageBuild("exploratory", one), nil, http.StatusOK)
	b.press(b.client, "promote", stageBuild("production", one), nil, http.StatusOK)
	b.apply()
	b.commit("2", "Leak <b>memory</b>")
	b.apply()
	two := b.newest()
	b.press(b.client, "reject", stageBuild("exploratory", two), url.Values{"reason": {"it leaks"}}, http.StatusOK)
	b.commit("3", "Mend it")
	b.apply()
	three := b.newest()

	says := func(action, stage string, texts ...string) string {
		t.Helper()
		page := b.get("/p/shop/do/"+action+"?"+stageBuild(stage, three).Encode(), `<a class="code" href="/p/shop/builds/`+one+`">#1</a>`)
		text := words(page)
		for _, want := range append([]string{
			"Mend it #3 " + three, "Runs now #1 Begin in production", "2 commits, 1 of a build that was rejected", "application 1 file, +1 −1 lines",
			"Tests, commit 2 tests, none failed; the current build: 2, none failed", "2 commits that it brings", "Leak <b>memory</b>", "Nobody watches: run terraform apply",
		}, texts...) {
			if !strings.Contains(text, want) {
				t.Errorf("the page to %s does not say %q: %s", action, want, text)
			}
		}
		if at := strings.Index(text, "What is known"); at < 0 || at > strings.Index(text, "Builds and digests") {
			t.Errorf("digests come before the evidence: %s", text)
		}
		return page
	}
	says("approve", "exploratory", "passes stage exploratory, on the evidence of run", "It may then enter production.", "To take it back, reject the build")
	b.press(b.client, "approve", stageBuild("exploratory", three), url.Values{"reason": {"tried on a phone"}}, http.StatusOK)
	page := says("promote", "production", "Load, capacity/expected p99 ", "limit 5s, the current build: ", "exploratory approved by "+b.app.Person().Name, "tried on a phone",
		"Stage production moves from build "+b.named(one)+" to build "+b.named(three), "To go back to "+b.named(one))
	if len(form(page)) == 0 {
		t.Error("there is nothing to press")
	}
}

// The page of a decision shows the chain of the build: what it came after in another pipeline,
// where its image is published, and where it runs. So does the page of the run.
func TestChainOnPages(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	b.apply()
	one := b.newest()
	b.press(b.client, "approve", stageBuild("exploratory", one), nil, http.StatusOK)
	b.press(b.client, "promote", stageBuild("production", one), nil, http.StatusOK)
	b.apply()
	st := b.state()
	production, result := st.Stages["production"], st.Latest["production"]
	run, err := apptest.Ledger(t, b.app).Run(t.Context(), "shop", result.ID)
	if err != nil {
		t.Fatal(err)
	}
	on := pipeline.Elsewhere{Ledger: "l-other", Pipeline: "images", Stage: "tested", Build: "b-00000000a1", Number: 7, Head: pipeline.Anchor{Sequence: 41, Hash: strings.Repeat("9f", 32)}}
	production.Elsewhere, run.Elsewhere = []pipeline.Elsewhere{on}, []pipeline.Elsewhere{on}
	channel := pipeline.Channel{
		Pipeline: "shop", Stage: "production", Name: "/shop/<image>", At: time.Now(), ChannelImage: pipeline.ChannelImage{Build: one, Image: "ami-1", Images: map[string]string{"eu-west-1": "ami-1"}},
	}
	apptest.Append(t, b.app, pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{
		{Kind: pipeline.StageDefined, Facts: pipeline.Facts{Stage: &production}}, {Kind: pipeline.RunEnded, Facts: pipeline.Facts{Run: &run}}, {Kind: pipeline.ChannelMoved, Facts: pipeline.Facts{Channel: &channel}},
	}})
	elsewhere := `stage "tested" of pipeline "images" had passed #7 (b-00000000a1); ledger l-other, verified up to event ` + on.Head.String()
	for page, texts := range map[string][]string{
		"/p/shop/do/override?" + stageBuild("production", one).Encode(): {
			"production comes after " + elsewhere + "; read before run " + run.ID, "Channel of production /shop/<image> has led to it for", "ami-1 in eu-west-1", "Runs in production running for",
		},
		"/p/shop/runs/" + run.ID: {"Came after " + elsewhere},
	} {
		text := words(b.get(page))
		for _, want := range texts {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not say %q: %s", page, want, text)
			}
		}
	}
}
