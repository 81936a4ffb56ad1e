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
