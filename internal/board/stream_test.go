// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/app/apptest"
	"github.com/penstock-io/terraform-provider-penstock/internal/artifact"
	"github.com/penstock-io/terraform-provider-penstock/internal/board"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// event is one of a stream.
type event struct{ id, name, data string }

// listen opens a stream, and returns its events; the channel closes with the stream.
func (b *bed) listen(ctx context.Context, path string, header ...string) <-chan event {
	b.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.server.URL+path, nil)
	b.must(err)
	r.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Client{Jar: b.client.Jar, Transport: b.client.Transport}).Do(r)
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

// next returns the next event; the test fails where none comes.
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

// seen returns the fingerprint that a page carries.
func (b *bed) seen(path string) string {
	b.Helper()
	_, seen, _ := strings.Cut(b.stream(path), "?seen=")
	return seen
}

// stream returns the address of the stream that a page listens to.
func (b *bed) stream(path string) string {
	b.Helper()
	found := regexp.MustCompile(`sse-connect="([^"]+)"><div id="live" data-seen="([^"]+)"`).FindStringSubmatch(b.get(path))
	if found == nil {
		b.Fatalf("%s is not live", path)
	}
	return found[1] + "?seen=" + found[2]
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

	// A page is notified of changes of what it shows.
	hears := map[string]<-chan event{}
	b.press(b.client, "pause", stageBuild("production", ""), nil, http.StatusOK)
	for _, page := range []string{"/", "/p/shop", "/p/shop/builds/" + one, "/p/shop/images", "/p/shop/runs", "/p/shop/environments"} {
		hears[page] = b.listen(t.Context(), b.stream(page))
	}
	notified := func(pages ...string) {
		t.Helper()
		for _, page := range pages {
			if e := b.next(hears[page]); e.name != "changed" {
				t.Errorf("%s hears %+v", page, e)
			}
		}
		for _, events := range hears {
			b.nothing(events)
		}
	}
	notified()
	b.press(b.client, "resume", stageBuild("production", ""), nil, http.StatusOK)
	notified("/", "/p/shop", "/p/shop/builds/"+one, "/p/shop/images")
	st := b.state()
	env := pipeline.Environment{ID: "e-1", Pipeline: "shop", Name: "mine", Purpose: pipeline.ForPerson, Owner: "ann", Status: pipeline.EnvGone}
	apptest.Append(t, b.app, pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{
		{Kind: pipeline.EnvironmentChanged, Actor: "ann", Facts: pipeline.Facts{Environment: &env}},
	}})
	notified("/", "/p/shop", "/p/shop/builds/"+one, "/p/shop/images", "/p/shop/environments")
	run := pipeline.Run{ID: "r-1", Pipeline: "shop", Stage: "capacity", Kind: pipeline.KindStage, Build: one, Digest: st.Latest["capacity"].Digest, Status: pipeline.RunFailed, Phase: pipeline.PhaseDone, Order: 1}
	apptest.Append(t, b.app, pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{
		{Kind: pipeline.RunEnded, Actor: "ann", Facts: pipeline.Facts{Run: &run}},
	}})
	notified("/", "/p/shop", "/p/shop/builds/"+one, "/p/shop/images", "/p/shop/runs")
}

// A page is notified at once of a run's progress, and seldom of just another line of its
// log.
func TestLines(t *testing.T) {
	b := newBed(t)
	dir := t.TempDir()
	line, gate := filepath.Join(dir, "line"), filepath.Join(dir, "gate")
	b.slow = fmt.Sprintf(`echo o'ne'; while ! [ -e %q ]; do sleep 0.05; done; echo t'wo'; while ! [ -e %q ]; do sleep 0.05; done`, line, gate)
	b.serve(nil)
	b.page.Lines(time.Hour)
	ended := make(chan error, 1)
	go func() { ended <- b.tryApply() }()
	run := b.running("commit")
	shows := func(text string) {
		b.await("the line", func() bool { return strings.Contains(b.get("/p/shop"), `<span class="line">`+text+"</span>") })
	}
	shows("one")
	board, page := b.listen(t.Context(), b.stream("/p/shop")), b.listen(t.Context(), b.stream("/p/shop/runs/"+run))
	b.must(os.WriteFile(line, nil, 0o600))
	shows("two")
	b.nothing(board)
	b.nothing(page)
	b.must(os.WriteFile(gate, nil, 0o600))
	for _, events := range []<-chan event{board, page} {
		if e := b.next(events); e.name != "changed" {
			t.Errorf("the end of the step is told as %+v", e)
		}
	}
	b.must(<-ended)
}

// They are notified, though.
func TestNotifiesOfLines(t *testing.T) {
	b := newBed(t)
	gate := filepath.Join(t.TempDir(), "gate")
	b.slow = fmt.Sprintf(`i=0; while ! [ -e %q ]; do i=$((i+1)); echo $i; sleep 0.05; done`, gate)
	b.serve(nil)
	b.page.Lines(0)
	ended := make(chan error, 1)
	go func() { ended <- b.tryApply() }()
	b.running("commit")
	board := b.listen(t.Context(), b.stream("/p/shop"))
	for range 10 { // nothing else changes as often before the step has ended
		b.next(board)
	}
	b.must(os.WriteFile(gate, nil, 0o600))
	b.must(<-ended)
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
	run := b.running("commit")
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
		Step   string
		Parts  []struct{ Text string }
	}
	b.must(json.Unmarshal([]byte(last.data), &line))
	if last.id != fmt.Sprint(line.Number) || line.Number != len(lines) || line.Step != "slow" || len(line.Parts) != 1 || line.Parts[0].Text != "<b>two</b>" {
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
	found := b.get("/p/shop/runs/"+run+"?q=THREE", `id="L`, ">three", "?line=")
	if strings.Contains(found, "two") && strings.Contains(found, ">1</a>") {
		t.Error("a search shows lines that it did not find")
	}
	b.get("/p/shop/runs/"+run+"?q=nothing", "0 of ")
}

// Hundreds of pages can be open. They cost one poll for all, and their memory does not
// grow with time.
func TestManyStreams(t *testing.T) {
	const people, streams = 25, 500
	b := newBed(t)
	b.apply()
	b.serve(behind)
	one := b.newest()
	busy := runtime.NumGoroutine()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	var open []<-chan event
	for i := range people {
		b.client = b.as(fmt.Sprint("person-", i))
		path := "/p/shop/events?seen=" + b.seen("/p/shop")
		for range streams / people {
			open = append(open, b.listen(ctx, path))
		}
	}
	toggle := func(round int) {
		var err error
		if round%2 == 0 {
			_, err = b.app.Engine.Decisions.Do(t.Context(), decision.Command{Verb: decision.Pause, Pipeline: "shop", Stage: "production"})
		} else {
			_, err = b.app.Engine.Decisions.Do(t.Context(), decision.Command{Verb: decision.Resume, Pipeline: "shop", Stage: "production"})
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
	b.await("the end of what the pages cost", func() bool { return b.page.Streams() == 0 && runtime.NumGoroutine() < busy+20 })
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
	_, watch, err := b.app.Engine.Watch(t.Context(), "shop", "watch of .")
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
		watch.Doing(t.Context(), text)
		changed()
		b.get("/p/shop", ": it "+text)
		watch.Doing(t.Context(), "")
		changed()
	}
	b.get("/p/shop", "what can move is applied by itself")
	watch.End(t.Context())
	changed()
	b.get("/p/shop", "Nobody watches")
}

// A page is also notified of what changes between its load and the board's first
// poll.
func TestChangedBeforeFirstLook(t *testing.T) {
	b := newBed(t)
	b.serve(nil)
	b.apply()
	looks := make(chan struct{})
	b.page.BeforeLook(func() { <-looks })
	events := b.listen(t.Context(), b.stream("/p/shop"))
	_, watch, err := b.app.Engine.Watch(t.Context(), "shop", "watch of .")
	b.must(err)
	defer watch.End(t.Context())
	close(looks)
	if e := b.next(events); e.name != "changed" {
		t.Errorf("the event is %+v", e)
	}
}

// What a connection has of deadlines ends no stream, however quiet that is.
func TestQuiet(t *testing.T) {
	for name, secure := range map[string]bool{"HTTP/1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			b.apply()
			b.secure = secure
			b.serve(nil, func(*board.Options) {
				b.server.Config.ReadTimeout, b.server.Config.WriteTimeout = time.Second, time.Second
			})
			b.page.Pace(time.Hour, time.Second)
			if resp, err := b.client.Get(b.server.URL + "/p/shop"); err != nil || resp.ProtoMajor == 2 != secure {
				t.Fatalf("it is served with %+v: %v", resp, err)
			}
			events := b.listen(t.Context(), "/p/shop/events?seen="+b.seen("/p/shop"))
			for range 6 {
				b.nothing(events)
			}
			_, err := b.app.Engine.Decisions.Do(t.Context(), decision.Command{Verb: decision.Pause, Pipeline: "shop", Stage: "production"})
			b.must(err)
			if e := b.next(events); e.name != "changed" {
				t.Errorf("the event is %+v", e)
			}
		})
	}
}

// A stream with nothing to say says so, to keep its connection; and ends when who has it
// signs out, in any tab.
func TestSignedOut(t *testing.T) {
	b := newBed(t)
	gate := filepath.Join(t.TempDir(), "gate")
	b.slow = fmt.Sprintf(`while ! [ -e %q ]; do sleep 0.05; done`, gate)
	b.serve(nil)
	b.page.Pace(20*time.Millisecond, 30*time.Second)
	ended := make(chan error, 1)
	go func() { ended <- b.tryApply() }()
	run := b.running("commit")
	for _, path := range []string{"/p/shop/events", "/p/shop/runs/" + run + "/follow"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+path, nil)
		b.must(err)
		resp, err := b.client.Do(r)
		b.must(err)
		beats := 0
		for lines := bufio.NewScanner(resp.Body); beats < 3 && lines.Scan(); {
			if strings.HasPrefix(lines.Text(), ": ") {
				beats++
			}
		}
		b.must(resp.Body.Close())
		if beats < 3 {
			t.Fatalf("%s says nothing", path)
		}
	}
	changes, lines := b.listen(t.Context(), "/p/shop/events"), b.listen(t.Context(), "/p/shop/runs/"+run+"/follow")
	b.want(b.client, http.MethodPost, "/sign-out", url.Values{}, http.StatusOK)
	for range changes {
	}
	for e := range lines {
		if e.name == "end" {
			t.Error("the log of a run that goes on has ended")
		}
	}
	b.await("the end of the streams", func() bool { return b.page.Streams() == 0 })
	b.must(os.WriteFile(gate, nil, 0o600))
	b.must(<-ended)
}

// A stream is of the person who opened it: where a proxy says that another is there now,
// it ends.
func TestStreamOfAnother(t *testing.T) {
	b := newBed(t)
	b.apply()
	b.serve(&board.Proxy{Header: "X-User", Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	b.send(b.client, http.MethodGet, "/p/shop", nil, "X-User", "ann")
	events := b.listen(t.Context(), "/p/shop/events", "X-User", "ann")
	b.send(b.client, http.MethodGet, "/p/shop", nil, "X-User", "bob")
	for range events {
	}
}

// Readers of a log that have left cost nothing.
func TestFollowersLeave(t *testing.T) {
	b := newBed(t)
	gate := filepath.Join(t.TempDir(), "gate")
	b.slow = fmt.Sprintf(`seq 20000; echo l'ast'; while ! [ -e %q ]; do sleep 0.05; done`, gate)
	b.serve(nil)
	ended := make(chan error, 1)
	go func() { ended <- b.tryApply() }()
	run := b.running("commit")
	b.await("its log", func() bool {
		_, page := b.send(b.client, http.MethodGet, "/p/shop/runs/"+run, nil)
		return strings.Contains(page, ">last</span>")
	})
	busy := runtime.NumGoroutine()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	var open []<-chan event
	for range 30 {
		open = append(open, b.listen(ctx, "/p/shop/runs/"+run+"/follow"))
	}
	for _, events := range open {
		b.next(events)
	}
	leave()
	for _, events := range open {
		for range events {
		}
	}
	b.await("the end of what they cost", func() bool { return b.page.Streams() == 0 && runtime.NumGoroutine() < busy+10 })
	b.must(os.WriteFile(gate, nil, 0o600))
	b.must(<-ended)
}

// running waits until a stage runs, and returns the run.
func (b *bed) running(stage string) (run string) {
	b.Helper()
	b.await("the run", func() bool {
		st, err := b.app.Engine.State(b.Context(), "shop")
		if err != nil || st.Latest[stage].Status != pipeline.RunRunning {
			return false
		}
		run = st.Latest[stage].ID
		return true
	})
	return run
}

// A log is sent to its end however slowly somebody reads it.
func TestSlowReader(t *testing.T) {
	b := newBed(t)
	b.apply()
	run := b.state().Latest["commit"].ID
	log, err := artifact.NewLogs(filepath.Join(b.app.Dir, "logs")).Create(t.Context(), "shop", run)
	b.must(err)
	line := strings.Repeat("x", 99) + "\n"
	for range 1000 { // more than what the connection holds
		_, err = io.WriteString(log, strings.Repeat(line, 400))
		b.must(err)
	}
	b.must(log.Close())
	b.serve(nil, func(*board.Options) { b.server.Config.WriteTimeout = time.Second })
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+"/p/shop/runs/"+run+"/log", nil)
	b.must(err)
	resp, err := (&http.Client{Jar: b.client.Jar}).Do(r)
	b.must(err)
	defer resp.Body.Close()
	_, err = io.CopyN(io.Discard, resp.Body, 1000)
	b.must(err)
	time.Sleep(2 * time.Second)
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || n < 40_000_000-1000 {
		t.Errorf("%d bytes came: %v", n, err)
	}
}
