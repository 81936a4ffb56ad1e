// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// event is one of a stream.
type event struct{ id, name, data string }

// listen opens a stream, and gives its events; the channel closes with the stream.
func (b *bed) listen(ctx context.Context, path string, header ...string) <-chan event {
	b.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.server.URL+path, nil)
	b.must(err)
	r.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Client{Jar: b.client.Jar}).Do(r)
	b.must(err)
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || got != "text/event-stream" {
		b.Fatalf("GET %s answers %d, %s", path, resp.StatusCode, got)
	}
	events := make(chan event, 100)
	go func() {
		defer close(events)
		defer resp.Body.Close()
		var e event
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			switch name, value, _ := strings.Cut(lines.Text(), ": "); name {
			case "id":
				e.id = value
			case "event":
				e.name = value
			case "data":
				e.data = value
			case "":
				if e.name != "" {
					events <- e
				}
				e = event{}
			}
		}
	}()
	return events
}

// next gives the next event; the test fails where none comes.
func (b *bed) next(events <-chan event) event {
	b.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			b.Fatal("the stream has ended")
		}
		return e
	case <-time.After(30 * time.Second):
		b.Fatal("no event comes")
	}
	return event{}
}

// nothing fails where an event comes within some looks of the board.
func (b *bed) nothing(events <-chan event) {
	b.Helper()
	select {
	case e, ok := <-events:
		b.Fatalf("an event came: %+v, %v", e, ok)
	case <-time.After(500 * time.Millisecond):
	}
}

// seen gives the fingerprint that a page carries.
func (b *bed) seen(path string) string {
	b.Helper()
	_, rest, _ := strings.Cut(b.get(path), "/events?seen=")
	seen, _, _ := strings.Cut(rest, `"`)
	if seen == "" {
		b.Fatalf("%s is not live", path)
	}
	return seen
}

// Pages hear of what changed, and of nothing else; one that was made before it at once.
func TestChanged(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	b.apply()
	one, seen := b.newest(), b.seen("/p/shop")
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	first := b.listen(ctx, "/p/shop/events?seen="+seen)
	b.nothing(first)
	b.press(b.client, "approve", stageBuild("exploratory", one), nil, http.StatusOK)
	if e := b.next(first); e.name != "changed" {
		t.Fatalf("the event is %+v", e)
	}
	b.nothing(first)
	late := b.listen(ctx, "/p/shop/events?seen="+seen)
	if e := b.next(late); e.name != "changed" {
		t.Fatalf("what was made before the change hears %+v", e)
	}
	b.nothing(late)
	b.nothing(first)
	if again := b.seen("/p/shop"); again == seen {
		t.Error("the page is another, and its fingerprint is not")
	}
	if status, _ := b.send(b.client, http.MethodGet, "/p/none/events", nil); status != http.StatusNotFound {
		t.Errorf("the stream of no pipeline answers %d", status)
	}
	leave()
	for range first {
	}

	// So do the page of all pipelines, and that of a build.
	for _, page := range []struct{ path, events string }{{"/", "/events"}, {"/p/shop/builds/" + one, "/p/shop/events"}} {
		b.press(b.client, "hold", stageBuild("production", ""), nil, http.StatusOK)
		events := b.listen(t.Context(), page.events+"?seen="+b.seen(page.path))
		b.nothing(events)
		b.press(b.client, "release", stageBuild("production", ""), nil, http.StatusOK)
		if e := b.next(events); e.name != "changed" {
			t.Errorf("%s hears %+v", page.path, e)
		}
	}
}

// The log of a run comes as it is written, goes on where it was interrupted, and ends with
// the run.
func TestFollow(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	gate := filepath.Join(t.TempDir(), "gate")
	b.slow = fmt.Sprintf(`printf '<b>%%s</b>\n' t'w'o; while ! [ -e %q ]; do sleep 0.05; done; echo t'hree'`, gate)
	ended := make(chan error, 1)
	go func() { ended <- b.tryApply() }()
	var run string
	b.await("the run", func() bool {
		st, err := b.app.Engine.State(t.Context(), "shop")
		if err != nil || st.Latest["commit"].Status != pipeline.RunRunning {
			return false
		}
		run = st.Latest["commit"].ID
		return true
	})
	b.await("its log", func() bool {
		status, page := b.send(b.client, http.MethodGet, "/p/shop/runs/"+run, nil)
		return status == http.StatusOK && strings.Contains(page, "&lt;b&gt;two&lt;/b&gt;</span>") && strings.Contains(page, "data-follow")
	})
	b.get("/p/shop", "slow", "1/3") // where it is
	events := b.listen(t.Context(), "/p/shop/runs/"+run+"/follow?after=0")
	read := func(events <-chan event, until string) (all []event) {
		for {
			e := b.next(events)
			if all = append(all, e); e.name == until || strings.Contains(e.data, until) {
				return all
			}
		}
	}
	lines := read(events, "two")
	last := lines[len(lines)-1]
	var line struct {
		Number int
		Text   string
	}
	b.must(json.Unmarshal([]byte(last.data), &line))
	if last.id != fmt.Sprint(line.Number) || line.Number != len(lines) || !strings.HasSuffix(line.Text, " <b>two</b>") {
		t.Errorf("the line is %+v of %d", last, len(lines))
	}
	resumed := b.listen(t.Context(), "/p/shop/runs/"+run+"/follow?after=0", "Last-Event-ID", last.id)
	b.nothing(resumed)
	b.must(os.WriteFile(gate, nil, 0o600))
	rest := read(resumed, "end")
	if !strings.Contains(rest[0].data, "three") || rest[0].id != fmt.Sprint(line.Number+1) {
		t.Errorf("it goes on with %+v", rest[0])
	}
	read(events, "end")
	b.must(<-ended)
	if page := b.get("/p/shop/runs/" + run); strings.Contains(page, "data-follow") {
		t.Error("the log of a run that has ended is followed")
	}
	b.get("/p/shop/runs/"+run, `href="?line=1#L1"`) // an address that has the line however long the log gets
	found := b.get("/p/shop/runs/"+run+"?q=THREE", `id="L`, " three", "?line=")
	if strings.Contains(found, "two") && strings.Contains(found, ">1</a>") {
		t.Error("a search shows lines that it did not find")
	}
	b.get("/p/shop/runs/"+run+"?q=nothing", "0 of ")
}

// Hundreds of pages can be open. They cost one look for all, and hold no more memory the
// longer they are.
func TestManyStreams(t *testing.T) {
	const streams = 500
	b := newBed(t)
	b.serve(nil)
	b.apply()
	one := b.newest()
	path := "/p/shop/events?seen=" + b.seen("/p/shop")
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	var open []<-chan event
	for range streams {
		open = append(open, b.listen(ctx, path))
	}
	toggle := func(round int) {
		var err error
		if round%2 == 0 {
			_, err = b.app.Engine.Hold(t.Context(), "shop", "production", "")
		} else {
			_, err = b.app.Engine.Release(t.Context(), "shop", "production")
		}
		b.must(err)
		for i, events := range open {
			if e := b.next(events); e.name != "changed" {
				t.Fatalf("page %d hears %+v", i, e)
			}
		}
	}
	for round := range 4 {
		toggle(round)
	}
	before := heap()
	for round := range 20 {
		toggle(round)
	}
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("%d open pages hold %d KiB more after 20 changes", streams, grown>>10)
	}
	leave()
	for _, events := range open {
		for range events {
		}
	}
	b.press(b.client, "approve", stageBuild("exploratory", one), nil, http.StatusOK) // it is still there
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A board that closes ends its streams.
func TestClosed(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	b.apply()
	events := b.listen(t.Context(), "/p/shop/events?seen="+b.seen("/p/shop"))
	b.page.Close()
	for range events {
		t.Error("there is an event")
	}
}

// Where a watcher runs, the page says so, and what it does.
func TestWatcher(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	b.apply()
	b.get("/p/shop", "Nobody watches")
	events := b.listen(t.Context(), "/p/shop/events?seen="+b.seen("/p/shop"))
	_, leave, err := b.app.Engine.Exclusive(t.Context(), "shop", engine.Watching, "watch of .")
	b.must(err)
	changed := func() {
		t.Helper()
		if e := b.next(events); e.name != "changed" {
			t.Fatalf("the event is %+v", e)
		}
	}
	changed()
	b.get("/p/shop", "watches on", "what can move is applied by itself")
	for _, text := range []string{"applies, as commit 0123456789 by Ada touches application", "failed, and tries again at 15:04 UTC or when there is something new: exit status 1"} {
		_, end, err := b.app.Engine.Exclusive(t.Context(), "shop", engine.Doing, text)
		b.must(err)
		changed()
		b.get("/p/shop", ": it "+text)
		end()
		changed()
	}
	b.get("/p/shop", "what can move is applied by itself")
	leave()
	changed()
	b.get("/p/shop", "Nobody watches")
}
