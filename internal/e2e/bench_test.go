// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/step"
)

// fastest returns the shortest of n timings of f: what it takes when nothing else
// is in its way.
func fastest(n int, f func()) time.Duration {
	best := time.Duration(1<<63 - 1)
	for range n {
		began := time.Now()
		f()
		best = min(best, time.Since(began))
	}
	return best
}

// BenchmarkPlan compares a plan of 1,000 idle stages with one of 1,000
// terraform_data resources.
func BenchmarkPlan(b *testing.B) {
	stages := newSite(b, `
terraform {
  required_providers {
    penstock = { source = "penstock-io/penstock" }
  }
}
provider "penstock" {}
resource "penstock_pipeline" "p" { name = "p" }
resource "penstock_stage" "s" {
  count    = 1000
  pipeline = penstock_pipeline.p.name
  name     = "s-${count.index}"
  type     = "custom"
  steps    = [{ name = "true", command = "true" }]
}
`)
	stages.apply()
	plain := newSite(b, "resource \"terraform_data\" \"d\" {\n  count = 1000\n  input = count.index\n}\n")
	plain.apply()
	for b.Loop() {
		ours := fastest(3, func() { expectClean(stages) })
		theirs := fastest(3, func() { expectClean(plain) })
		b.ReportMetric(ours.Seconds()/theirs.Seconds(), "x-terraform_data")
	}
	stages.destroy()
}

func expectClean(s *site) {
	if code, out := s.planned(); code != 0 {
		s.t.Fatalf("plan is not empty:\n%s", out)
	}
}

// BenchmarkStatus compares the listings on a ledger of 100,000 runs and 1,000 builds with
// what the command takes to print its version, and status with that on 1,000 runs.
func BenchmarkStatus(b *testing.B) {
	small, large := ledgerWith(b, 1000, 1000), ledgerWith(b, 100_000, 1000)
	for b.Loop() {
		version := fastest(5, func() { penstock(b, large, "version") })
		for name, args := range map[string][]string{"status": {"status"}, "builds": {"builds", "p"}, "env-list": {"env", "list"}} {
			took := fastest(5, func() { penstock(b, large, args...) })
			b.ReportMetric(float64((took - version).Milliseconds()), name+"-ms-more")
		}
		few, many := fastest(5, func() { penstock(b, small, "status") }), fastest(5, func() { penstock(b, large, "status") })
		b.ReportMetric(many.Seconds()/few.Seconds(), "x-1000-runs")
	}
}

func penstock(b *testing.B, dir string, args ...string) {
	if out, err := exec.Command(binary, append(args, "--data-dir", dir)...).CombinedOutput(); err != nil {
		b.Fatalf("penstock %v: %v\n%s", args, err, out)
	}
}

// ledgerWith makes a data directory whose ledger holds a pipeline of nine stages
// and n runs of so many builds.
func ledgerWith(b *testing.B, n, builds int) string {
	dir := b.TempDir()
	ctx := context.Background()
	l, err := ledger.Open(ctx, filepath.Join(dir, "ledger.db"), ledger.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	batch := pipeline.Batch{Pipeline: "p"}
	flush := func() {
		if _, err := l.Append(ctx, batch); err != nil {
			b.Fatal(err)
		}
		batch.Events = batch.Events[:0]
	}
	add := func(kind pipeline.EventKind, f pipeline.Facts) {
		batch.Events = append(batch.Events, pipeline.Event{Kind: kind, Actor: "bench", Facts: f})
		if len(batch.Events) == 1000 {
			flush()
		}
	}
	add(pipeline.PipelineDefined, pipeline.Facts{Pipeline: &pipeline.Pipeline{Name: "p", Keep: builds}})
	after := []string(nil)
	for i := range 9 {
		s := pipeline.Stage{Pipeline: "p", Name: fmt.Sprintf("s-%d", i), Type: pipeline.TypeCustom, After: after, Applied: true}
		s = s.WithDefaults(nil, nil)
		add(pipeline.StageDefined, pipeline.Facts{Stage: &s})
		after = []string{s.Name}
	}
	for i := range n {
		build := pipeline.BuildID("p", fmt.Sprint(i%builds), "")
		if i < builds {
			add(pipeline.BuildOffered, pipeline.Facts{Build: &pipeline.Build{ID: build, Pipeline: "p", Stage: "s-0", Revision: pipeline.Revision{Commit: "c"}}})
		}
		run := pipeline.Run{
			ID: fmt.Sprintf("r-%013d", i), Pipeline: "p", Stage: fmt.Sprintf("s-%d", i%9), Kind: pipeline.KindStage, Build: build,
			Digest: "d-1", Status: pipeline.RunPassed, Phase: pipeline.PhaseDone, StartedAt: time.Now(), EndedAt: time.Now(),
		}
		add(pipeline.RunEnded, pipeline.Facts{Run: &run})
	}
	flush()
	return dir
}

// BenchmarkSchema starts the provider as Terraform does and measures the time
// until it has answered its schema, and the memory it then holds.
func BenchmarkSchema(b *testing.B) {
	var times []time.Duration
	var memory int64
	for b.Loop() {
		began := time.Now()
		client := plugin.NewClient(&plugin.ClientConfig{
			HandshakeConfig: plugin.HandshakeConfig{
				ProtocolVersion: 6, MagicCookieKey: "TF_PLUGIN_MAGIC_COOKIE",
				MagicCookieValue: "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2",
			},
			VersionedPlugins: map[int]plugin.PluginSet{6: {"provider": connection{}}},
			Cmd:              exec.Command(binary), AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
			Managed: true, Stderr: os.Stderr, SyncStdout: os.Stderr, SyncStderr: os.Stderr,
		})
		rpc, err := client.Client()
		if err != nil {
			b.Fatal(err)
		}
		raw, err := rpc.Dispense("provider")
		if err != nil {
			b.Fatal(err)
		}
		err = raw.(*grpc.ClientConn).Invoke(context.Background(), "/tfplugin6.Provider/GetProviderSchema", &emptypb.Empty{}, &emptypb.Empty{})
		if err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(began))
		memory = max(memory, residentBytes(b, client.ReattachConfig().Pid))
		client.Kill()
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Milliseconds()), "ms-median")
	b.ReportMetric(float64(times[len(times)-1].Milliseconds()), "ms-worst")
	b.ReportMetric(float64(memory)/(1<<20), "MiB")
}

// connection returns the bare connection to a plugin.
type connection struct{ plugin.NetRPCUnsupportedPlugin }

func (connection) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }

func (connection) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return c, nil
}

// residentBytes returns the memory that a process holds; 0 where the system doesn't say.
func residentBytes(b *testing.B, pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Log(err)
		return 0
	}
	for line := range strings.Lines(string(data)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}

// BenchmarkRoute compares a new commit's way from commit to capacity through the
// quickstart's pipeline with a shell script that runs the same commands.
func BenchmarkRoute(b *testing.B) {
	root := repository(b)
	config, err := os.ReadFile(filepath.Join(root, "examples/quickstart/main.tf"))
	if err != nil {
		b.Fatal(err)
	}
	s := newSite(b, string(config))
	s.run(s.root, "cp", "-R", filepath.Join(root, "examples/quickstart/shop")+"/.", s.repo)
	apply := func() {
		s.apply("-target=penstock_stage.capacity", "-var", "repository="+s.repo)
	}
	self, err := os.Executable()
	s.must(err)
	s.commit("0")
	apply()
	n := 0
	for b.Loop() {
		n++
		s.commit(fmt.Sprint("a", n))
		ours := fastest(1, apply)
		s.commit(fmt.Sprint("b", n))
		theirs := fastest(1, func() { s.run(s.root, "/bin/sh", "-e", "-c", routeScript, "sh", s.repo, self) })
		b.ReportMetric(ours.Seconds()/theirs.Seconds(), "x-script")
		b.ReportMetric(ours.Seconds(), "s-penstock")
		b.ReportMetric(theirs.Seconds(), "s-script")
	}
	s.run(s.dir, terraform, "destroy", "-auto-approve", "-no-color", "-var", "repository="+s.repo)
}

// routeScript does what the quickstart's stages from commit to capacity do, with
// no pipeline: $1 is the repository, $2 makes the load.
const routeScript = `
work=$(mktemp -d)
trap 'kill $pid $pids 2>/dev/null; rm -rf "$work"' EXIT
pid= pids=
git clone -q "$1" "$work/checkout"
cd "$work/checkout"
make dist
make test
make lint
launch() { # launch NAME PORT
  mkdir "$work/$1"
  cp -R image/rootfs/. "$work/$1"
  (cd "$work/$1" && PENSTOCK_SOURCE="$work/checkout" PENSTOCK_ROOT="$work/$1" sh -e "$work/checkout/image/packages.sh" && tar -xzf "$work/checkout/dist/shop.tar.gz")
  export PENSTOCK_DATA="$work/data-$1"
  mkdir -p "$PENSTOCK_DATA"
  (cd "$work/$1" && ./shop migrate && ./shop seed --sample)
  (cd "$work/$1" && exec ./shop --port "$2" >/dev/null 2>&1) &
  pid=$!
  until curl -fs -o /dev/null "http://127.0.0.1:$2/healthz"; do sleep 0.05; done
}
launch acceptance 18471
curl -fsS "http://127.0.0.1:18471/version"
PENSTOCK_ENDPOINT=http://127.0.0.1:18471 make acceptance
kill $pid
launch one 18472
pids=$pid
launch two 18473
"$2" e2e-load http://127.0.0.1:18472/products 50 3s
"$2" e2e-load http://127.0.0.1:18472/products 200 3s
`

// makeLoad requests a URL at a constant rate, as a load step does.
func makeLoad(url, rate, duration string) {
	var perSecond float64
	if err := json.Unmarshal([]byte(rate), &perSecond); err != nil {
		panic(err)
	}
	d, err := time.ParseDuration(duration)
	if err != nil {
		panic(err)
	}
	if err := load(context.Background(), url, perSecond, d); err != nil {
		panic(err)
	}
}

func load(ctx context.Context, url string, rate float64, d time.Duration) error {
	_, err := step.NewRunner(step.Options{}).Run(ctx, pipeline.StepRequest{
		Step: pipeline.Step{Name: "load", Load: &pipeline.Load{Rate: rate, Duration: d, URL: url}}, Log: io.Discard,
	})
	return err
}
