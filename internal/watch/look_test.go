// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package watch

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/app/apptest"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace/workplacetest"
)

func TestMain(m *testing.M) {
	process.Guard()
	os.Exit(workplacetest.Main(m.Run))
}

// place is a repository, and a pipeline that has built its commit.
type place struct {
	*testing.T
	repo  string
	app   *app.App
	query source.Query
}

func newPlace(t *testing.T, targets ...pipeline.NotifyTarget) *place {
	t.Helper()
	p := &place{T: t, repo: t.TempDir()}
	p.git("init", "-q", "-b", "main")
	p.commit("version", "1")
	a, err := app.Open(t.Context(), app.Options{DataDir: filepath.Join(t.TempDir(), "data")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close(context.Background()) })
	p.app, p.query = a, source.Query{Repository: p.repo, Ref: "main", Paths: pipeline.Paths{Data: []string{"db/**"}, Ignore: []string{"*.md"}}}
	if _, err := a.Engine.Pipelines.Create(t.Context(), pipeline.Pipeline{Name: "shop", Owner: "here", Notify: targets}); err != nil {
		t.Fatal(err)
	}
	p.build(nil)
	return p
}

func (p *place) git(args ...string) {
	p.Helper()
	cmd := exec.Command("git", append([]string{"-C", p.repo, "-c", "user.name=Ada", "-c", "user.email=ada@example.com"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func (p *place) commit(name, content string) {
	p.Helper()
	file := filepath.Join(p.repo, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
		p.Fatal(err)
	}
	p.git("add", "-A")
	p.git("commit", "-q", "-m", "change "+name)
}

// build does what an apply would, and returns what Terraform's state says then.
func (p *place) build(environments []Environment) *State {
	p.Helper()
	snapshot, err := p.app.NewSource("").Snapshot(p.Context(), p.query)
	if err != nil {
		p.Fatal(err)
	}
	for _, s := range []pipeline.Stage{
		{Type: pipeline.TypeCommit, Source: &snapshot.Source},
		{Type: pipeline.TypeCustom, Name: "live", After: []string{"commit"}, Trigger: pipeline.TriggerManual},
	} {
		s.Pipeline, s.Owner = "shop", "here"
		if _, err := p.app.Engine.Stages.Advance(p.Context(), run.AdvanceRequest{Stage: s.WithDefaults(nil, nil)}); err != nil {
			p.Fatal(err)
		}
	}
	return &State{
		Sources:   []Source{{Address: "data.penstock_source.s", Query: p.query, Components: snapshot.Components}},
		Pipelines: []string{"shop"}, Environments: environments, resources: 3,
	}
}

// oldest returns the first build that there was.
func (p *place) oldest() string {
	p.Helper()
	st, err := p.app.Engine.State(p.Context(), "shop")
	if err != nil {
		p.Fatal(err)
	}
	return slices.MinFunc(slices.Collect(maps.Values(st.Builds)), func(a, b pipeline.Build) int { return cmp.Compare(a.Order, b.Order) }).ID
}

func (p *place) poller() *livePoller {
	return &livePoller{dir: p.repo, open: func(context.Context) (*app.App, error) { return p.app, nil }, app: p.app}
}

func TestLook(t *testing.T) {
	p := newPlace(t)
	l, seen := p.poller(), p.build(nil)
	look := func(want ...string) {
		t.Helper()
		reasons, err := l.Look(t.Context(), seen)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range reasons {
			got = append(got, r.Text)
		}
		if len(got) != len(want) {
			t.Fatalf("reasons %q, want %q", got, want)
		}
		for i := range want {
			if !strings.Contains(got[i], want[i]) {
				t.Errorf("reason %q, want %q", got[i], want[i])
			}
		}
	}
	look()
	p.commit("README.md", "words")
	look()
	p.commit("db/1.sql", "create")
	look("touches data")
	p.commit("version", "2")
	look("touches application and data")
	seen = p.build(nil)
	look()
	if _, err := p.app.Engine.Decisions.Do(t.Context(), decision.Command{Verb: decision.Promote, Pipeline: "shop", Stage: "live"}); err != nil {
		t.Fatal(err)
	}
	look("promoted #2")
	seen = p.build(nil)
	look()
	if _, err := p.app.Engine.Decisions.Do(t.Context(), decision.Command{Verb: decision.Rollback, Pipeline: "shop", Stage: "live", Build: p.oldest()}); err != nil {
		t.Fatal(err)
	}
	look("rolled back from #2 to #1")
	seen = p.build(nil)
	look()
	if _, err := p.app.Engine.Decisions.Do(t.Context(), decision.Command{Verb: decision.Retry, Pipeline: "shop", Stage: "commit"}); err != nil {
		t.Fatal(err)
	}
	look("asked for another run")
	seen = p.build([]Environment{
		{"shop", "running", pipeline.EnvRunning}, {"shop", "ended", pipeline.EnvExpired}, {"other", "running", pipeline.EnvRunning},
	})
	look(`self-service environment "running" is gone`)
	seen = &State{}
	look("nothing has been applied yet")
}

// Keys distinguish a second wish from the first, and the same one from none.
func TestKeys(t *testing.T) {
	p := newPlace(t)
	l, seen := p.poller(), p.build(nil)
	key := func() string {
		t.Helper()
		reasons, err := l.Look(t.Context(), seen)
		if err != nil || len(reasons) != 1 {
			t.Fatalf("%v, %v", reasons, err)
		}
		return reasons[0].Key
	}
	retry := func() {
		t.Helper()
		if _, err := p.app.Engine.Decisions.Do(t.Context(), decision.Command{Verb: decision.Retry, Pipeline: "shop", Stage: "commit"}); err != nil {
			t.Fatal(err)
		}
	}
	retry()
	first := key()
	if key() != first {
		t.Error("the key of one wish changes")
	}
	if retry(); key() == first {
		t.Error("two wishes have one key")
	}
}

// Where there is a reason and somebody else applies, or destroys, that comes first.
func TestOthersAtWork(t *testing.T) {
	p := newPlace(t)
	l, seen := p.poller(), p.build(nil)
	ledger := apptest.Ledger(t, p.app)
	lease, err := ledger.Acquire(t.Context(), "shop/stage/commit", here(t), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if reasons, err := l.Look(t.Context(), seen); err != nil || len(reasons) > 0 {
		t.Errorf("without a reason: %v, %v", reasons, err)
	}
	if _, err := p.app.Engine.Decisions.Do(t.Context(), decision.Command{Verb: decision.Promote, Pipeline: "shop", Stage: "live"}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Look(t.Context(), seen); pipeline.CodeOf(err) != pipeline.CodeLocked {
		t.Errorf("beside another: %v", err)
	}
	if err := ledger.Release(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.Acquire(t.Context(), "shop/environment/alice", here(t), time.Minute); err != nil {
		t.Fatal(err)
	}
	if reasons, err := l.Look(t.Context(), seen); err != nil || len(reasons) != 1 {
		t.Errorf("beside a launch: %v, %v", reasons, err)
	}
}

// Work under way is shown as long as its process lives. That includes bakes.
func TestUnderWay(t *testing.T) {
	p := newPlace(t)
	l := p.poller()
	ledger := apptest.Ledger(t, p.app)
	under := func() string {
		t.Helper()
		var all []string
		for _, pipelines := range [][]string{nil, {"shop"}} {
			runs, err := l.UnderWay(t.Context(), pipelines)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, r := range runs {
				names = append(names, r.Run.Stage)
			}
			all = append(all, strings.Join(names, " "))
		}
		if all[0] != all[1] {
			t.Errorf("before the first apply it is %q, then %q", all[0], all[1])
		}
		return all[0]
	}
	if got := under(); got != "" {
		t.Errorf("under way is %q", got)
	}
	for _, r := range []pipeline.Run{{ID: "r-1", Stage: "image/base", Kind: pipeline.KindBake}, {ID: "r-2", Stage: "live", Kind: pipeline.KindStage}, {ID: "r-3", Stage: "commit", Kind: pipeline.KindStage}} {
		r.Pipeline, r.Status, r.Phase = "shop", pipeline.RunRunning, pipeline.PhaseSteps
		if _, err := ledger.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{{Kind: pipeline.RunStarted, Actor: "here", Facts: pipeline.Facts{Run: &r}}}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"shop/image/base", "shop/stage/live"} {
		if _, err := ledger.Acquire(t.Context(), key, here(t), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if got := under(); got != "image/base live" {
		t.Errorf("under way is %q", got)
	}
}

func TestLock(t *testing.T) {
	p := newPlace(t)
	first, second := p.poller(), p.poller()
	locked, err := first.Lock(t.Context(), []string{"shop"})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := first.Lock(t.Context(), []string{"shop"}); err != nil || again != locked {
		t.Errorf("a second hold by the same: %v", err)
	}
	if _, err := second.Lock(t.Context(), []string{"shop"}); pipeline.CodeOf(err) != pipeline.CodeLocked {
		t.Errorf("a hold beside the first: %v", err)
	}
	doing := func() (said []string) {
		t.Helper()
		leases, err := p.app.Engine.Reports.Leases(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range leases {
			if l.Key == "shop/watch" && l.Holder.Activity.Text != "" {
				said = append(said, l.Holder.Activity.Text)
			}
		}
		return said
	}
	for _, text := range []string{"applies, as it can", "failed", ""} {
		if first.Publish(text); strings.Join(doing(), "; ") != text {
			t.Errorf("it says %q, and others see %q", text, doing())
		}
	}
	first.Publish("applies again")
	first.unlock()
	if locked.Err() == nil || len(doing()) > 0 {
		t.Errorf("what was released is still held: %q", doing())
	}
	if _, err := second.Lock(t.Context(), []string{"shop"}); err != nil {
		t.Errorf("a hold after the first: %v", err)
	}
	second.unlock()
}

// A receiver that hangs delays no look.
func TestLookPastHungReceiver(t *testing.T) {
	asked, over := make(chan struct{}, 10), make(chan struct{})
	r := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); !strings.Contains(string(body), "it hangs") {
			return
		}
		asked <- struct{}{}
		select {
		case <-over:
		case <-r.Context().Done():
			t.Error("it was given up before the looks were over")
		}
	}))
	defer r.Close()
	p := newPlace(t, pipeline.NotifyTarget{Webhook: r.URL})
	l, seen := p.poller(), p.build(nil)
	look := func() {
		t.Helper()
		if _, err := l.Look(t.Context(), seen); err != nil {
			t.Fatal(err)
		}
	}
	apptest.Append(t, p.app, pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{{Kind: pipeline.RunEnded, Actor: "here", Facts: pipeline.Facts{
		Run: &pipeline.Run{ID: "r-1", Pipeline: "shop", Stage: "image/base", Kind: pipeline.KindBake, Status: pipeline.RunFailed, Error: "it hangs"},
	}}}})
	look()
	<-asked
	look()
	close(over)
}

// Hundreds of polls without a move leave nothing in memory, and little in the
// ledger, while things happen that nobody is notified of.
func TestIdleMemory(t *testing.T) {
	p := newPlace(t, pipeline.NotifyTarget{Command: "exit 1", On: []pipeline.NoticeKind{pipeline.NoticeDrift}}, pipeline.NotifyTarget{Command: "exit 2", On: []pipeline.NoticeKind{pipeline.NoticeRejected}})
	l, seen := p.poller(), p.build(nil)
	quiet := make([]pipeline.Event, 10)
	for i := range quiet {
		quiet[i] = pipeline.Event{Kind: pipeline.BuildCollected, Actor: "here"}
	}
	ledger := apptest.Ledger(t, p.app)
	looks := func(n int) uint64 {
		t.Helper()
		for range n {
			if _, err := ledger.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: quiet}); err != nil {
				t.Fatal(err)
			}
			if reasons, err := l.Look(t.Context(), seen); err != nil || len(reasons) > 0 {
				t.Fatalf("%v, %v", reasons, err)
			}
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	// What leaks grows each time; what else is in memory comes and goes.
	before, grows := looks(60), true // after the first hour
	for round := 0; round < 4 && grows; round++ {
		after := looks(120)
		grows = after > before+256<<10
		before = after
	}
	if grows {
		t.Errorf("each two hours of looks took more memory, of which %d bytes are in use", before)
	}
	events, err := ledger.Events(t.Context(), "shop", 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	records := 0
	for _, e := range events {
		if e.Kind == pipeline.NoticesDelivered {
			records++
		}
	}
	if records > len(events)/50 {
		t.Errorf("%d of %d events say how far somebody was told", records, len(events))
	}
}

// here is this process, as others see it in leases.
func here(t *testing.T) pipeline.Holder {
	t.Helper()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	self := process.Self()
	return pipeline.Holder{Process: pipeline.Process{Host: host, PID: self.PID, Started: self.Started, Scope: self.Scope}}
}
