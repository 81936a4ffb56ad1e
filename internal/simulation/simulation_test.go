// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package simulation_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger/ledgertest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// opener opens a ledger for a process. It makes a new store for each simulation.
type opener func(t *testing.T) func(ledgertest.Options) pipeline.Ledger

// rule says which processes a process takes for dead.
type rule func(w *world, own *process) func(pipeline.Process) bool

// sound takes for dead only a process that it sees to be dead: it is in the same scope, and
// has ended.
func sound(w *world, own *process) func(pipeline.Process) bool {
	return func(p pipeline.Process) bool { return p.Scope == own.scope && w.dead.has(p.PID) }
}

// byHost is the former rule: on the same host, a process that can't be seen is dead, though
// it may be running in another container.
func byHost(w *world, own *process) func(pipeline.Process) bool {
	return func(p pipeline.Process) bool { return p.Scope != own.scope || w.dead.has(p.PID) }
}

// seedVariable names the variable that replays one seed.
const seedVariable = "PENSTOCK_SEED"

// seeds returns the seed to replay, or n others.
func seeds(t *testing.T, n int) []uint64 {
	t.Helper()
	if text := os.Getenv(seedVariable); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s=%s: %v", seedVariable, text, err)
		}
		return []uint64{seed}
	}
	if testing.Short() {
		n = max(n/10, 1)
	}
	first := rand.Uint64() >> 20 // other seeds each time; the one that fails is printed
	list := make([]uint64, n)
	for i := range list {
		list[i] = first + uint64(i)
	}
	return list
}

// outcome is what a simulation showed.
type outcome struct {
	broken, trace []string
	calls         int
}

// simulate runs one seed.
func simulate(t *testing.T, seed uint64, open opener, dead rule) (o outcome) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, seed)
	work := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(seed, 1))
		w := &world{
			random: random, arrived: make(chan struct{}, 1), platform: newPlatform(), acked: map[string]string{}, renewed: map[pipeline.Fence]lease{}, steps: map[string]step{},
			chances: chances{kill: random.IntN(12), pause: random.IntN(25), lose: random.IntN(8), twice: random.IntN(8)}, budget: 150 + random.IntN(300),
		}
		s := &simulation{T: t, world: w, seed: seed, work: work, open: open(t), rule: dead, commit: "1"}
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.run()
		}()
		w.schedule(done)
		o = outcome{w.broken, w.trace, w.calls}
	})
	return o
}

type simulation struct {
	*testing.T
	*world
	seed   uint64
	work   string
	open   func(ledgertest.Options) pipeline.Ledger
	rule   rule
	commit string // the newest; protected by the world's mutex
}

// run lets the actors disturb one another until the disturbances end, and then has one alone
// finish everything.
func (s *simulation) run() {
	var all sync.WaitGroup
	for i, a := range []struct {
		name string
		do   func(context.Context, *process, *engine.Engine, *rand.Rand) error
	}{{"apply", s.apply}, {"apply too", s.apply}, {"people", s.people}, {"other people", s.people}, {"gc", s.collect}} {
		random := rand.New(rand.NewPCG(s.seed, uint64(i+2)))
		all.Go(func() { s.act((i+1)*1000, a.name, random, a.do) })
	}
	all.Wait()
	s.finale()
}

// act has an actor repeat its action, in one process after another. Their IDs continue from
// first.
func (s *simulation) act(first int, name string, random *rand.Rand, do func(context.Context, *process, *engine.Engine, *rand.Rand) error) {
	scope := fmt.Sprintf("container %d", random.IntN(2))
	for id := first; ; id++ {
		ctx, p, e, ledger := s.start(id, name, scope, random.Float64)
		for ctx.Err() == nil && !s.isCalm() {
			again, cancel := context.WithTimeout(ctx, time.Hour)
			err := do(again, p, e, random)
			cancel()
			s.mu.Lock()
			s.note("%s: %s", p, strings.ReplaceAll(fmt.Sprint(err), s.work, ""))
			s.mu.Unlock()
			_ = p.pass(ctx, time.Duration(random.Int64N(int64(40*time.Second))))
		}
		e.Close(ctx)
		s.mu.Lock()
		p.kill() // an actor whose process ends does nothing more
		if err := ledger.Close(); err != nil {
			s.Error(err)
		}
		s.mu.Unlock()
		if s.isCalm() {
			return
		}
		time.Sleep(time.Duration(random.Int64N(int64(20 * time.Second)))) // until it is started again
	}
}

func (s *simulation) isCalm() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calm
}

// start begins a process of an actor.
func (s *simulation) start(id int, actor, scope string, jitter func() float64) (context.Context, *process, *engine.Engine, pipeline.Ledger) {
	ctx, end := context.WithCancel(s.Context())
	p := &process{world: s.world, id: id, actor: actor, scope: scope, end: end}
	dead := s.rule(s.world, p)
	s.mu.Lock() // as for a call
	ledger := s.open(ledgertest.Options{Now: time.Now, Dead: dead})
	s.mu.Unlock()
	return ctx, p, engine.New(engine.Config{
		Ledger: record{p, ledger}, Platform: door{process: p}, Runner: runner{p}, Sources: sources{p}, Artifacts: artifacts{p}, Logs: logs{},
		WorkDir: s.work, Holder: pipeline.Holder{Process: pipeline.Process{Host: "host", PID: p.id, Started: "then", Scope: scope}, Actor: actor},
		Dead: dead, Jitter: jitter,
	}), ledger
}

var shop = pipeline.Pipeline{
	Name: "shop", Owner: "here", Keep: 3, Scale: pipeline.Scale{Instances: 2}, Service: pipeline.Service{Install: "install", Start: "start"},
}

// stages are the pipeline's, at a commit.
func stages(commit string) []pipeline.Stage {
	build := pipeline.Stage{
		Pipeline: "shop", Type: pipeline.TypeCommit, Owner: "here", Artifact: "out", BaseImage: "img-base",
		Steps: []pipeline.Step{{Name: "build", Command: "make"}}, Source: &pipeline.SourceRef{Repository: "repo", Commit: "c" + commit, Digest: commit},
	}
	after := func(t pipeline.StageType, trigger pipeline.Trigger, upstream string) pipeline.Stage {
		return pipeline.Stage{Pipeline: "shop", Type: t, Trigger: trigger, Owner: "here", After: []string{upstream}, Steps: []pipeline.Step{{Name: "try", Command: "try"}}}
	}
	list := []pipeline.Stage{
		build, after(pipeline.TypeAcceptance, "", "commit"), after(pipeline.TypeExploratory, "", "acceptance"),
		after(pipeline.TypeProduction, pipeline.TriggerAutomatic, "exploratory"),
	}
	for i := range list {
		list[i] = list[i].WithDefaults(nil, nil)
	}
	return list
}

// apply does what Terraform does, sometimes at a newer commit.
func (s *simulation) apply(ctx context.Context, p *process, e *engine.Engine, random *rand.Rand) error {
	var commit string
	err := p.call(ctx, "look for commits", false, func() error {
		if random.IntN(3) == 0 {
			s.commit = strconv.Itoa(1 + random.IntN(4))
		}
		commit = s.commit
		return nil
	})
	if err != nil {
		return err
	}
	return apply(ctx, e, commit)
}

func apply(ctx context.Context, e *engine.Engine, commit string) error {
	if _, err := e.Pipelines.Create(ctx, shop); err != nil {
		return err
	}
	for _, stage := range stages(commit) {
		if _, err := e.Stages.Advance(ctx, run.AdvanceRequest{Stage: stage}); err != nil {
			return err
		}
	}
	return nil
}

var mine = run.LaunchRequest{
	Pipeline: "shop", Name: "mine", After: []string{"acceptance"}, TTL: 8 * time.Hour, Renew: true, Spec: pipeline.EnvironmentSpec{Instances: 1}, Configured: run.LaunchedByHand,
}

// people decides, launches and pauses.
func (s *simulation) people(ctx context.Context, p *process, e *engine.Engine, random *rand.Rand) (err error) {
	switch what := random.IntN(9); what {
	case 0, 1, 2, 3, 8:
		err = s.decide(ctx, p, e, random, what)
	case 4:
		_, err = e.Environments.Launch(ctx, mine)
	case 5:
		err = e.Environments.End(ctx, "shop", "mine", "")
	case 6:
		_, err = e.Decisions.Do(ctx, decision.Command{Verb: decision.Retry, Pipeline: "shop", Stage: "acceptance"})
	case 7:
		if _, err = e.Decisions.Do(ctx, decision.Command{Verb: decision.Pause, Pipeline: "shop", Stage: "production", Reason: "Friday"}); err == nil {
			_, err = e.Decisions.Do(ctx, decision.Command{Verb: decision.Resume, Pipeline: "shop", Stage: "production"})
		}
	}
	return err
}

// decide looks at the newest build, thinks about it, and approves it, rejects it, or lifts
// its rejection.
func (s *simulation) decide(ctx context.Context, p *process, e *engine.Engine, random *rand.Rand, what int) error {
	const stage = "exploratory"
	st, err := e.State(ctx, "shop")
	if err != nil || len(st.Builds) == 0 {
		return err
	}
	build := st.BuildsNewestFirst()[0].ID
	p.looked = st.Version(pipeline.RecordDecision, pipeline.StageBuild(stage, build))
	looked := decision.Looked{Decision: &p.looked}
	if err := p.pass(ctx, time.Duration(random.Int64N(int64(time.Minute)))); err != nil {
		return err
	}
	switch what {
	case 3:
		_, err = e.Decisions.Do(ctx, decision.Command{Verb: decision.Reject, Pipeline: "shop", Stage: stage, Build: build, Reason: "no", Looked: looked})
	case 8:
		_, err = e.Decisions.Do(ctx, decision.Command{Verb: decision.Lift, Pipeline: "shop", Stage: stage, Build: build, Looked: looked, Reason: "it is mended"})
	default:
		_, err = e.Decisions.Do(ctx, decision.Command{Verb: decision.Approve, Pipeline: "shop", Stage: stage, Build: build, Reason: "fine", Looked: looked})
	}
	return err
}

func (s *simulation) collect(ctx context.Context, _ *process, e *engine.Engine, _ *rand.Rand) error {
	_, err := e.Collector.Collect(ctx, collect.Request{})
	return err
}

// report fails the test with the violations of a seed, and how to replay it.
func report(t *testing.T, seed uint64, o outcome) {
	t.Helper()
	if len(o.broken) == 0 {
		return
	}
	if os.Getenv(seedVariable) == "" {
		o.trace = o.trace[max(len(o.trace)-40, 0):]
	}
	name, _, _ := strings.Cut(t.Name(), "/")
	t.Errorf("seed %d, replayed with %s=%d go test ./internal/simulation -run '%s$':\n%s\nat the end of\n%s",
		seed, seedVariable, seed, name, strings.Join(o.broken, "\n"), strings.Join(o.trace, "\n"))
}

// many simulates seeds, until some have violations.
func many(t *testing.T, n int, open opener) {
	calls, broken := 0, 0
	for _, seed := range seeds(t, n) {
		var o outcome
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			o = simulate(t, seed, open, sound)
			report(t, seed, o)
		})
		calls += o.calls
		if len(o.broken) > 0 {
			broken++
		}
		if broken >= 3 {
			break
		}
	}
	t.Logf("%d calls in the orders of %d seeds", calls, n)
}

func inMemory(*testing.T) func(ledgertest.Options) pipeline.Ledger {
	return new(ledgertest.Memory).Open
}

// The test finds a rule that takes a living process in another container for dead.
func TestFindsTheDeadByHostAlone(t *testing.T) {
	for _, seed := range seeds(t, 2000) {
		var o outcome
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { o = simulate(t, seed, inMemory, byHost) })
		if slices.ContainsFunc(o.broken, func(b string) bool { return strings.Contains(b, "while") && strings.Contains(b, "runs stage") }) {
			return
		}
	}
	t.Error("no seed shows that a stage runs twice at once")
}

// One seed means one order.
func TestSeedMeansOneOrder(t *testing.T) {
	for _, seed := range seeds(t, 10) {
		var first, again outcome
		t.Run("first", func(t *testing.T) { first = simulate(t, seed, inMemory, sound) })
		t.Run("again", func(t *testing.T) { again = simulate(t, seed, inMemory, sound) })
		for i := range min(len(first.trace), len(again.trace)) {
			if first.trace[i] != again.trace[i] {
				t.Fatalf("seed %d goes two ways:\n%s\n%s\nafter\n%s", seed, first.trace[i], again.trace[i], strings.Join(first.trace[max(0, i-10):i], "\n"))
			}
		}
		if len(first.trace) != len(again.trace) {
			t.Errorf("seed %d: %d notes, and %d", seed, len(first.trace), len(again.trace))
		}
	}
}
