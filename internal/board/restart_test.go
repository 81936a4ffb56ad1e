// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/penstock-io/terraform-provider-penstock/internal/board"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// restart ends the board, does something, and starts another one at the same address.
func (b *bed) restart(access board.Access, between func(), change ...func(*board.Options)) {
	b.Helper()
	address := b.server.Listener.Addr().String()
	b.page.Close()
	b.server.CloseClientConnections()
	b.server.Close()
	between()
	listener, err := net.Listen("tcp", address)
	b.must(err)
	b.listener = listener
	b.serve(access, change...)
}

// A restart of the server takes tabs along: nobody signs in again, pages go on, and forms are
// sent with the key that the browser kept, also one that was open.
func TestBrowserRestart(t *testing.T) {
	b := newBed(t)
	b.apply()
	file := filepath.Join(t.TempDir(), "sessions.json")
	keep := func(o *board.Options) { o.Sessions = file }
	me := b.browse(keep)
	asks := me.another()
	asks.visit("/p/shop")
	asks.click("main", "Approve")
	asks.do(chromedp.SendKeys(chromedp.CSS(`textarea[name=reason]`), "tried it before"))
	me.visit("/p/shop")
	me.sees("Nobody watches")
	eval[bool](me, "window.same = true")
	b.restart(board.NewToken(b.app.Person()), func() { me.sees("The board does not answer") }, keep)
	_, watch, err := b.app.Engine.Watch(t.Context(), "shop", "watch of .")
	b.must(err)
	defer watch.End(t.Context())
	me.sees("watches on")
	if !eval[bool](me, "window.same === true") {
		t.Error("the page was loaded again")
	}
	asks.click("form[@class='ask']", "Approve")
	asks.sees("is approved at stage exploratory")
	me.sees("can be promoted to")
	me.click("main", "Promote")
	me.click("form[@class='ask']", "Promote")
	me.sees("is promoted to stage production")

	// Where the session is over, the page leads back to itself, and nothing that was typed is lost.
	asks.visit("/p/shop/do/pause?stage=production")
	asks.do(chromedp.SendKeys(chromedp.CSS(`textarea[name=reason]`), "the sale & more"))
	me.visit("/p/shop")
	access := board.NewToken(b.app.Person())
	b.restart(access, func() { b.must(os.Remove(file)) }, keep)
	me.sees("Press Enter in the terminal of penstock serve")
	me.picture("enter")
	me.accessible("the sign-in")
	typed := func() string { return eval[string](asks, `document.querySelector("textarea").value`) }
	asks.click("form[@class='ask']", "Pause")
	asks.sees("you are not signed in any more, and nothing was done")
	if got := typed(); got != "the sale & more" {
		t.Errorf("what was typed is %q", got)
	}
	asks.picture("unsent")
	asks.accessible("a form that was not taken")
	asks.click("main", "Sign in")
	asks.do(chromedp.SendKeys(chromedp.CSS(`input[name=token]:not([type=hidden])`), b.server.URL+access.Path()))
	asks.click("main", "Sign in")
	asks.sees("No build enters stage production")
	if got := typed(); got != "the sale & more" {
		t.Errorf("after signing in the form has %q", got)
	}
	asks.click("form[@class='ask']", "Pause")
	asks.sees("Stage production is paused.")
	me.do(chromedp.SendKeys(chromedp.CSS(`input[name=token]:not([type=hidden])`), b.server.URL+access.Fresh()))
	me.click("main", "Sign in")
	me.sees("Value stream")
}

// A form that was open during a restart counts, once: also if it was sent before. Where the board
// keeps no sessions it asks again, with what was typed.
func TestFormsAfterRestart(t *testing.T) {
	b := newBed(t)
	file := filepath.Join(t.TempDir(), "sessions.json")
	keep := func(o *board.Options) { o.Sessions = file }
	b.serve(nil, keep)
	b.apply()
	one := b.newest()
	again := func(access board.Access, change ...func(*board.Options)) {
		t.Helper()
		jar := b.client.Jar
		b.restart(access, func() {}, change...)
		b.client.Jar = jar
	}
	pause := form(b.get("/p/shop/do/pause?stage=production"))
	approve := form(b.get("/p/shop/do/approve?" + stageBuild("exploratory", one).Encode()))
	b.want(b.client, http.MethodPost, "/p/shop/do/pause", pause, http.StatusOK, "Stage production is paused.")
	again(b.token, keep)
	b.want(b.client, http.MethodPost, "/p/shop/do/pause", pause, http.StatusConflict, "this form was sent already")
	b.want(b.client, http.MethodPost, "/p/shop/do/approve", approve, http.StatusOK, "is approved")
	again(b.token, keep)
	b.want(b.client, http.MethodPost, "/p/shop/do/approve", approve, http.StatusConflict, "this form was sent already")

	reject := form(b.get("/p/shop/do/reject?" + stageBuild("exploratory", one).Encode()))
	reject.Set("reason", "it leaks & drips")
	b.must(os.Remove(file))
	again(b.token)
	page := b.want(b.client, http.MethodPost, "/p/shop/do/reject", reject, http.StatusUnauthorized, "nothing was done", ">it leaks & drips</textarea>", "/sign-in?to=")
	b.lacks(page, reject.Get("ticket"))

	// A proxy vouches for people, and nothing of them is kept.
	ann := []string{"X-User", "ann"}
	again(behind)
	_, page = b.send(b.client, http.MethodGet, "/p/shop/do/reject?"+stageBuild("exploratory", one).Encode(), nil, ann...)
	reject = form(page)
	again(behind)
	reject.Set("reason", "it leaks & drips")
	status, page := b.send(b.client, http.MethodPost, "/p/shop/do/reject", reject, ann...)
	if status != http.StatusConflict || b.outcome("exploratory", one) != pipeline.OutcomePassed {
		t.Fatalf("it answers %d: %s", status, words(page))
	}
	mended := form(page)
	mended.Set("reason", "it leaks & drips")
	b.contains(page, "Nothing was done", ">it leaks &amp; drips</textarea>")
	if status, page = b.send(b.client, http.MethodPost, "/p/shop/do/reject", mended, ann...); status != http.StatusOK {
		t.Errorf("once more it answers %d: %s", status, words(page))
	}
	if got := b.outcome("exploratory", one); got != pipeline.OutcomeRejected {
		t.Errorf("exploratory is %q", got)
	}

	// A ticket of one session is none of another.
	values := url.Values{"stage": {"exploratory"}, "build": {one}, "ticket": {mended.Get("ticket")}}
	b.want(b.as("bob"), http.MethodPost, "/p/shop/do/approve", values, http.StatusConflict, "Nothing was done")
}
