// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/app/apptest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// lacks fails where a page says something.
func (b *bed) lacks(page string, texts ...string) {
	b.Helper()
	for _, text := range texts {
		if strings.Contains(page, text) {
			b.Errorf("the page says %q:\n%s", text, words(page))
		}
	}
}

// contains fails where a page does not say something.
func (b *bed) contains(page string, texts ...string) {
	b.Helper()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			b.Errorf("the page does not say %q:\n%s", text, words(page))
		}
	}
}

// cardOf returns the part of the board's page that is about a stage.
func (b *bed) cardOf(stage string) string {
	b.Helper()
	_, rest, found := strings.Cut(b.get("/p/shop"), `id="stage-`+stage+`"`)
	card, _, ends := strings.Cut(rest, "</li>")
	if !found || !ends {
		b.Fatalf("there is no card of stage %s", stage)
	}
	return card
}

// A run that failed says why, and for which build, and can be asked for again.
func TestFailedRun(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	b.apply()
	one := b.newest()
	b.lacks(b.get("/p/shop"), "commit</strong> failed")
	b.commit("bad", "Break it")
	if err := b.tryApply(); err == nil {
		t.Fatal("the bad commit passes")
	}
	two, run := b.newest(), b.state().Latest["commit"].ID
	step := "/p/shop/runs/" + run + "?step=unit+tests#log"
	b.get("/p/shop", `Step <a href="`+step+`">unit tests</a>: exit status 1`)
	b.get(strings.TrimSuffix(step, "#log"), `data-goto="`)
	again := "do/retry?stage=commit"
	b.get("/p/shop", "commit</strong> failed for", two, "Break it", again)
	if card := b.cardOf("commit"); !strings.Contains(card, "builds/"+two) || !strings.Contains(words(card), "next: failed") || !strings.Contains(card, "builds/"+one) {
		t.Errorf("the card says %q", words(card))
	}
	b.get("/p/shop/runs/"+run, again, "2 tests, <span class=\"trouble\">1 failed", "answers", "it answers with nothing", "exit status 1")
	b.get("/p/shop/builds/"+two, "✕", "failed")
	b.press(b.client, "retry", stageBuild("commit", ""), nil, http.StatusOK, "Stage commit runs again with the next apply", "asked for another run")
	b.lacks(b.get("/p/shop"), again)
	b.lacks(b.get("/p/shop/runs/"+run), again)
	b.get("/p/shop/do/"+strings.TrimPrefix(again, "do/"), "already asked for another run")
	if err := b.tryApply(); err == nil || b.state().Latest["commit"].ID == run {
		t.Fatalf("it did not run again: %v", err)
	}
	b.lacks(b.get("/p/shop/runs/"+run), again) // it has been followed
	b.commit("3", "Mend it")
	b.apply()
	b.lacks(b.get("/p/shop"), "commit</strong> failed")
	b.get("/p/shop/runs/"+b.state().Latest["commit"].ID, "2 tests<", again)
}

// A gate that is overridden opens, and the mark stays.
func TestOverride(t *testing.T) {
	b := newBed(t)
	b.authorize = &pipeline.Authorization{Override: []string{"*"}}
	b.serve(nil)
	b.apply()
	one := b.newest()
	b.press(b.client, "override", stageBuild("exploratory", one), url.Values{"reason": {""}}, http.StatusBadRequest, "a reason is needed")
	b.press(b.client, "override", stageBuild("exploratory", one), url.Values{"reason": {"the house burns"}}, http.StatusOK,
		"Build "+b.named(one)+" passes stage exploratory by your override", "production</strong> can be promoted to")
	b.get("/p/shop/builds/"+one, "overridden by", "the house burns")
	b.get("/p/shop/do/override?"+stageBuild("exploratory", one).Encode(), "has passed it")
}

// Where a stage needs two approvals, each person sees who has approved and who else
// can, and approves once.
func TestApprovals(t *testing.T) {
	b := newBed(t)
	b.authorize = &pipeline.Authorization{Approve: []string{"ann", "bob", "@qa"}, Groups: map[string][]string{"qa": {"carol"}}, Approvals: 2}
	b.serve(behind)
	ann, bob := b.as("ann"), b.as("bob")
	b.apply()
	one := b.newest()
	approve := "do/approve?" + url.Values{"build": {one}, "stage": {"exploratory"}}.Encode()
	b.want(ann, http.MethodGet, "/p/shop", nil, http.StatusOK, "waits for 2 more approvals of", approve, "You may approve it, as may ann, bob or the qa team (carol).")
	b.press(ann, "approve", stageBuild("exploratory", one), nil, http.StatusOK, "You approve build "+b.named(one)+" at stage exploratory. It takes 1 more.",
		"waits for 1 more approval of", "Approved by ann.")
	for _, path := range []string{"/p/shop", "/p/shop/builds/" + one} {
		b.lacks(b.want(ann, http.MethodGet, path, nil, http.StatusOK), approve)
	}
	page := b.want(ann, http.MethodGet, "/p/shop/"+approve, nil, http.StatusOK, "you have approved build "+one, "It takes 1 more.")
	if len(form(page)) > 0 {
		t.Error("she can approve once more")
	}
	b.want(bob, http.MethodGet, "/p/shop/"+approve, nil, http.StatusOK, "approved by ann")
	b.want(b.as("dave"), http.MethodGet, "/p/shop", nil, http.StatusOK, "Only ann, bob or the qa team (carol) may approve or reject.")
	if got := b.outcome("exploratory", one); got != pipeline.OutcomeWaiting {
		t.Errorf("after one approval exploratory is %q", got)
	}
	b.press(bob, "approve", stageBuild("exploratory", one), nil, http.StatusOK, "Build "+b.named(one)+" is approved at stage exploratory.")
	if got := b.outcome("exploratory", one); got != pipeline.OutcomePassed {
		t.Errorf("after both approvals exploratory is %q", got)
	}
}

// A lift takes as many as an approval; the button and the page name whose rejection it is.
func TestLift(t *testing.T) {
	b := newBed(t)
	b.authorize = &pipeline.Authorization{Approve: []string{"ann", "bob"}, Reject: []string{"*"}, Approvals: 2}
	b.serve(behind)
	ann, bob, dave := b.as("ann"), b.as("bob"), b.as("dave")
	b.apply()
	one := b.newest()
	lift := "do/lift?" + url.Values{"build": {one}, "stage": {"exploratory"}}.Encode()
	b.press(ann, "approve", stageBuild("exploratory", one), nil, http.StatusOK)
	b.press(dave, "reject", stageBuild("exploratory", one), url.Values{"reason": {"it leaks"}}, http.StatusOK)
	b.lacks(b.want(dave, http.MethodGet, "/p/shop/builds/"+one, nil, http.StatusOK, "rejected by dave"), lift)
	b.want(ann, http.MethodGet, "/p/shop/builds/"+one, nil, http.StatusOK, "Lift dave’s rejection", lift)
	b.want(ann, http.MethodGet, "/p/shop/"+lift, nil, http.StatusOK, "dave rejected build "+b.named(one), "it leaks", "It takes 2 more votes to lift it, yours included.")
	b.press(ann, "lift", stageBuild("exploratory", one), nil, http.StatusOK, "You vote to lift the rejection of build "+b.named(one)+" at stage exploratory. It takes 1 more.")
	b.want(ann, http.MethodGet, "/p/shop/"+lift, nil, http.StatusOK, "you have voted already")
	b.want(ann, http.MethodGet, "/p/shop/builds/"+one, nil, http.StatusOK, "ann voted to lift that")
	if got := b.outcome("exploratory", one); got != pipeline.OutcomeRejected {
		t.Errorf("after one vote exploratory is %q", got)
	}
	b.want(bob, http.MethodGet, "/p/shop/"+lift, nil, http.StatusOK, "ann has voted to lift that.", "With the rejection lifted build "+b.named(one)+" passes stage exploratory")
	b.press(bob, "lift", stageBuild("exploratory", one), nil, http.StatusOK, "is lifted")
	if got := b.outcome("exploratory", one); got != pipeline.OutcomePassed {
		t.Errorf("after both votes exploratory is %q", got)
	}
}

// An author of a build sees a note instead of a button.
func TestNotAuthor(t *testing.T) {
	b := newBed(t)
	b.authorize = &pipeline.Authorization{NotAuthor: true}
	b.serve(behind)
	b.apply()
	one := b.newest()
	approve := "do/approve?" + url.Values{"build": {one}, "stage": {"exploratory"}}.Encode()
	ada := b.as("ada")
	page := b.want(ada, http.MethodGet, "/p/shop", nil, http.StatusOK, "You wrote part of the build, and somebody else has to approve it.", "do/reject")
	b.lacks(page, approve)
	page = b.want(ada, http.MethodGet, "/p/shop/"+approve, nil, http.StatusOK, "ada wrote part of the build")
	if len(form(page)) > 0 {
		t.Error("there is a form that would be refused")
	}
	b.press(b.as("bob"), "approve", stageBuild("exploratory", one), nil, http.StatusOK, "is approved")
}

// A promotion that was confirmed is of what was compared, and no other.
func TestPromotionOfWhatWasCompared(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	var builds []string
	for _, version := range []string{"1", "2", "3"} {
		b.commit(version+".0", "Version "+version)
		b.apply()
		builds = append(builds, b.newest())
		b.press(b.client, "approve", stageBuild("exploratory", b.newest()), nil, http.StatusOK)
	}
	move := func(to string) {
		t.Helper()
		b.press(b.client, "promote", stageBuild("production", to), nil, http.StatusOK, "is promoted")
		b.apply()
	}
	move(builds[0])
	ann := form(b.get("/p/shop/do/promote?" + stageBuild("production", builds[1]).Encode()))
	move(builds[2]) // by somebody else
	b.want(b.client, http.MethodPost, "/p/shop/do/promote", ann, http.StatusConflict, "since you looked", builds[2], "Look at what differs now")
	b.apply()
	if current := b.state().Current["production"].Build; current != builds[2] {
		t.Fatalf("production went to %s", current)
	}
	back := form(b.get("/p/shop/do/rollback?" + stageBuild("production", builds[0]).Encode()))
	b.press(b.client, "rollback", stageBuild("production", builds[1]), nil, http.StatusOK, " to build "+b.named(builds[1]))
	b.want(b.client, http.MethodPost, "/p/shop/do/rollback", back, http.StatusConflict, "since you looked")
	b.get("/p/shop/do/rollback?"+stageBuild("production", builds[0]).Encode(), "has promoted build "+builds[1], "this takes its place")
	forged := form(b.get("/p/shop/do/rollback?" + stageBuild("production", builds[0]).Encode()))
	forged.Set("next", builds[2])
	b.want(b.client, http.MethodPost, "/p/shop/do/rollback", forged, http.StatusConflict, "Nothing was done")
	b.apply()

	// The way back stays open after the same build was deployed again, and after it was taken.
	offers := func(build string) {
		t.Helper()
		if card := b.cardOf("production"); !strings.Contains(card, "do/rollback?build="+build) {
			t.Errorf("there is no way back to %s: %s", build, card)
		}
	}
	offers(builds[0])
	b.press(b.client, "retry", stageBuild("production", ""), nil, http.StatusOK)
	b.apply()
	offers(builds[0])
}

// The comparison of a build is shown again once the build has its image.
func TestDiffOfAGrowingBuild(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	b.apply()
	one := b.newest()
	b.press(b.client, "approve", stageBuild("exploratory", one), nil, http.StatusOK)
	b.press(b.client, "promote", stageBuild("production", one), nil, http.StatusOK)
	b.apply()
	b.press(b.client, "pause", stageBuild("acceptance", ""), nil, http.StatusOK)
	b.commit("2", "Next")
	b.apply()
	two, image := b.newest(), b.state().Builds[one].Image
	b.get("/p/shop/builds/"+two, image+" → –")
	b.press(b.client, "resume", stageBuild("acceptance", ""), nil, http.StatusOK)
	b.apply()
	b.get("/p/shop/builds/"+two, image+" → "+b.state().Builds[two].Image)
}

// A pipeline without a stage that deploys has metrics all the same, and one without stages
// says so.
func TestMetricsWithoutDeployments(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	p := pipeline.Pipeline{Name: "shop", Owner: b.app.Owner}
	_, err := b.app.Engine.Pipelines.Create(t.Context(), p)
	b.must(err)
	b.get("/p/shop/metrics", "There is no stage yet")
	s := pipeline.Stage{Pipeline: "shop", Owner: b.app.Owner, Type: pipeline.TypeCustom, Name: "lint"}
	_, err = b.app.Engine.Stages.Advance(t.Context(), run.AdvanceRequest{Stage: s.WithDefaults(nil, nil)})
	b.must(err)
	b.get("/p/shop/metrics", "Deployments per week", "lint")
}

// A build that ran more often than its page lists leads to all its runs.
func TestManyRuns(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	b.apply()
	one, all := b.newest(), "All runs of the build"
	b.lacks(b.get("/p/shop/builds/"+one), all)
	batch := pipeline.Batch{Pipeline: "shop"}
	for i := range 100 {
		run := pipeline.Run{ID: fmt.Sprintf("r-%04d", i), Pipeline: "shop", Stage: "capacity", Kind: pipeline.KindStage, Build: one, Digest: "d", Status: pipeline.RunFailed, Phase: pipeline.PhaseDone, Order: 1}
		batch.Events = append(batch.Events, pipeline.Event{Kind: pipeline.RunEnded, Actor: "ann", Facts: pipeline.Facts{Run: &run}})
	}
	apptest.Append(t, b.app, batch)
	b.get("/p/shop/builds/"+one, all, `href="/p/shop/runs?build=`+one)
	page := b.get("/p/shop/runs?build="+one, "Older")
	_, older, _ := strings.Cut(page, `rel="next" href="`)
	older, _, _ = strings.Cut(html.UnescapeString(older), `"`)
	b.get(older, "r-0050")
}
