// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/penstock-io/terraform-provider-penstock/internal/app/apptest"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/lab"
)

// fill adds pipelines of a size to a lab.
func (b *bed) fill(sizes ...lab.Size) {
	b.Helper()
	for _, size := range sizes {
		size.Owner = b.app.Owner
		_, err := lab.Fill(b.Context(), apptest.Ledger(b.T, b.app), size)
		b.must(err)
	}
}

// emulate makes the page one for a medium, or for a reader with forced colours.
func (t *tab) emulate(media string, features ...string) {
	t.Helper()
	p := emulation.SetEmulatedMediaParams{Media: media}
	for i := 0; i+1 < len(features); i += 2 {
		p.Features = append(p.Features, &emulation.MediaFeature{Name: features[i], Value: features[i+1]})
	}
	_, err := chromedp.Call(t.ctx, emulation.SetEmulatedMedia, p)
	t.must(err)
}

// shot keeps a picture as the page is, where pictures are kept.
func (t *tab) shot(name string) {
	t.Helper()
	if !pictures() {
		return
	}
	png, err := chromedp.Run(t.ctx, chromedp.FullScreenshot(100))
	t.must(err)
	t.keep(name, png)
}

// onMap returns what is wrong with how the map lies: cards over one another, text that has no
// room, a production card that is out of sight.
func (t *tab) onMap() string {
	t.Helper()
	return eval[string](t, `(() => {
		const wrong = [], cards = [...document.querySelectorAll(".card")].map(c => [c, c.getBoundingClientRect()]);
		const stream = document.querySelector(".stream").getBoundingClientRect();
		for (const [c, r] of cards) {
			if (c.closest(".pinned") && (r.left < stream.left - 1 || r.right > stream.right + 1)) wrong.push(c.id + " is out of sight");
			if (c.scrollHeight > c.clientHeight + 1) wrong.push(c.id + " has no room for its text: " + c.scrollHeight);
			for (const e of c.querySelectorAll("h3, .fact:first-of-type .status")) if (e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1) wrong.push(c.id + " cuts " + e.innerText);
			for (const [d, s] of cards) {
				if (c !== d && !d.closest(".pinned") && !c.closest(".pinned") && r.left < s.right && s.left < r.right && r.top < s.bottom && s.top < r.bottom) wrong.push(c.id + " lies over " + d.id);
			}
		}
		if (!document.querySelector(".pinned .card")) wrong.push("nothing is pinned");
		if (document.documentElement.scrollWidth > innerWidth + 1) wrong.push("the page is wider than the window: " + document.documentElement.scrollWidth);
		return wrong.slice(0, 8).join("\n");
	})()`)
}

// scrolled reports whether the map is wider than its place.
func (t *tab) scrolled() bool {
	t.Helper()
	return eval[bool](t, `(() => { const s = document.querySelector(".stream"); return s.scrollWidth > s.clientWidth + 1; })()`)
}

// card returns what a person can read on a card.
func (t *tab) card(stage string) string {
	t.Helper()
	return strings.Join(strings.Fields(eval[string](t, fmt.Sprintf(`document.getElementById("stage-" + %q).innerText`, stage))), " ")
}

// The map has production in sight and all that a person must know on each card, at every width.
func TestBrowserMap(t *testing.T) {
	b := newLab(t, lab.Options{})
	b.fill(lab.Size{Pipeline: "nine", Chain: 8, Builds: 3}, lab.Size{Pipeline: "long", Chain: 100, Builds: 2}, lab.Size{Pipeline: "broad", Branches: 30, Builds: 2})
	me := b.browse()
	for _, at := range []struct {
		name   string
		fitsAt int64 // the width from which on it is not scrolled
	}{{lab.Shop, 1280}, {lab.Wide, 9999}, {"nine", 1440}, {"long", 1280}, {"broad", 1280}, {"long?open=commit", 9999}, {"broad?open=commit", 1280}} {
		for _, pixels := range []int64{1440, 1280, 390} {
			me.wide(pixels)
			me.visit("/p/" + at.name)
			me.sees("Value stream")
			where := fmt.Sprint(strings.NewReplacer("?", "-", "=", "-", "&", "-").Replace(at.name), "-", pixels)
			if wrong := me.onMap(); wrong != "" {
				t.Errorf("%s: %s", where, wrong)
			}
			if pixels >= at.fitsAt && me.scrolled() {
				t.Errorf("%s does not fit", where)
			}
			if pixels > 500 && me.scrolled() {
				eval[any](me, `document.querySelector(".stream").scrollLeft = 50`)
				if wrong := me.onMap(); wrong != "" {
					t.Errorf("%s, scrolled: %s", where, wrong)
				}
				b.await("the fade of "+where, func() bool {
					fades := eval[string](me, `document.querySelector(".stream").className`)
					return strings.Contains(fades, "more-left") && strings.Contains(fades, "more-right")
				})
			}
			me.picture(where)
			if !strings.Contains(at.name, "open") {
				me.accessible(where)
			}
		}
	}

	me.wide(1440)
	me.visit("/p/" + lab.Wide)
	if name := me.card("contract-tests-with-partners"); !strings.HasPrefix(name, "contract-tests-with-partners") || !strings.Contains(name, "next: failed") {
		t.Errorf("the card says %q", name)
	}
	me.click("li[@id='stage-contract-tests-with-partners']", "failed")
	me.sees("exit status", "Log")

	// What passed is one card, which a key opens; the address remembers it, also for a search.
	me.visit("/p/long")
	me.sees("100 stages")
	if n := eval[int](me, `document.querySelectorAll(".card").length`); n != 2 {
		t.Errorf("%d cards are there", n)
	}
	me.do(chromedp.Focus(chromedp.CSS(".card.fold a")), chromedp.KeyEvent(kb.Enter))
	me.sees("stage-57", "Fold the stages that passed")
	if n := eval[int](me, `document.querySelectorAll(".card").length`); n != 101 {
		t.Errorf("opened, %d cards are there", n)
	}
	me.click("form[@class='filter']", "Search")
	me.sees("stage-57", "Fold the stages that passed")
	me.click("main", "Fold the stages that passed")
	me.sees("100 stages")
}

// A menu shows all about a stage, and closes by Esc and by a press beside it, with no script.
func TestBrowserMenu(t *testing.T) {
	b := newLab(t, lab.Options{Only: lab.Shop})
	me := b.browse()
	me.wide(1280)
	open := func() bool { return eval[bool](me, `!!document.querySelector(".pop:popover-open")`) }
	me.visit("/p/shop")
	me.click("li[@id='stage-production']", "⋯")
	if !open() {
		t.Fatal("the menu does not open")
	}
	text := eval[string](me, `document.querySelector(".pop:popover-open").innerText`)
	for _, want := range []string{"production", "Now", "Pause", "After"} {
		if !strings.Contains(text, want) {
			t.Errorf("the menu does not say %q: %s", want, text)
		}
	}
	if out := eval[bool](me, `(() => { const r = document.querySelector(".pop:popover-open").getBoundingClientRect(); return r.left < 0 || r.top < 0 || r.right > innerWidth || r.bottom > innerHeight; })()`); out {
		t.Error("the menu is out of the window")
	}
	me.shot("menu")
	me.accessible("a menu")
	me.do(chromedp.KeyEvent(kb.Escape))
	if open() {
		t.Error("Esc does not close the menu")
	}
	me.click("li[@id='stage-production']", "⋯")
	me.do(chromedp.MouseClickXY(5, 300))
	if open() {
		t.Error("a press beside the menu does not close it")
	}
}

// What is read otherwise than on a screen in colours has all there is to know.
func TestBrowserMedia(t *testing.T) {
	b := newLab(t, lab.Options{})
	me := b.browse()
	me.wide(794) // A4
	for _, name := range []string{lab.Shop, lab.Wide} {
		me.visit("/p/" + name)
		me.emulate("print")
		if cut := eval[string](me, `[...document.querySelectorAll(".card")].filter(c => c.getBoundingClientRect().right > innerWidth || c.scrollHeight > c.clientHeight + 1).map(c => c.id).join()`); cut != "" {
			t.Errorf("on paper, %s of %s are cut off", cut, name)
		}
		me.shot("print-" + name)
		me.emulate("")
	}
	me.wide(1280)
	for _, path := range []string{"/", "/p/shop", "/p/shop/environments"} {
		me.visit(path)
		me.emulate("", "forced-colors", "active")
		if tabs := eval[[]string](me, `[...document.querySelectorAll(".tabs a")].map(a => getComputedStyle(a).textDecorationLine)`); len(tabs) > 0 && strings.Count(strings.Join(tabs, " "), "underline") != 1 {
			t.Errorf("with forced colours the tabs of %s are %q", path, tabs)
		}
		me.shot("forced" + strings.ReplaceAll(path, "/", "-"))
		me.emulate("")
	}
	me.wide(1920)
	me.visit("/p/shop")
	if edges := eval[[]float64](me, `[".brand", ".tabs a", "h1"].map(s => Math.round(document.querySelector(s).getBoundingClientRect().left))`); edges[0] != edges[2] || edges[1] != edges[2] {
		t.Errorf("the head begins at %v", edges)
	}
}

// Fifty pipelines can be searched, and those that a person cares for come first.
func TestBrowserHome(t *testing.T) {
	b := newLab(t, lab.Options{})
	for i := range 48 {
		b.fill(lab.Size{Pipeline: fmt.Sprintf("service-%02d", i), Builds: 20, End: time.Now().Add(-time.Duration(i) * time.Hour)})
	}
	me := b.browse()
	first := func() string { return eval[string](me, `document.querySelector("tbody a.name").textContent`) }
	rows := func() int { return eval[int](me, `document.querySelectorAll("tbody tr").length`) }
	for _, pixels := range []int64{1440, 1280, 390} {
		me.wide(pixels)
		me.visit("/")
		me.sees("50 pipelines", "waiting for people", "contract-tests-with-partners")
		if over := eval[int](me, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
			t.Errorf("at %d the page is %d too wide", pixels, over)
		}
		me.picture(fmt.Sprint("home-", pixels))
		me.accessible(fmt.Sprint("home at ", pixels))
	}
	me.wide(1280)
	me.visit("/")
	eval[any](me, `document.querySelector("[data-name=wide] .star").click()`)
	if first() != lab.Wide {
		t.Errorf("the favourite is not first, but %s", first())
	}
	me.visit("/?show=failing")
	if n := rows(); n == 0 || n == 50 || first() != lab.Wide {
		t.Errorf("%d pipelines fail, the first is %s", n, first())
	}
	me.visit("/?q=service-1&sort=oldest&show=unreleased")
	if n := rows(); n != 10 || first() != "service-19" {
		t.Errorf("%d rows, the first is %s", n, first())
	}
	me.visit("/?q=none")
	me.sees("No pipeline is like that")
}

// The stars of the list stay where they are when it changes: what somebody has focused, or is
// about to press, is not put there anew.
func TestBrowserFavourites(t *testing.T) {
	b := newBed(t)
	b.apply()
	me := b.browse()
	me.sees("1 waiting for people")
	eval[bool](me, `window.mine = document.querySelector("[data-name=shop] .star"); mine.click(); mine.focus(); window.moved = 0;
		new MutationObserver((all) => moved += all.length).observe(document.querySelector("tbody"), {childList: true}); true`)
	_, err := b.app.Engine.Decisions.Do(t.Context(), decision.Command{Verb: decision.Pause, Pipeline: "shop", Stage: "production"})
	b.must(err)
	me.sees("2 waiting for people", "★")
	if !eval[bool](me, `document.activeElement === mine && moved === 0 && mine.getAttribute("aria-pressed") === "true"`) {
		t.Error("the star is another one")
	}
}

// On a phone nothing that can be pressed or must be known is beside the window.
func TestBrowserPhone(t *testing.T) {
	b := newLab(t, lab.Options{Only: lab.Shop})
	me := b.browse()
	me.wide(390)
	me.visit("/p/shop/environments")
	me.sees("grace-checkout", "Extend", "End")
	if out := eval[string](me, `[...document.querySelectorAll("table a, table .status")].filter(e => { const r = e.getBoundingClientRect(); return r.right > innerWidth || r.width === 0; }).map(e => e.textContent).join()`); out != "" {
		t.Errorf("beside the window: %s", out)
	}
	me.picture("environments")
	me.visit("/p/shop?stage=acceptance&outcome=failed&author=grace#builds")
	me.picture("filtered")
	me.accessible("filtered builds")
	me.visit("/p/shop/images?q=acceptance")
	me.picture("images")
}
