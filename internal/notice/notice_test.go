// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package notice

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

func TestMain(m *testing.M) {
	process.Guard()
	os.Exit(cloudtest.Main(m))
}

// receiver is a webhook that does what it is told with each request.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	got  []pipeline.Notice
	last *http.Request
	body []byte
	does func(n int, w http.ResponseWriter, r *http.Request)
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		var n pipeline.Notice
		if err := json.Unmarshal(body, &n); err != nil {
			t.Errorf("the body %q is no notice: %v", body, err)
		}
		r.mu.Lock()
		r.got, r.last, r.body = append(r.got, n), req, body
		does, count := r.does, len(r.got)
		r.mu.Unlock()
		if does != nil {
			does(count, w, req)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) texts() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, n := range r.got {
		all = append(all, fmt.Sprintf("%s %s", n.Kind, n.Stage))
	}
	return all
}

func (r *receiver) ids() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, n := range r.got {
		all = append(all, n.ID)
	}
	return all
}

// shop is a ledger with a pipeline of three stages that has targets.
type shop struct {
	*testing.T
	ledger pipeline.Ledger
	clock  time.Time
	runs   int
}

func newShop(t *testing.T, targets ...pipeline.NotifyTarget) *shop {
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"), ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s := &shop{T: t, ledger: l, clock: time.Now()}
	s.event(pipeline.PipelineDefined, pipeline.Facts{Pipeline: &pipeline.Pipeline{Name: "shop", Notify: targets}})
	for _, stage := range []pipeline.Stage{{Name: "left"}, {Name: "right"}, {Name: "both", After: []string{"left", "right"}}} {
		stage.Pipeline, stage.Type = "shop", pipeline.TypeCustom
		stage = stage.WithDefaults(nil, nil)
		s.event(pipeline.StageDefined, pipeline.Facts{Stage: &stage})
	}
	s.event(pipeline.BuildOffered, pipeline.Facts{Build: &pipeline.Build{ID: "b-1", Pipeline: "shop", Stage: "left", Revision: pipeline.Revision{Commit: "c1", Author: "Ada", Message: "<!channel> & co"}}})
	return s
}

func (s *shop) event(kind pipeline.EventKind, f pipeline.Facts) {
	s.Helper()
	if _, err := s.ledger.Append(s.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{{Kind: kind, Actor: "ada", Facts: f}}}); err != nil {
		s.Fatal(err)
	}
}

func (s *shop) ran(stage string, status pipeline.RunStatus) {
	s.Helper()
	s.runs++
	st := s.state()
	s.event(pipeline.RunEnded, pipeline.Facts{Run: &pipeline.Run{
		ID: fmt.Sprintf("r-%d", s.runs), Pipeline: "shop", Stage: stage, Kind: pipeline.KindStage, Build: "b-1", Status: status,
		Digest: st.Stages[stage].Digest(st.Pipeline), Error: "it broke", Actor: "ada",
	}})
}

func (s *shop) state() *pipeline.State {
	s.Helper()
	st, err := s.ledger.State(s.Context(), "shop")
	if err != nil {
		s.Fatal(err)
	}
	return st
}

func (s *shop) sender() *Sender {
	return New(Options{
		Ledger: s.ledger, Holder: pipeline.Holder{Process: pipeline.Process{Host: "test", PID: os.Getpid()}, Actor: "ada"},
		Now: func() time.Time { return s.clock }, Timeout: time.Second, Getenv: func(name string) string { return map[string]string{"SECRET": "s3cret"}[name] },
	})
}

func (s *shop) flush() {
	s.Helper()
	if _, err := s.sender().Flush(s.Context(), "shop"); err != nil {
		s.Fatal(err)
	}
}

func (s *shop) delivery() pipeline.Delivery {
	st := s.state()
	return st.Deliveries[st.Pipeline.Notify[0].Key()]
}

func hook(r *receiver) pipeline.NotifyTarget { return pipeline.NotifyTarget{Webhook: r.URL} }

func TestInOrderAndOnce(t *testing.T) {
	r := newReceiver(t)
	s := newShop(t, hook(r))
	s.ran("left", pipeline.RunPassed)
	s.ran("right", pipeline.RunFailed)
	s.flush()
	s.ran("right", pipeline.RunPassed)
	s.flush()
	s.flush()
	if got, want := r.texts(), []string{"passed left", "failed right", "passed right", "ready both"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	if ids := r.ids(); len(slices.Compact(slices.Sorted(slices.Values(ids)))) != len(ids) {
		t.Errorf("two notices have one ID: %v", ids)
	}
	if n := r.got[0]; n.Commit != "c1" || n.Author != "Ada" || n.Build != "b-1" || n.Pipeline != "shop" || n.Actor != "ada" || !strings.Contains(n.Text, `both still waits for right`) {
		t.Errorf("notice %+v", n)
	}
}

func TestOnlyWhatIsWanted(t *testing.T) {
	r := newReceiver(t)
	s := newShop(t, pipeline.NotifyTarget{Webhook: r.URL, On: []pipeline.NoticeKind{pipeline.NoticeFailed}})
	s.ran("left", pipeline.RunPassed)
	s.ran("right", pipeline.RunFailed)
	s.flush()
	if got := r.texts(); !slices.Equal(got, []string{"failed right"}) {
		t.Errorf("told %q", got)
	}
}

// What happened before a target was there is not told.
func TestNewTarget(t *testing.T) {
	r := newReceiver(t)
	s := newShop(t)
	s.ran("left", pipeline.RunPassed)
	s.event(pipeline.PipelineDefined, pipeline.Facts{Pipeline: &pipeline.Pipeline{Name: "shop", Notify: []pipeline.NotifyTarget{hook(r)}}})
	s.ran("right", pipeline.RunFailed)
	s.flush()
	if got := r.texts(); !slices.Equal(got, []string{"failed right"}) {
		t.Errorf("told %q", got)
	}
}

// A process that dies between the event and the sending, or between the sending and
// the record of it, loses nothing: the next tells it again under the same ID.
func TestKilled(t *testing.T) {
	r := newReceiver(t)
	s := newShop(t, hook(r))
	s.ran("left", pipeline.RunPassed)
	ctx, cancel := context.WithCancel(t.Context())
	r.does = func(int, http.ResponseWriter, *http.Request) { cancel() } // and no record after it
	dying := s.sender()
	dying.Ledger = deadLedger{s.ledger}
	_, _ = dying.Flush(ctx, "shop")
	r.does = nil
	s.clock = s.clock.Add(2 * leaseTime)
	deadline := time.Now().Add(10 * time.Second)
	for len(r.ids()) < 2 && time.Now().Before(deadline) {
		s.flush()
	}
	if ids := r.ids(); len(ids) < 2 || ids[0] != ids[len(ids)-1] {
		t.Errorf("told %v", ids)
	}
	if s.delivery().Seq == 0 {
		t.Error("it is not recorded")
	}
}

// deadLedger records nothing any more.
type deadLedger struct{ pipeline.Ledger }

func (deadLedger) Append(context.Context, pipeline.Batch) ([]pipeline.Event, error) {
	return nil, context.Canceled
}

func TestReceiversThatFail(t *testing.T) {
	status := func(code int, header ...string) func(int, http.ResponseWriter, *http.Request) {
		return func(_ int, w http.ResponseWriter, _ *http.Request) {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
			_, _ = io.WriteString(w, "go away")
		}
	}
	for name, tt := range map[string]struct {
		does   func(int, http.ResponseWriter, *http.Request)
		says   string
		pauses time.Duration // at least
	}{
		"down":         {status(503), "503", firstPause},
		"busy":         {status(429, "Retry-After", "120"), "429", 2 * time.Minute},
		"busy forever": {status(429, "Retry-After", "999999"), "429", longestPause},
		"not there":    {status(404), "404 Not Found: go away", firstPause},
		"a redirect":   {status(302, "Location", "http://127.0.0.1:1/"), "302", firstPause},
		"slow": {func(_ int, _ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-time.After(10 * time.Second):
			}
		}, "deadline", firstPause},
		"a reset": {func(_ int, w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, "EOF", firstPause},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t)
			r.does = tt.does
			s := newShop(t, hook(r))
			s.ran("left", pipeline.RunPassed)
			began := time.Now()
			s.flush()
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
			d := s.delivery()
			if d.Tries != 1 || !strings.Contains(d.Error, tt.says) || strings.Contains(d.Error, r.URL) || d.Next.Sub(s.clock) < tt.pauses || d.Next.Sub(s.clock) > longestPause*5/4 {
				t.Errorf("delivery %+v, next in %s", d, d.Next.Sub(s.clock))
			}
			s.flush() // too early
			if n := len(r.ids()); n != 1 {
				t.Errorf("it was asked %d times", n)
			}
			r.mu.Lock()
			r.does = nil
			r.mu.Unlock()
			s.clock = d.Next.Add(time.Second)
			s.flush()
			if got := r.texts(); !slices.Equal(got, []string{"passed left", "passed left"}) || r.ids()[0] != r.ids()[1] {
				t.Errorf("told %q under %v", got, r.ids())
			}
			if d := s.delivery(); d.Tries != 0 || d.Error != "" || d.Skipped != 0 {
				t.Errorf("delivery %+v", d)
			}
		})
	}
}

// A notice that is refused for good does not keep the next ones away for ever.
func TestRefusedForGood(t *testing.T) {
	r := newReceiver(t)
	r.does = func(n int, w http.ResponseWriter, _ *http.Request) {
		if n <= maxRefusals {
			w.WriteHeader(http.StatusBadRequest)
		}
	}
	s := newShop(t, hook(r))
	s.ran("left", pipeline.RunPassed)
	s.ran("right", pipeline.RunFailed)
	for range maxRefusals {
		s.flush()
		s.clock = s.clock.Add(longestPause * 2)
	}
	s.flush()
	if got := r.texts(); !slices.Equal(got, []string{"passed left", "passed left", "passed left", "failed right"}) {
		t.Errorf("told %q", got)
	}
	if d := s.delivery(); d.Skipped != 1 || d.Tries != 0 {
		t.Errorf("delivery %+v", d)
	}
}

// A receiver that is down keeps nothing from another.
func TestTargetsAreIndependent(t *testing.T) {
	down, up := newReceiver(t), newReceiver(t)
	down.does = func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }
	s := newShop(t, hook(down), hook(up))
	s.ran("left", pipeline.RunPassed)
	s.ran("right", pipeline.RunFailed)
	s.flush()
	if got := up.texts(); !slices.Equal(got, []string{"passed left", "failed right"}) {
		t.Errorf("told %q", got)
	}
}

// Two senders at once tell everything once, in order.
func TestTwoSenders(t *testing.T) {
	r := newReceiver(t)
	s := newShop(t, hook(r))
	for range 10 {
		s.ran("left", pipeline.RunFailed)
	}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			for range 20 {
				if _, err := s.sender().Flush(t.Context(), "shop"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	both.Wait()
	ids := r.ids()
	if len(ids) != 10 || len(slices.Compact(slices.Clone(ids))) != 10 {
		t.Errorf("told %v", ids)
	}
}

func TestSignature(t *testing.T) {
	r := newReceiver(t)
	s := newShop(t, pipeline.NotifyTarget{Webhook: r.URL, Secret: "$SECRET"})
	s.ran("left", pipeline.RunPassed)
	s.flush()
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write([]byte(r.last.Header.Get("X-Penstock-Timestamp") + "." + string(r.body)))
	if got, want := r.last.Header.Get("X-Penstock-Signature"), "sha256="+hex.EncodeToString(mac.Sum(nil)); got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
	if r.last.Header.Get("X-Penstock-Notice") != r.got[0].ID || r.last.Header.Get("Content-Type") != "application/json" {
		t.Errorf("header %v", r.last.Header)
	}
}

// A notice has the anchor of its event: what a receiver keeps shows later that the history
// still has it.
func TestAnchorOfNotices(t *testing.T) {
	r := newReceiver(t)
	s := newShop(t, hook(r))
	s.ran("left", pipeline.RunFailed)
	newest, err := s.ledger.Newest(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	s.flush()
	var body struct{ Ledger map[string]any }
	if err := json.Unmarshal(r.body, &body); err != nil {
		t.Fatal(err)
	}
	if want := map[string]any{"sequence": float64(newest.Sequence), "hash": newest.Hash}; newest.Sequence == 0 || !maps.Equal(body.Ledger, want) {
		t.Errorf("the notice has %v, want %v", body.Ledger, want)
	}
	if err := pipeline.CheckAnchor(t.Context(), s.ledger, "shop", r.got[0].Ledger); err != nil {
		t.Error(err)
	}
}

// Who lacks what it takes to reach a target says so, and keeps nobody else from it.
func TestUnable(t *testing.T) {
	r := newReceiver(t)
	for name, tt := range map[string]struct {
		target pipeline.NotifyTarget
		topics Publisher
		says   string
	}{
		"a variable": {pipeline.NotifyTarget{Webhook: "$HOOK"}, nil, "variable HOOK is not set"},
		"a secret":   {pipeline.NotifyTarget{Webhook: r.URL, Secret: "$HOOK"}, nil, "variable HOOK is not set"},
		"no SNS":     {pipeline.NotifyTarget{Topic: "arn"}, nil, "no SNS"},
		"a permission": {pipeline.NotifyTarget{Topic: "arn"}, publisher(func(pipeline.Notice) error {
			return pipeline.Errorf(pipeline.CodeNotAllowed, "publish", "no sns:Publish")
		}), "sns:Publish"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, tt.target)
			s.ran("left", pipeline.RunPassed)
			unable := s.sender()
			unable.Topics = tt.topics
			before := len(s.events())
			again, err := unable.Flush(t.Context(), "shop")
			if pipeline.CodeOf(err) != pipeline.CodeNotAllowed || !strings.Contains(err.Error(), tt.says) || !again.IsZero() {
				t.Errorf("it says %v, and will try again at %s", err, again)
			}
			if n := len(s.events()); n != before {
				t.Errorf("%d events were recorded", n-before)
			}
			able, told := s.sender(), 0
			able.Topics = publisher(func(pipeline.Notice) error { told++; return nil })
			able.Getenv = func(string) string { return r.URL }
			got := len(r.ids())
			if _, err := able.Flush(t.Context(), "shop"); err != nil || told+len(r.ids())-got != 1 {
				t.Errorf("another could not tell it: %v", err)
			}
		})
	}
}

type publisher func(pipeline.Notice) error

func (p publisher) Publish(_ context.Context, _ string, n pipeline.Notice) error { return p(n) }

func (s *shop) events() []pipeline.Event {
	s.Helper()
	all, err := s.ledger.Events(s.Context(), "shop", 0, 1<<20)
	if err != nil {
		s.Fatal(err)
	}
	return all
}

func TestSlack(t *testing.T) {
	var body []byte
	r := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { body, _ = io.ReadAll(r.Body) }))
	defer r.Close()
	s := newShop(t, pipeline.NotifyTarget{Slack: r.URL})
	s.ran("left", pipeline.RunPassed)
	s.flush()
	var message struct{ Text string }
	if err := json.Unmarshal(body, &message); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(message.Text, ":white_check_mark: shop: #1 passed left.") || !strings.Contains(message.Text, "&lt;!channel&gt; &amp; co") {
		t.Errorf("text %q", message.Text)
	}
}

func TestCommand(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	t.Setenv("OUT", out)
	s := newShop(t, pipeline.NotifyTarget{Command: `cat >> "$OUT"; echo "$PENSTOCK_NOTICE_KIND $PENSTOCK_NOTICE_STAGE" >> "$OUT"`})
	s.ran("left", pipeline.RunPassed)
	s.flush()
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	line, rest, _ := strings.Cut(string(text), "\n")
	var n pipeline.Notice
	if err := json.Unmarshal([]byte(line), &n); err != nil || n.Stage != "left" || rest != "passed left\n" {
		t.Errorf("the command got %q: %v", text, err)
	}
	for line, says := range map[string]string{"echo no >&2; exit 3": "status 3: no", "sleep 60": "longer than 1s"} {
		s := newShop(t, pipeline.NotifyTarget{Command: line})
		s.ran("left", pipeline.RunPassed)
		s.flush()
		if d := s.delivery(); !strings.Contains(d.Error, says) {
			t.Errorf("%s: delivery %+v", line, d)
		}
	}
}
