// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/penstock-io/terraform-provider-penstock/internal/board"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// tab is one of a real browser.
type tab struct {
	*bed
	ctx      context.Context
	pictures *int
}

// chromium finds the browser: what CHROMIUM names, else one on PATH.
func chromium(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("CHROMIUM"); path != "" {
		return path
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("there is no Chromium: run the tests with `make test`, which finds or installs it, or set CHROMIUM")
	return ""
}

// refusals are the errors that a browser reports of answers that tests ask for: a page that is not
// there or not for this person, and a server that stops. Which one it reports of a stop depends on
// how far a request had come: not yet connected, connected, sent, or answered in part.
var refusals = regexp.MustCompile(`404 \(Not Found\)|Code 404 from|401 \(Unauthorized\)|403 \(Forbidden\)|` +
	`net::ERR_(CONNECTION_(REFUSED|RESET|CLOSED|ABORTED)|SOCKET_NOT_CONNECTED|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING)`)

// browse starts the board of one person, and a browser that has signed in there.
func (b *bed) browse(change ...func(*board.Options)) *tab {
	b.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium(b)), chromedp.NoSandbox, chromedp.WindowSize(1280, 900))
	ctx, end := chromedp.NewContext(b.Context(), chromedp.WithAllocatorOptions(options...))
	access := board.NewToken(b.app.Person())
	b.serve(access, change...)
	t := &tab{bed: b, ctx: ctx, pictures: new(int)}
	t.must(chromedp.Do(ctx)) // starts it
	messages, heard := chromedp.Console(ctx), make(chan struct{})
	var faults []string // of scripts, and what the policy of the board's pages forbids
	go func() {
		defer close(heard)
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.IsException() || m.Type == "error" && !refusals.MatchString(m.Text) {
				faults = append(faults, m.String())
			}
		}
	}()
	b.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // and waits until it has ended
		end()
		<-heard
		if len(faults) > 0 {
			b.Errorf("the browser complains of %q", faults)
		}
	})
	t.enter(access.Path())
	return t
}

// enter signs in by a printed address.
func (t *tab) enter(path string) {
	t.Helper()
	t.visit(path)
	t.click("main", "Sign in as")
	t.sees("Pipelines")
}

// another opens another tab.
func (t *tab) another() *tab {
	t.Helper()
	ctx, end := chromedp.NewContext(t.ctx)
	t.Cleanup(end)
	other := &tab{bed: t.bed, ctx: ctx, pictures: t.pictures}
	t.must(chromedp.Do(ctx))
	return other
}

// do does actions, within the time that a person would wait for them. What the page has just put
// in place of another is looked for again.
func (t *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, 30*time.Second)
	defer cancel()
	err := chromedp.Do(ctx, actions...)
	for err != nil && replaced(err) && ctx.Err() == nil {
		err = chromedp.Do(ctx, actions...)
	}
	if err != nil {
		text, _ := chromedp.Run(t.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
		t.Fatalf("%v\non %s", err, text)
	}
}

// replaced says whether an element had gone when the browser was asked to act on it, so that
// nothing was done.
func replaced(err error) bool { return strings.Contains(strings.ToLower(err.Error()), "node") }

func (t *tab) visit(path string) { t.Helper(); t.do(chromedp.Navigate(t.server.URL + path)) }

// button is the button or the link of a text, in a part of the page.
func button(part, text string) string {
	return fmt.Sprintf(`(//%s//*[self::a or self::button or self::summary][starts-with(normalize-space(.), %q)])[1]`, part, text)
}

// click presses a button or a link, as soon as nothing is before it. The page does this by itself:
// it may move the button at any time, and a mouse, which is told a place, would then press another
// thing, or nothing.
func (t *tab) click(part, text string) {
	t.Helper()
	script := fmt.Sprintf(`(() => {
		const e = document.evaluate(%q, document, null, XPathResult.FIRST_ORDERED_NODE_TYPE).singleNodeValue;
		e?.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
		const at = e?.getClientRects()[0];
		const seen = at && document.elementFromPoint(at.x + at.width / 2, at.y + at.height / 2);
		if (!e?.contains(seen)) return false;
		e.click();
		return true;
	})()`, button(part, text))
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if done, err := chromedp.Run(t.ctx, chromedp.Evaluate[bool](script)); err == nil && done {
			return
		}
		if time.Now().After(deadline) {
			page, _ := chromedp.Run(t.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
			t.Fatalf("%q can't be pressed on %s", text, page)
		}
	}
}

// sees waits until the page says a text, however it comes there: a page that is just
// being left has nothing to ask.
func (t *tab) sees(texts ...string) {
	t.Helper()
	for _, text := range texts {
		var page string
		seen := func() bool {
			now, err := chromedp.Run(t.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
			if err == nil {
				page = now
			}
			return err == nil && strings.Contains(now, text)
		}
		for deadline := time.Now().Add(30 * time.Second); !seen(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%q is not to be seen on %s", text, page)
			}
		}
	}
}

// eval returns the result of a script.
func eval[T any](t *tab, script string) T {
	t.Helper()
	v, err := chromedp.Run(t.ctx, chromedp.Evaluate[T](script))
	t.must(err)
	return v
}

// pictures reports whether pictures are kept, as by `make screens`. Making one takes longer than
// the page itself.
func pictures() bool { return flag.Lookup("test.artifacts").Value.String() == "true" }

// picture keeps what the browser shows, in light and in dark, where pictures are kept.
func (t *tab) picture(name string) {
	t.Helper()
	if *t.pictures++; !pictures() {
		return
	}
	for _, scheme := range schemes {
		t.prefer(scheme)
		png, err := chromedp.Run(t.ctx, chromedp.FullScreenshot(100))
		t.must(err)
		t.keep(name+"-"+scheme, png)
	}
}

// keep writes a picture.
func (t *tab) keep(name string, png []byte) {
	t.Helper()
	t.must(os.WriteFile(filepath.Join(t.ArtifactDir(), fmt.Sprintf("%s-%02d-%s.png", t.Name(), *t.pictures, name)), png, 0o600))
}

var schemes = []string{"light", "dark"}

// prefer makes the browser prefer light or dark pages.
func (t *tab) prefer(scheme string) {
	t.Helper()
	_, err := chromedp.Call(t.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	t.must(err)
}

// accessible fails for what makes a page hard to use for some: what axe finds serious or
// worse, in light and in dark.
func (t *tab) accessible(where string) {
	t.Helper()
	axe, err := os.ReadFile("testdata/axe.min.js")
	t.must(err)
	t.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := chromedp.Evaluate[any](string(axe)+"; 0")(ctx, target)
		return err
	}))
	options := "" // all rules
	for _, scheme := range schemes {
		t.prefer(scheme)
		type finding struct {
			ID, Impact, Help string
			Nodes            []struct{ HTML string }
		}
		found, err := chromedp.Run(t.ctx, chromedp.Evaluate[[]finding](`axe.run(`+options+`).then(r => r.violations)`, chromedp.EvalAwaitPromise))
		t.must(err)
		for _, f := range found {
			if f.Impact == "serious" || f.Impact == "critical" {
				t.Errorf("%s, %s: %s (%s) at %+v", where, scheme, f.Help, f.ID, f.Nodes)
			}
		}
		options = `{ runOnly: ["color-contrast"] }` // nothing else depends on the scheme
	}
}

// A person takes a build from its commit to production by buttons alone. What changes is
// shown in each tab at once, without loading the page again.
func TestBrowser(t *testing.T) {
	b := newBed(t)
	me := b.browse()
	me.sees("There are no pipelines yet")
	me.picture("none")
	b.apply()
	one := b.newest()
	me.click("main", "shop")
	me.sees("Waits for people", "waits for a decision on", one, "Begin", "Ada", "Nobody watches")
	me.picture("waits")
	me.accessible("the board")
	other := me.another()
	other.visit("/p/shop")
	eval[bool](other, "window.same = true")

	me.click("main", "Try it")
	me.sees("An environment of your own")
	me.picture("launch")
	me.accessible("a launch")
	me.click("form[@class='ask']", "Launch")
	me.sees("is being launched", "running", "http://127.0.0.1:")
	me.picture("environments")
	me.accessible("the environments")
	me.click("nav[@class='tabs']", "Board")

	me.click("main", "Approve")
	me.sees("passes stage exploratory", "It may then enter production")
	me.do(chromedp.SendKeys(chromedp.CSS(`textarea[name=reason]`), "tried it"))
	me.picture("approve")
	me.accessible("an approval")
	me.click("form[@class='ask']", "Approve")
	me.sees("is approved at stage exploratory")
	other.sees("can be promoted to")

	me.click("main", "Promote")
	me.sees("Stage production moves to build #1 ("+one+")", "no stage that releases holds a build to compare with")
	me.click("form[@class='ask']", "Promote")
	me.sees("is promoted to stage production")
	b.apply()
	other.sees("http://127.0.0.1:")
	if !eval[bool](other, "window.same === true") {
		t.Error("the other tab was loaded again")
	}
	me.picture("production")
	if got := b.state().Current["production"].Build; got != one {
		t.Fatalf("production's current build is %q", got)
	}

	// The next one shows what it would change, and goes back again.
	b.commit("2", "Make it better")
	gate := filepath.Join(t.TempDir(), "gate")
	b.slow = fmt.Sprintf(`echo it takes a while; while ! [ -e %q ]; do sleep 0.05; done; echo gone on`, gate)
	applied := make(chan error, 1)
	go func() { applied <- b.tryApply() }()
	other.sees("Make it better", "1/3 slow", "it takes a while")
	other.picture("running")
	me.visit("/p/shop/runs/" + b.state().Latest["commit"].ID)
	me.sees("it takes a while")
	b.must(os.WriteFile(gate, nil, 0o600))
	me.sees("gone on", "unit tests")
	b.must(<-applied)
	me.sees("passed")
	two := b.newest()
	me.visit("/p/shop")
	me.click("main", "Approve")
	me.click("form[@class='ask']", "Approve")
	me.click("main", "Promote")
	me.sees("Runs now", "Stage production moves from build #1 ("+one+") to build #2 ("+two+")", "1 commit that it brings", "Make it better", "version")
	me.picture("promote")
	me.accessible("a promotion")
	me.click("form[@class='ask']", "Promote")
	me.sees("is promoted")
	b.apply()
	me.visit("/p/shop/builds/" + one)
	me.click("main", "Roll back")
	me.sees("goes back from build #2 ("+two+") to build #1 ("+one+")", "1 commit that it takes back", "To go back to #2")
	me.picture("rollback")
	me.click("form[@class='ask']", "Roll back")
	b.apply()
	if got := b.state().Current["production"].Build; got != one {
		t.Fatalf("production's current build is %q after the roll back", got)
	}

	for _, page := range []struct{ name, path string }{
		{"build", "/p/shop/builds/" + two}, {"runs", "/p/shop/runs"}, {"load", "/p/shop/runs/" + b.state().Latest["capacity"].ID},
		{"images", "/p/shop/images"}, {"metrics", "/p/shop/metrics"}, {"pipelines", "/"}, {"error", "/p/none"},
	} {
		me.visit(page.path)
		me.picture(page.name)
		me.accessible(page.name)
	}
}

// The other buttons do what they say, too. Changes are announced to screen readers.
func TestBrowserSteers(t *testing.T) {
	b := newBed(t)
	b.apply()
	one := b.newest()
	me := b.browse()
	me.visit("/p/shop")
	more := func(stage, text string) {
		t.Helper()
		me.visit("/p/shop")
		me.click(fmt.Sprintf("li[@id='stage-%s']", stage), "⋯")
		me.picture("more")
		me.click(fmt.Sprintf("li[@id='stage-%s']", stage), text)
	}
	more("production", "Pause")
	me.sees("No build enters stage production until somebody resumes it")
	me.picture("pause")
	me.do(chromedp.SendKeys(chromedp.CSS(`textarea[name=reason]`), "it is Friday"))
	me.click("form[@class='ask']", "Pause")
	me.sees("Stage production is paused.", "is paused by", "it is Friday")
	me.picture("paused")
	me.accessible("a paused stage")
	me.click("main", "Resume")
	me.click("form[@class='ask']", "Resume")
	me.sees("Stage production goes on.")

	more("capacity", "Run again")
	me.sees("Stage capacity runs once more")
	me.click("form[@class='ask']", "Run again")
	me.sees("Stage capacity runs again with the next apply.")
	b.apply()
	me.sees("passed")
	b.await("the news", func() bool {
		return strings.Contains(eval[string](me, `document.getElementById("news").textContent`), "capacity is ")
	})

	me.click("main", "Reject")
	me.sees("enters no stage any more")
	me.picture("reject")
	me.accessible("a rejection")
	me.do(chromedp.SendKeys(chromedp.CSS(`textarea[name=reason]`), "it leaks"))
	me.click("form[@class='ask']", "Reject")
	me.sees("is rejected at stage exploratory")
	if got := b.outcome("exploratory", one); got != pipeline.OutcomeRejected {
		t.Errorf("exploratory is %q", got)
	}

	b.commit("2", "Next")
	b.apply()
	me.visit("/p/shop/do/launch")
	me.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("input[name=name]").value = "mine"; undefined`))
	me.click("form[@class='ask']", "Launch")
	me.sees("mine", "http://127.0.0.1:")
	ends := func() float64 { env, _ := b.state().PersonEnvironment("mine"); return env.TTL.Hours() }
	me.click("main", "Extend")
	me.sees("ends when the time that you choose is over")
	me.picture("extend")
	me.do(chromedp.SetValue(chromedp.CSS(`select[name=ttl]`), "24h0m0s"))
	me.click("form[@class='ask']", "Extend")
	me.sees("lives for 1d from now on")
	b.await("the extension", func() bool { return ends() == 24 })
	me.click("main", "End")
	me.sees("is ended at once, with its data")
	me.picture("end")
	me.click("form[@class='ask']", "End it")
	me.sees("There is no environment")

	b.commit("bad", "Break it")
	if err := b.tryApply(); err == nil {
		t.Fatal("the bad commit passes")
	}
	me.visit("/p/shop")
	me.sees("commit failed for", "Break it")
	me.picture("failed")
	me.accessible("a failure")
	me.visit("/p/shop/runs/" + b.state().Latest["commit"].ID)
	me.sees("2 tests, 1 failed")
	me.click("main", "answers")
	me.sees("it answers with nothing")
	me.picture("failed-run")
	me.accessible("a run that failed")
	me.click("main", "Run again")
	me.click("form[@class='ask']", "Run again")
	me.sees("Stage commit runs again with the next apply.")
}

// A page does not move under a pressed button, and shows what has changed once the button is let go.
func TestBrowserPressed(t *testing.T) {
	b := newBed(t)
	b.apply()
	me := b.browse()
	other := me.another()
	me.visit("/p/shop")
	eval[bool](me, `window.came = 0; document.addEventListener("htmx:beforeSwap", () => came++); true`)
	mouse := func(on string, event input.DispatchMouseEventType) {
		t.Helper()
		at := eval[struct{ X, Y float64 }](me, fmt.Sprintf(`(() => {
			const at = document.evaluate(%q, document, null, XPathResult.FIRST_ORDERED_NODE_TYPE).singleNodeValue.getBoundingClientRect();
			return { X: at.x + at.width / 2, Y: at.y + at.height / 2 };
		})()`, on))
		me.do(chromedp.MouseEvent(event, at.X, at.Y, chromedp.ButtonLeft, chromedp.ClickCount(1)))
	}
	steer := func(verb string) {
		t.Helper()
		came := eval[int](me, `came`)
		other.visit("/p/shop/do/" + strings.ToLower(verb) + "?stage=production")
		other.click("form[@class='ask']", verb)
		b.await("the change", func() bool { return eval[int](me, `came`) > came })
	}
	heading, approve := "//main//h1", button("main", "Approve")
	mouse(heading, chromedp.MousePressed)
	steer("Pause")
	if page := eval[string](me, `document.body.innerText`); strings.Contains(page, "is paused by") {
		t.Errorf("the page changes under a pressed button: %s", page)
	}
	mouse(heading, chromedp.MouseReleased)
	me.sees("is paused by")

	mouse(approve, chromedp.MousePressed)
	steer("Resume")
	mouse(approve, chromedp.MouseReleased)
	me.sees("passes stage exploratory")
}

// Without JavaScript every page can be read, and every form sent by who signed in without it.
func TestBrowserWithoutScripts(t *testing.T) {
	b := newBed(t)
	b.apply()
	one := b.newest()
	me := b.browse()
	_, err := chromedp.Call(me.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.must(err)
	has := func(texts ...string) {
		t.Helper()
		page, err := chromedp.Run(me.ctx, chromedp.OuterHTML(chromedp.CSS("body")))
		for err != nil && replaced(err) && t.Context().Err() == nil {
			page, err = chromedp.Run(me.ctx, chromedp.OuterHTML(chromedp.CSS("body")))
		}
		b.must(err)
		for _, text := range texts {
			if !strings.Contains(words(page), text) {
				t.Fatalf("there is no %q on the page: %s", text, words(page))
			}
		}
	}
	at := func(path string) {
		t.Helper()
		b.await(path, func() bool {
			at, err := chromedp.Run(me.ctx, chromedp.Location())
			return err == nil && at == b.server.URL+path
		})
	}
	me.visit("/")
	me.do(chromedp.Focus(chromedp.CSS(`form.who button`)), chromedp.KeyEvent(kb.Enter))
	at("/sign-out")
	me.visit(b.page.Access.(*board.Token).Fresh())
	me.do(chromedp.Focus(chromedp.CSS(`form.ask button`)), chromedp.KeyEvent(kb.Enter))
	at("/")

	me.visit("/p/shop")
	has("Waits for people", one, "Begin")
	me.visit("/p/shop/runs/" + b.state().Latest["commit"].ID)
	has("unit tests", `== step "build" passed`)
	me.visit("/p/shop?q=begin")
	has("1 of 1 build ")
	me.do(chromedp.Focus(chromedp.CSS(`a[href*="do/approve"]`)), chromedp.KeyEvent(kb.Enter))
	b.await("the page that asks", func() bool {
		at, err := chromedp.Run(me.ctx, chromedp.Location())
		return err == nil && strings.Contains(at, "/do/approve")
	})
	has("passes stage exploratory")
	me.do(chromedp.Focus(chromedp.CSS(`form.ask button`)), chromedp.KeyEvent(kb.Enter))
	b.await("the approval", func() bool { return b.outcome("exploratory", one) == pipeline.OutcomePassed })
}

// What a commit says does nothing in a browser but be read; on a phone nothing is cut off.
func TestBrowserHostile(t *testing.T) {
	b := newBed(t)
	b.commit("1.1", `<script>window.hacked=1</script><img src=x onerror="window.hacked=2"> <svg onload="window.hacked=3"> {{constructor.constructor('window.hacked=4')()}} hx-on:load="window.hacked=5"`)
	b.slow = `printf '%s\n' '</span><script>window.hacked=6</script><img src=x onerror=window.hacked=7>'`
	b.apply()
	me := b.browse()
	const phone = 390 // pixels
	me.do(chromedp.EmulateViewport(phone, 844, chromedp.EmulateMobile))
	for _, path := range []string{"/p/shop", "/p/shop/builds/" + b.newest(), "/p/shop/runs/" + b.state().Latest["commit"].ID, "/p/shop/runs", "/p/shop/images", "/p/shop/metrics", "/p/shop/history", "/p/shop/environments", "/p/shop/do/launch", "/p/shop/do/approve?stage=exploratory&build=" + b.newest(), "/"} {
		me.visit(path)
		if strings.HasPrefix(path, "/p/shop/builds") || strings.HasPrefix(path, "/p/shop/runs/") {
			me.sees("window.hacked")
		}
		if got := eval[string](me, "String(window.hacked)"); got != "undefined" {
			t.Errorf("%s ran what a commit or a log said: %s", path, got)
		}
		if wide := eval[float64](me, "document.documentElement.scrollWidth"); wide > phone {
			t.Errorf("%s is %g pixels wide on a phone", path, wide)
		}
		me.picture("phone")
	}
}

// A page that nobody sees keeps no stream open; it catches up when somebody sees it. One
// whose session has ended, or whose pipeline is gone, does not stay as if it were live.
func TestBrowserStreams(t *testing.T) {
	b := newBed(t)
	gate := filepath.Join(t.TempDir(), "gate")
	b.slow = fmt.Sprintf(`echo it b'egins'; while ! [ -e %q ]; do sleep 0.05; done; echo it g'oes on'`, gate)
	ended := make(chan error, 1)
	go func() { ended <- b.tryApply() }()
	run := b.running("commit")
	me := b.browse()
	me.visit("/p/shop/runs/" + run)
	me.sees("it begins")
	b.await("the streams", func() bool { return b.page.Streams() == 2 })
	show := func(visible bool) {
		t.Helper()
		eval[bool](me, fmt.Sprintf(`Object.defineProperty(document, "hidden", {configurable: true, get: () => %v}); document.dispatchEvent(new Event("visibilitychange"))`, !visible))
	}
	show(false)
	b.await("the end of the streams", func() bool { return b.page.Streams() == 0 })
	b.must(os.WriteFile(gate, nil, 0o600))
	b.must(<-ended)
	show(true)
	me.sees("it goes on", "unit tests", "passed")

	// A change costs one look at the page, also after others.
	me.visit("/p/shop")
	me.sees("Value stream")
	const changes = 8
	for i := range changes {
		_, err := b.app.Engine.Decisions.Do(t.Context(), decision.Command{Verb: decision.Pause, Pipeline: "shop", Stage: "production", Reason: fmt.Sprintf("reason %d", i)})
		b.must(err)
		me.sees(fmt.Sprintf("reason %d", i))
		_, err = b.app.Engine.Decisions.Do(t.Context(), decision.Command{Verb: decision.Resume, Pipeline: "shop", Stage: "production"})
		b.must(err)
		b.await("the release", func() bool { return eval[bool](me, `!document.body.innerText.includes("is paused by")`) })
	}
	if asked := eval[float64](me, `performance.getEntriesByType("resource").filter(e => e.initiatorType === "xmlhttprequest").length`); asked > 2*changes+2 {
		t.Errorf("%d changes made the page ask %g times", 2*changes, asked)
	}

	// A look that fails is taken again, though the stream has said what it had to.
	eval[bool](me, `const send = XMLHttpRequest.prototype.send; XMLHttpRequest.prototype.send = function () {
		XMLHttpRequest.prototype.send = send;
		setTimeout(() => {
			const say = console.error;
			console.error = () => window.failed = true; // htmx complains of this one
			this.onerror(new ProgressEvent("error"));
			console.error = say;
		});
	}; true`)
	_, err := b.app.Engine.Decisions.Do(t.Context(), decision.Command{Verb: decision.Pause, Pipeline: "shop", Stage: "production", Reason: "seen in spite of it"})
	b.must(err)
	me.sees("seen in spite of it")
	if !eval[bool](me, `window.failed === true`) {
		t.Error("no look failed")
	}

	// A page that has changed, and back while nobody saw it, says so.
	me.visit("/p/shop")
	me.sees("Nobody watches")
	_, watch, err := b.app.Engine.Watch(t.Context(), "shop", "watch of .")
	b.must(err)
	me.sees("watches on")
	show(false)
	b.await("the end of the streams", func() bool { return b.page.Streams() == 0 })
	watch.End(t.Context())
	show(true)
	me.sees("Nobody watches")

	b.must(b.app.Engine.Pipelines.Remove(t.Context(), "shop", "", true))
	me.sees(`there is no pipeline "shop"`)

	b.apply()
	me.visit("/p/shop")
	other := me.another()
	other.visit("/p/shop/environments")
	b.await("the streams", func() bool { return b.page.Streams() == 2 })
	me.click("header", "Sign out")
	me.sees("You have signed out")
	me.picture("signed-out")
	other.sees("Press Enter in the terminal of penstock serve")
}
