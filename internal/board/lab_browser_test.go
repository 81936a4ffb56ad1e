// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/penstock-io/terraform-provider-penstock/internal/lab"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// newLab is a bed on the pipelines of the lab.
func newLab(t *testing.T, o lab.Options) *bed {
	t.Helper()
	o.Dir = t.TempDir()
	l, err := lab.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return &bed{T: t, app: l.App}
}

// runOf returns the newest run of a stage of the shop with a status.
func (b *bed) runOf(stage string, status pipeline.RunStatus) pipeline.RunSummary {
	b.Helper()
	page, err := b.app.Engine.Reports.Runs(b.Context(), lab.Shop, pipeline.RunQuery{Stage: stage, Status: status})
	b.must(err)
	if len(page.Runs) == 0 {
		b.Fatalf("no run of %s has %s", stage, status)
	}
	return page.Runs[0]
}

// wide makes the window so many pixels wide.
func (t *tab) wide(pixels int64) {
	t.Helper()
	_, err := chromedp.Call(t.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: pixels, Height: 900, DeviceScaleFactor: 1, Mobile: pixels < 500})
	t.must(err)
}

// The page of a run says what a person needs, whatever became of the run.
func TestBrowserRuns(t *testing.T) {
	b := newLab(t, lab.Options{Only: lab.Shop})
	me := b.browse()
	failed, running := b.runOf("acceptance", pipeline.RunFailed), b.runOf("acceptance", pipeline.RunRunning)
	me.wide(1440)
	_, err := chromedp.Call(me.ctx, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Kathmandu"})
	b.must(err)

	me.visit("/p/shop/runs/" + failed.ID)
	me.sees("acceptance · ", "api tests", "48 tests, 4 failed", "journeys", "not run", "refuses an expired card", "Next failure")
	if title := eval[string](me, "document.title"); !strings.HasPrefix(title, "acceptance · ") {
		t.Errorf("the tab is titled %q", title)
	}
	if first := eval[string](me, `document.querySelector("li.found")?.innerText`); !strings.Contains(first, "payment/test_06") {
		t.Errorf("the log opens at %q", first)
	}
	me.click("main", "Next failure")
	me.click("main", "Next failure")
	if second := eval[string](me, `document.querySelector("li.found").innerText`); !strings.Contains(second, "test_17") {
		t.Errorf("the next failure is %q", second)
	}
	if n := eval[int](me, `document.querySelectorAll(".log b.f1").length`); n != 4 {
		t.Errorf("%d parts of the log are red", n)
	}
	link := eval[string](me, `[...document.querySelectorAll(".log li>span a")].map(a => a.href + " " + a.rel + " " + a.target).join("\n")`)
	if !strings.Contains(link, "https://ci.example.com/cards?a=1&b=2 noreferrer noopener _blank") {
		t.Errorf("the links are %q", link)
	}
	shown := eval[[]string](me, `(() => { const t = document.querySelector(".log li time"); return [t.textContent, t.title, t.dateTime]; })()`)
	if at := strings.Split(shown[2], ":"); shown[0][3:5] == at[1] || !strings.HasSuffix(shown[1], "Z") {
		t.Errorf("in Nepal it is %q", shown)
	}
	if small := eval[int](me, `[...document.querySelectorAll(".log li>a:first-child")].filter(a => a.offsetParent && a.getBoundingClientRect().height < 24).length`); small > 0 {
		t.Errorf("%d line numbers are less than 24 pixels high", small)
	}
	if times := strings.Count(eval[string](me, "document.querySelector('main').innerText"), "rounds half to even"); times > 2 {
		t.Errorf("a failure is shown %d times beside the log", times)
	}
	me.picture("failed")
	me.accessible("a run that failed")

	me.visit("/p/shop/runs/" + running.ID)
	me.sees("health", "api tests", "running", "journey 41")
	if before := eval[int](me, `document.querySelectorAll(".log li").length`); before < 40 {
		t.Errorf("%d lines", before)
	}
	me.sees("journey 43") // it goes on
	me.click("main", "Pause")
	if !eval[bool](me, `document.querySelector(".fold[data-fold='3']").open && !document.querySelector(".fold[data-fold='2']").open`) {
		t.Error("not the step that runs is unfolded")
	}
	me.picture("running")
	me.accessible("a run that goes on")
	for _, at := range []struct {
		name, path string
	}{{"load", "/p/shop/runs/" + b.runOf("capacity", pipeline.RunFailed).ID}, {"failed", "/p/shop/runs/" + failed.ID}} {
		for _, pixels := range []int64{390, 1440} {
			me.wide(pixels)
			me.visit(at.path)
			me.picture(fmt.Sprint(at.name, "-", pixels))
			me.accessible(fmt.Sprint(at.name, " at ", pixels))
		}
	}
}

// Pages of the lab, as people see them.
func TestBrowserLab(t *testing.T) {
	b := newLab(t, lab.Options{})
	me := b.browse()
	for _, pixels := range []int64{1440, 390} {
		me.wide(pixels)
		for _, page := range []struct{ name, path, says string }{
			{"home", "/", lab.Wide}, {"shop", "/p/shop", "production"}, {"wide", "/p/wide", "smoke-tests-after-release"},
			{"environments", "/p/shop/environments", "grace-checkout"}, {"runs", "/p/shop/runs", "acceptance"}, {"metrics", "/p/shop/metrics", "Lead time"},
			{"build", "/p/shop/builds/" + b.runOf("acceptance", pipeline.RunFailed).Build, "failed"}, {"none", "/nope", "no such page"},
		} {
			me.visit(page.path)
			me.sees(page.says)
			me.picture(fmt.Sprint(page.name, "-", pixels))
			me.accessible(fmt.Sprint(page.name, " at ", pixels))
		}
	}
}
