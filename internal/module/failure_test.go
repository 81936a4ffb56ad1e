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
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// playVariable makes the test binary play a Penstock that applies a module, and is killed.
const playVariable = "MODULE_TEST_PLAY"

// part is what is played.
type part struct {
	World     string
	Package   string
	Cache     string
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
	_, err = m.Apply(context.Background(), pipeline.ModuleRequest{Environment: "e-1", Package: p.Package, Variables: p.Variables, Facts: pipeline.ModuleFacts{Stage: "acceptance"}, AllowDestroy: true, Log: os.Stdout})
	fmt.Println("the end:", err)
	os.Exit(0)
}

// apply starts a Penstock of its own that applies a module.
func (w *world) elsewhere(pkg string, variables map[string]json.RawMessage) *exec.Cmd {
	w.Helper()
	file := filepath.Join(w.TempDir(), "part.json")
	w.ok(os.WriteFile(file, raw(part{w.dir, pkg, filepath.Join(w.dir, "cache"), variables}), 0o600))
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), playVariable+"="+file)
	w.ok(cmd.Start())
	return cmd
}

// Whenever Penstock is killed, nothing exists that the next change does not know of.
func TestKill(t *testing.T) {
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
	for range kills() {
		var some []string
		for _, name := range names {
			if random.IntN(2) == 0 {
				some = append(some, name)
			}
		}
		variables["names"] = raw(append([]string{}, some...))
		cmd := w.elsewhere(pkg, variables)
		timer := time.NewTimer(time.Duration(random.Int64N(int64(2 * time.Second))))
		<-timer.C
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	variables["names"] = raw([]string{"b", "d"})
	r := w.request(pkg)
	r.Variables, r.AllowDestroy = variables, true
	_, err := w.Apply(t.Context(), r)
	w.ok(err)
	w.has(dir, "b", "d")
	w.ok(w.Destroy(t.Context(), "e-1", &w.log))
	w.has(dir)
}

// kills is how often a test kills; PENSTOCK_SOAK sets more.
func kills() int {
	n := 4
	if text := os.Getenv("PENSTOCK_MODULE_KILLS"); text != "" {
		_, _ = fmt.Sscan(text, &n)
	}
	return n
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
			cmd := w.elsewhere(pkg, variables)
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
			_, err := w.Apply(t.Context(), r)
			w.ok(err)
			w.has(dir, "a", "b")
			w.shortly("end of the provider", func() bool { return !provider.Alive() })
			w.ok(w.Destroy(t.Context(), "e-1", &w.log))
			w.has(dir)
		})
	}
}
