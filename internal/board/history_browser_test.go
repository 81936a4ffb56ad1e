// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"fmt"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/penstock-io/terraform-provider-penstock/internal/lab"
)

// The history can be read at every width and in both schemes; its days are those of the reader.
func TestBrowserHistory(t *testing.T) {
	b := newLab(t, lab.Options{Only: lab.Shop})
	me := b.browse()
	_, err := chromedp.Call(me.ctx, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Europe/Berlin"})
	b.must(err)
	for _, pixels := range []int64{1440, 1280, 390} {
		me.wide(pixels)
		for name, at := range map[string]string{"all": "", "filtered": "?stage=production&kind=deployment&since=2020-02-01"} {
			me.visit("/p/shop/history" + at)
			me.sees(map[string]string{"all": "run passed", "filtered": "deployed"}[name])
			where := fmt.Sprint("history-", name, "-", pixels)
			if over := eval[int](me, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
				t.Errorf("%s is %d too wide", where, over)
			}
			me.picture(where)
			me.accessible(where)
		}
	}
	me.wide(1280)
	me.visit("/p/shop/history?since=2020-02-01")
	me.sees("days of UTC") // as the address says no other
	for _, path := range []string{"/p/shop/history", "/p/shop"} {
		me.visit(path)
		me.sees("days of Europe/Berlin")
		me.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("input[name=since]").value = "2020-02-01"; undefined`))
		me.click("form[@class='filter']", map[bool]string{true: "Filter", false: "Search"}[path == "/p/shop/history"])
		me.sees("since=2020-02-01", "zone=Europe%2FBerlin", "days of Europe/Berlin") // the first two in the address
	}
}

// On a phone tables need no sideways scrolling: what has a status or can be pressed is in sight.
func TestBrowserTablesOnAPhone(t *testing.T) {
	b := newLab(t, lab.Options{Only: lab.Shop})
	me := b.browse()
	me.wide(390)
	failed := b.runOf("acceptance", "failed")
	for _, page := range []struct{ name, path string }{
		{"build", "/p/shop/builds/" + failed.Build}, {"rejected", "/p/shop/builds/12"}, {"runs", "/p/shop/runs"}, {"run", "/p/shop/runs/" + failed.ID}, {"images", "/p/shop/images"},
		{"metrics", "/p/shop/metrics"}, {"environments", "/p/shop/environments"}, {"promote", "/p/shop/do/promote?stage=production&build=34"},
	} {
		me.visit(page.path)
		me.sees("shop")
		eval[any](me, `document.querySelectorAll("main details:not(.fold)").forEach(d => d.open = true)`)
		if wide := eval[string](me, `[...document.querySelectorAll(".scroll")].filter(s => s.scrollWidth > s.clientWidth + 1).map(s => s.getAttribute("aria-label")).join()`); wide != "" {
			t.Errorf("%s: these scroll sideways: %s", page.name, wide)
		}
		if out := eval[string](me, `[...document.querySelectorAll("main :is(a, button, .status)")].filter(e => { const r = e.getBoundingClientRect(); return r.right > innerWidth + 1 && !e.closest(".stream, .log"); }).map(e => e.textContent).join()`); out != "" {
			t.Errorf("%s: beside the window: %s", page.name, out)
		}
		me.picture(page.name)
		me.accessible(page.name + " on a phone")
	}
}
