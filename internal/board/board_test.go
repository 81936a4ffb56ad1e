// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/board"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// A build goes from the commit to production by the board's forms alone, as a browser
// without JavaScript sends them. Every page can be read.
func TestJourney(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	b.get("/", "There are no pipelines yet")
	b.apply()
	one := b.newest()
	b.get("/", "shop", "1 waiting for people")
	b.get("/p/shop", "exploratory</strong> waits for a decision on", one, "Begin", "Nobody watches")
	b.press(b.client, "approve", stageBuild("exploratory", one), url.Values{"reason": {"tried it"}}, http.StatusOK, "Build "+b.named(one)+" is approved at stage exploratory.")
	b.get("/p/shop", "production</strong> can be promoted to", one)
	b.press(b.client, "promote", stageBuild("production", one), nil, http.StatusOK, "is promoted to stage production")
	b.apply()
	b.get("/p/shop", "Endpoint", "http://127.0.0.1:")
	b.get("/p/shop/builds/"+one, "approved by", "tried it", "Runs in", "production")

	b.commit("2", "Make it better")
	b.apply()
	two := b.newest()
	b.press(b.client, "approve", stageBuild("exploratory", two), nil, http.StatusOK)
	page := b.get("/p/shop/do/promote?stage=production&build="+two, "What is known", "Runs now", "2 tests, none failed", "To go back to #1", "Make it better", "version")
	b.want(b.client, http.MethodPost, "/p/shop/do/promote", form(page), http.StatusOK, "is promoted")
	b.apply()
	if current := b.state().Current["production"].Build; current != two {
		t.Fatalf("production's current build is %s", current)
	}
	b.press(b.client, "rollback", stageBuild("production", one), nil, http.StatusOK, " to build "+b.named(one))
	b.apply()
	page = b.get("/p/shop/builds/"+two, "Compared with production's current build", "Commits that it brings")
	for component, change := range map[string]string{"application": "differs from #1", "configuration": "as in #1", "infrastructure": "as in #1", "data": "as in #1"} {
		if row := regexp.MustCompile(component + ` [0-9a-f]{16} ` + change); !row.MatchString(words(page)) {
			t.Errorf("it is not said of %s that it %s: %s", component, change, words(page))
		}
	}
	b.press(b.client, "pause", stageBuild("production", ""), url.Values{"reason": {"it is Friday"}}, http.StatusOK, "production</strong> is paused by", "it is Friday")
	b.press(b.client, "resume", stageBuild("production", ""), nil, http.StatusOK, "goes on")
	b.press(b.client, "retry", stageBuild("capacity", ""), nil, http.StatusOK, "runs again with the next apply")
	b.press(b.client, "reject", stageBuild("exploratory", two), url.Values{"reason": {"  "}}, http.StatusBadRequest, "a reason is needed")
	b.press(b.client, "reject", stageBuild("exploratory", two), url.Values{"reason": {"it leaks"}}, http.StatusOK, "is rejected")
	b.get("/p/shop/builds/"+two, "Rejected at stage exploratory", "it leaks")

	run := b.state().Latest["capacity"].ID
	b.get("/p/shop/runs?stage=capacity", run)
	b.get("/p/shop/runs/"+run, "Latency over time", "at most 5s", "the build before", "expected")
	b.get("/p/shop/runs/"+run+"/log", `step "expected"`)
	b.get("/p/shop/images", "acceptance", "build "+one)
	b.get("/p/shop/metrics", "Change failure rate", "50 %", "1 of 2 changes")
	b.get("/metrics", `penstock_builds{pipeline="shop"} 2`)
	b.want(b.client, http.MethodGet, "/p/none", nil, http.StatusNotFound, `there is no pipeline "none"`)
	b.want(b.client, http.MethodGet, "/p/shop/builds/b-0000000000", nil, http.StatusNotFound)
	b.want(b.client, http.MethodGet, "/p/shop/runs/r-none", nil, http.StatusNotFound)
	b.want(b.client, http.MethodGet, "/p/shop/do/dance", nil, http.StatusNotFound)
	b.want(b.client, http.MethodGet, "/p/shop/do/approve?stage=none", nil, http.StatusNotFound)
}

// Environments are launched, extended and ended, and what fails says so.
func TestEnvironments(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	b.apply()
	one := b.newest()
	b.get("/p/shop/environments", "There is no environment")
	b.press(b.client, "launch", nil, url.Values{"name": {"mine"}, "build": {one}, "ttl": {"2h"}}, http.StatusOK, "is being launched")
	b.await("the environment", func() bool {
		env, ok := b.state().PersonEnvironment("mine")
		return ok && env.Status == pipeline.EnvRunning
	})
	b.get("/p/shop/environments", "mine", "http://127.0.0.1:", "Extend")
	b.press(b.client, "extend", url.Values{"name": {"mine"}}, url.Values{"ttl": {"24h"}}, http.StatusOK, "lives for 1d")
	b.await("the extension", func() bool {
		env, _ := b.state().PersonEnvironment("mine")
		return env.TTL.Hours() == 24
	})
	b.press(b.client, "destroy", url.Values{"name": {"mine"}}, nil, http.StatusOK, "is being ended")
	b.await("the end", func() bool { _, ok := b.state().PersonEnvironment("mine"); return !ok })

	b.press(b.client, "launch", nil, url.Values{"name": {"No Name"}, "build": {one}}, http.StatusBadRequest, "is no name for it")
	b.press(b.client, "launch", nil, url.Values{"name": {"x"}, "build": {one}, "ttl": {"1s"}}, http.StatusBadRequest, "a time to live")
	b.press(b.client, "launch", nil, url.Values{"name": {"x"}, "build": {"b-0000000000"}}, http.StatusNotFound)
	b.want(b.client, http.MethodGet, "/p/shop/do/destroy?name=nothing", nil, http.StatusNotFound)
}

// The board names an image that the platform no longer has, and what needs it. It shows
// a launch that fails for that reason for an hour.
func TestMissingImage(t *testing.T) {
	b := newBed(t)
	var later atomic.Int64
	b.serve(nil, func(o *board.Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	b.apply()
	one := b.newest()
	b.lacks(b.get("/p/shop/images"), "no longer has it")
	work, _ := b.app.WorkDir()
	b.must(local.New(local.Options{Dir: b.app.Dir, Work: work, Logger: b.app.Logger()}).RemoveImage(t.Context(), b.state().Builds[one].Image))
	b.get("/p/shop/images", "the platform no longer has it, and it is needed: build "+one)
	b.press(b.client, "launch", nil, url.Values{"name": {"mine"}, "build": {one}}, http.StatusOK, "is being launched")
	failed := func() bool { return strings.Contains(words(b.get("/p/shop/environments")), "launch mine failed") }
	b.await("the failure", failed)
	seen := b.stream("/p/shop/environments")
	later.Store(int64(59 * time.Minute))
	if !failed() {
		t.Error("the failure is forgotten within an hour")
	}
	later.Store(int64(61 * time.Minute))
	if failed() {
		t.Error("the failure is shown for more than an hour")
	}
	if e := b.next(b.listen(t.Context(), seen)); e.name != "changed" {
		t.Errorf("an open page hears %+v", e)
	}
}

// What is being baked is listed with the images.
func TestBakes(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	b.apply()
	b.lacks(b.get("/p/shop/images"), "Being baked")
	gate := filepath.Join(t.TempDir(), "gate")
	definition := pipeline.ImageDefinition{Pipeline: "shop", Name: "base", Owner: b.app.Owner, From: pipeline.ImageFrom{Image: b.state().Builds[b.newest()].Image}, Source: *b.state().Stages["commit"].Source, Steps: []pipeline.Step{{Name: "packages", Command: fmt.Sprintf("while ! [ -e %q ]; do sleep 0.05; done; echo installed > packages", gate)}}}
	ended := make(chan error, 1)
	go func() {
		_, err := b.app.Engine.Images.Bake(b.Context(), run.BakeRequest{Definition: definition})
		ended <- err
	}()
	run := b.running("image/base")
	b.get("/p/shop/images", "Being baked", "/p/shop/runs/"+run, "image/base")
	events := b.listen(t.Context(), b.stream("/p/shop/images"))
	b.must(os.WriteFile(gate, nil, 0o600))
	b.must(<-ended)
	if e := b.next(events); e.name != "changed" {
		t.Errorf("an open page hears %+v", e)
	}
	b.lacks(b.get("/p/shop/images", "base<span"), "Being baked")
}

// Rights are those of the command. A refusal says who you are, which right it requires, and
// who has it.
func TestRights(t *testing.T) {
	b := newBed(t)
	b.authorize = &pipeline.Authorization{Approve: []string{"carol"}, Deploy: []string{"carol"}, Launch: []string{"carol"}, Override: []string{"carol"}}
	b.serve(nil)
	b.apply()
	one := b.newest()
	page := b.get("/p/shop", "Only carol may approve, reject or launch an environment.", `aria-disabled="true" aria-describedby="why-more-production-1">Pause`, `id="why-more-production-1">Only carol may pause.`)
	b.get("/p/shop/environments", "Only carol may launch an environment.")
	b.get("/p/shop/builds/"+one, "Only carol may reject.")
	if strings.Contains(page, "do/approve") || strings.Contains(page, "do/pause") {
		t.Error("there are buttons for what is not allowed")
	}
	for action, q := range map[string]url.Values{
		"approve": stageBuild("exploratory", one), "reject": stageBuild("exploratory", one), "promote": stageBuild("production", one),
		"pause": stageBuild("production", ""), "override": stageBuild("exploratory", one), "launch": {},
	} {
		page := b.want(b.client, http.MethodGet, "/p/shop/do/"+action+"?"+q.Encode(), nil, http.StatusOK, "has no right to", "Ask one of carol")
		if len(form(page)) > 0 {
			t.Errorf("%s asks for what is not allowed", action)
		}
	}
	// The engine refuses, too, when the rights change after the page was made.
	b.authorize = nil
	b.apply()
	page = b.get("/p/shop/do/approve?" + stageBuild("exploratory", one).Encode())
	b.authorize = &pipeline.Authorization{Approve: []string{"carol"}}
	b.apply()
	b.want(b.client, http.MethodPost, "/p/shop/do/approve", form(page), http.StatusForbidden, "has no right to approve", "Ask one of carol")
	if got := b.outcome("exploratory", one); got != pipeline.OutcomeWaiting {
		t.Errorf("exploratory is %q", got)
	}
}

// A stage that the configuration pins is moved there, and the board says how.
func TestPinned(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	b.apply()
	one := b.newest()
	b.press(b.client, "approve", stageBuild("exploratory", one), nil, http.StatusOK)
	b.pin = one
	b.apply()
	b.commit("2", "Next")
	b.apply()
	two := b.newest()
	b.press(b.client, "approve", stageBuild("exploratory", two), nil, http.StatusOK)
	b.get("/p/shop", "is pinned to #1 by the configuration")
	b.get("/p/shop/do/promote?stage=production&build="+two, `Change build to "`+two+`" in the penstock_stage, or remove it, and apply.`)
}

// A form counts once, and only for what it was made for.
func TestForms(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	b.apply()
	one := b.newest()
	page := b.get("/p/shop/do/reject?" + stageBuild("exploratory", one).Encode())
	send := func(change func(url.Values), action string, status int, text string) {
		t.Helper()
		values := form(page)
		values.Set("reason", "no")
		change(values)
		b.want(b.client, http.MethodPost, "/p/shop/do/"+action, values, status, text)
	}
	same := func(url.Values) {}
	const nothing = "Nothing was done"
	send(func(v url.Values) { v.Del("ticket") }, "reject", http.StatusConflict, nothing)
	send(func(v url.Values) { v.Set("ticket", "made up") }, "reject", http.StatusConflict, nothing)
	send(func(v url.Values) { v.Set("ticket", v.Get("ticket")+"0") }, "reject", http.StatusConflict, nothing)
	send(func(v url.Values) { v.Set("decision", "7") }, "reject", http.StatusConflict, ">no</textarea>")
	send(func(v url.Values) { v.Set("build", "b-0000000000") }, "reject", http.StatusNotFound, "has no build")
	send(same, "approve", http.StatusConflict, nothing)
	if b.outcome("exploratory", one) != pipeline.OutcomeWaiting {
		t.Fatal("a form that was refused had its effect")
	}
	send(same, "reject", http.StatusOK, "is rejected")
	send(same, "reject", http.StatusConflict, "this form was sent already")

	// Nor is the rejection that was looked at the only one.
	b.lacks(b.get("/p/shop/do/approve?"+stageBuild("exploratory", one).Encode(), "was rejected at stage", "approve --lift"), "<form class=\"ask\"")
	page = b.get("/p/shop/do/lift?"+stageBuild("exploratory", one).Encode(), "rejected build "+b.named(one)+" at stage exploratory on 20", ": no", "’s rejection")
	b.press(b.client, "reject", stageBuild("exploratory", one), url.Values{"reason": {"nor now"}}, http.StatusOK)
	b.want(b.client, http.MethodPost, "/p/shop/do/lift", form(page), http.StatusConflict, "since you looked", "nor now")
	b.get("/p/shop/builds/"+one, "Lift 2 rejections", "nor now")
	b.press(b.client, "lift", stageBuild("exploratory", one), nil, http.StatusOK, "The rejection of build "+b.named(one)+" at stage exploratory is lifted.")
	b.get("/p/shop/builds/"+one, "lifted: rejected by", "nor now")
	if got := b.outcome("exploratory", one); got != pipeline.OutcomePassed {
		t.Errorf("lifted: exploratory is %q", got)
	}

	// The evidence that was looked at is not what there is any more.
	b.press(b.client, "retry", stageBuild("exploratory", ""), nil, http.StatusOK)
	b.apply()
	page = b.get("/p/shop/do/approve?" + stageBuild("exploratory", one).Encode())
	b.press(b.client, "approve", stageBuild("exploratory", one), nil, http.StatusOK)
	b.press(b.client, "retry", stageBuild("exploratory", ""), nil, http.StatusOK)
	b.apply()
	b.want(b.client, http.MethodPost, "/p/shop/do/approve", form(page), http.StatusConflict, "has run again since you looked")
	if got := b.outcome("exploratory", one); got != pipeline.OutcomeWaiting {
		t.Errorf("exploratory is %q", got)
	}
	for range 30 {
		if status, _ := b.send(b.client, http.MethodPost, "/p/shop/do/approve", url.Values{}); status == http.StatusTooManyRequests {
			return
		}
	}
	t.Error("any number of forms is taken at once")
}
