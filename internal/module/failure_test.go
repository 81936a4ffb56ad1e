// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

// playVariable makes the test binary play a Penstock that applies a module, and is killed.
const playVariable = "MODULE_TEST_PLAY"

// part is what is played.
type part struct {
	World     string
	Package   string
	Cache     string
	Token     int64 // of its lease
	Variables map[string]json.RawMessage
}

func play(file string) {
	var p part
	doc, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(doc, &p)
	}
	if err != nil {
		panic(err)
	}
	m := New(Config{Dir: filepath.Join(p.World, "work"), Store: NewDirStore(filepath.Join(p.World, "store")), CacheDir: p.Cache, Grace: 30 * time.Second, SaveEvery: 50 * time.Millisecond})
	_, err = m.Under(fence(p.Token)).Apply(context.Background(), pipeline.ModuleRequest{Environment: "e-1", Package: p.Package, Variables: p.Variables, Facts: pipeline.ModuleFacts{Stage: "acceptance"}, AllowDestroy: true, Log: os.Stdout})
	fmt.Println("the end:", err)
	os.Exit(0)
}

// fence is a lease of the environment that is changed. Each taker of it has a higher token.
func fence(token int64) pipeline.Fence {
	return pipeline.Fence{Key: "shop/stage/acceptance", Token: token}
}

// elsewhere starts a Penstock of its own that applies a module.
func (w *world) elsewhere(token int64, pkg string, variables map[string]json.RawMessage) *exec.Cmd {
	w.Helper()
	file := filepath.Join(w.TempDir(), "part.json")
	w.ok(os.WriteFile(file, raw(part{w.dir, pkg, filepath.Join(w.dir, "cache"), token, variables}), 0o600))
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), playVariable+"="+file)
	w.ok(cmd.Start())
	return cmd
}

// Whenever Penstock is killed, nothing exists that the next change does not know of.
func TestKilledAtRandom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pkg := w.module(databases)
	dir, variables := w.cloud()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	names := strings.Split("abcdef", "")
	for _, name := range names {
		w.behave(dir, "slow-"+name, "100ms")
	}
	token := int64(0)
	for range kills() {
		var some []string
		for _, name := range names {
			if random.IntN(2) == 0 {
				some = append(some, name)
			}
		}
		variables["names"] = raw(append([]string{}, some...))
		token++
		cmd := w.elsewhere(token, pkg, variables)
		timer := time.NewTimer(time.Duration(random.Int64N(int64(2 * time.Second))))
		<-timer.C
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	variables["names"] = raw([]string{"b", "d"})
	r := w.request(pkg)
	r.Variables, r.AllowDestroy = variables, true
	last := w.Under(fence(token + 1))
	_, err := last.Apply(t.Context(), r)
	w.ok(err)
	w.has(dir, "b", "d")
	w.ok(last.Destroy(t.Context(), "e-1", &w.log))
	w.has(dir)
}

// kills is how often a test kills: PENSTOCK_SOAK times, or a few.
func kills() int {
	if n, err := strconv.Atoi(os.Getenv("PENSTOCK_SOAK")); err == nil && n > 0 {
		return n
	}
	return 4
}

// children returns the processes that a process started.
func children(pid int) (all []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) > 1 && fields[1] == fmt.Sprint(pid) {
			var child int
			_, _ = fmt.Sscan(filepath.Base(filepath.Dir(name)), &child)
			all = append(all, child)
		}
	}
	return all
}

// Whoever of them is killed, Penstock, the guard, Terraform, or all at once: what was made is
// known, and no process stays.
func TestKillAny(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("this system does not tell who started whom")
	}
	for name, killed := range map[string][]bool{ // Penstock, guard, Terraform
		"penstock": {true, false, false}, "guard": {false, true, false}, "terraform": {false, false, true},
		"penstock and guard": {true, true, false}, "all": {true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			pkg := w.module(databases)
			dir, variables := w.cloud("a", "b")
			w.behave(dir, "slow-a", "300ms")
			w.behave(dir, "slow-b", "2s")
			cmd := w.elsewhere(1, pkg, variables)
			var family []int
			w.shortly("creation", func() bool {
				family = []int{cmd.Process.Pid}
				for range 3 { // guard, Terraform, provider
					below := children(family[len(family)-1])
					if len(below) != 1 {
						return false
					}
					family = append(family, below[0])
				}
				state, _, _, err := find(t.Context(), w.store, "e-1")
				s, _ := readState(state.State)
				return err == nil && len(s.resources()) > 0
			})
			provider, _ := process.Identify(family[3])
			for i, kill := range killed {
				if kill {
					process, err := os.FindProcess(family[i])
					w.ok(err)
					w.ok(process.Kill())
				}
			}
			_ = cmd.Wait()
			r := w.request(pkg)
			r.Variables = variables
			w.ok(os.Remove(filepath.Join(dir, "slow-b")))
			next := w.Under(fence(2))
			_, err := next.Apply(t.Context(), r)
			w.ok(err)
			w.has(dir, "a", "b")
			w.shortly("end of the provider", func() bool { return !provider.Alive() })
			w.ok(next.Destroy(t.Context(), "e-1", &w.log))
			w.has(dir)
			if strings.Contains(w.said(), "warning") {
				t.Errorf("what was taken over is said to be displaced")
			}
		})
	}
}

// What a killed Terraform left of its state is taken if it is whole, and kept if it is not; so
// is what it wrote elsewhere, and what only a displaced one knows of.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := runlog.New(&w.log, runlog.Options{})
	state := func(serial int, resource string) []byte {
		return fmt.Appendf(nil, `{"version": 4, "serial": %d, "lineage": "x", "resources": [{"mode": "managed", "type": "t", "name": %q, "instances": [{"attributes": {"id": "1"}}]}]}`, serial, resource)
	}
	old := state(1, "a")
	for name, c := range map[string]struct {
		left, errored []byte
		displaced     []byte // the state of somebody who was quicker
		want          []byte
		kept, says    string
	}{
		"newer":     {left: state(2, "b"), want: state(2, "b"), says: "is taken over"},
		"same":      {left: old, want: old},
		"older":     {left: state(0, "b"), want: old},
		"none":      {want: old},
		"emptied":   {left: []byte{}, want: old},
		"part":      {left: state(2, "b")[:60], want: old, kept: "damaged-*", says: "is damaged"},
		"errored":   {left: state(2, "b")[:60], errored: state(3, "c"), want: state(3, "c"), says: "is taken over"},
		"displaced": {left: state(2, "b"), displaced: state(2, "c"), want: state(2, "c"), kept: "displaced-*", says: "[t.b]"},
	} {
		site := w.site("e-" + name)
		site.spot = spotOf(site.environment, pipeline.ModuleFacts{})
		site.State = old
		w.ok(site.save(t.Context(), "test"))
		d := &workdir{dir: t.TempDir()}
		w.ok(d.begin(site))
		w.ok(os.Remove(d.state()))
		if c.left != nil {
			w.ok(os.WriteFile(d.state(), c.left, 0o600))
		}
		if c.errored != nil {
			w.ok(writeFile(filepath.Join(d.tree(), "env", "errored.tfstate"), c.errored))
		}
		next := w.site(site.environment)
		if c.displaced != nil {
			w.ok(next.reload(t.Context(), "test"))
			next.State = c.displaced
			w.ok(next.save(t.Context(), "test"))
			next = w.site(site.environment)
		}
		next.fences = []pipeline.Fence{fence(2)}
		w.ok(next.reload(t.Context(), "test"))
		w.ok(next.show(t.Context(), "test"))
		w.log.Reset()
		w.ok(d.recover(t.Context(), next, time.Now(), log))
		stored, _, _, err := find(t.Context(), w.store, site.environment)
		if err != nil || string(stored.State) != string(c.want) {
			t.Errorf("%s: the state is %s, %v", name, stored.State, err)
		}
		kept, _ := filepath.Glob(d.path("*.tfstate"))
		if match, _ := filepath.Glob(d.path(c.kept + ".tfstate")); len(kept) != len(match) || c.kept != "" && len(match) != 1 {
			t.Errorf("%s: kept %q", name, kept)
		}
		if !strings.Contains(w.said(), c.says) || c.says == "" && w.said() != "" {
			t.Errorf("%s: the log says %q", name, w.said())
		}
		if _, err := os.Stat(d.journal()); err == nil {
			t.Errorf("%s: the journal is left", name)
		}
	}
}
