// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local_test

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
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/localtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
)

// callerVariable makes the test binary a program that launches an environment.
const callerVariable = "LOCAL_TEST_CALLER"

// call is what such a program does.
type call struct {
	Dir     string
	Request pipeline.FleetRequest
}

// playCaller prepares the fleet, shifts to it, and says so.
func playCaller() {
	text := os.Getenv(callerVariable)
	if text == "" {
		return
	}
	var c call
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		panic(err)
	}
	_ = os.Unsetenv(callerVariable)
	p := local.New(local.Options{Dir: c.Dir, Work: filepath.Join(c.Dir, "work")})
	c.Request.Log = os.Stdout
	if _, err := p.Prepare(context.Background(), c.Request); err != nil {
		panic(err)
	}
	fmt.Println("prepared")
	if _, err := p.Shift(context.Background(), c.Request.Environment, c.Request.Fleet, pipeline.Traffic{}); err != nil {
		panic(err)
	}
	fmt.Println("shifted")
	os.Exit(0)
}

// killCaller runs such a program and kills it after a time, or when it has printed
// the word.
func (b *bed) killCaller(r pipeline.FleetRequest, after time.Duration, word string) {
	b.Helper()
	text, err := json.Marshal(call{b.Dir, r})
	b.Must(err)
	self, err := os.Executable()
	b.Must(err)
	cmd := exec.CommandContext(b.Context(), self)
	cmd.Env = append(os.Environ(), callerVariable+"="+string(text))
	out, err := cmd.StdoutPipe()
	b.Must(err)
	b.Must(cmd.Start())
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		var said strings.Builder
		for buf := make([]byte, 100); word == "" || !strings.Contains(said.String(), word); {
			n, err := out.Read(buf)
			if err != nil {
				return
			}
			said.Write(buf[:n])
		}
	}()
	if word != "" {
		<-heard
	} else {
		<-time.After(after)
	}
	_ = cmd.Process.Kill()
	<-heard
	_ = cmd.Wait()
}

func (b *bed) callerRequest(fleet string) pipeline.FleetRequest {
	r := b.Request(fleet)
	r.Instances = 2
	r.Artifact = "/dev/null"
	r.Service.Install = "echo install; sleep 0.1"
	r.Hooks = []pipeline.Hook{
		{Name: "service.migrate", Line: "echo migrate; sleep 0.1; echo $VERSION >>$PENSTOCK_DATA/migrations"},
		{Name: "service.seed", Line: "echo seed; sleep 0.1; echo seed >>$PENSTOCK_DATA/seeds", Once: true},
	}
	return r
}

// A caller that is killed at any point of a launch leaves what the next one
// completes, or removes without a trace.
func TestCallerKilled(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"install", "migrate", "seed", "prepared", "shifted"} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			r := b.callerRequest("f-1")
			b.killCaller(r, 0, word)
			r.Fleet, r.Env["VERSION"] = "f-2", "f-2"
			endpoint := b.Serve(r)
			b.WantGet(localtest.VersionAt(endpoint), "f-2")
			if got := b.Get(endpoint + "/data/seeds"); got != "seed\n" {
				t.Errorf("seeded %q, want once", got)
			}
			if d := b.Report(); d.Serving != "f-2" || d.Pending != "" || d.Healthy != 2 {
				t.Errorf("after the second launch: %+v", d)
			}
		})
	}
}

// The same at random instants, in an environment that serves: it goes on.
func TestCallerKilledWhileServing(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := b.Serve(b.callerRequest("f-0"))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := 1; i <= 6; i++ {
		r := b.callerRequest(fmt.Sprintf("f-%d", i))
		b.killCaller(r, time.Duration(random.Int64N(int64(800*time.Millisecond))), "")
		if got := b.Get(localtest.VersionAt(endpoint)); got != r.Fleet && got != fmt.Sprintf("f-%d", i-1) {
			t.Errorf("after kill %d, %s answers", i, got)
		}
		if at := b.Serve(r); at != endpoint { // the same again
			t.Errorf("the endpoint is %s, was %s", at, endpoint)
		}
		b.WantGet(localtest.VersionAt(endpoint), r.Fleet)
	}
	b.Must(b.Destroy(t.Context(), "e-1"))
}

// A Destroy that is killed is completed by the next.
func TestDestroyHalfWay(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.Serve(b.Request("f-1"))
	b.Must(b.Supervisor().Kill())
	b.Must(os.Remove(b.Environment("e-1") + "/" + protocol.RecordFile))
	if d := b.Report(); d.Status != pipeline.EnvGone {
		t.Errorf("half removed: %+v", d)
	}
	all, err := b.Describe(t.Context())
	b.Must(err)
	if len(all) != 1 {
		t.Errorf("a half-removed environment is not listed: %v", all)
	}
	b.Must(b.Destroy(t.Context(), "e-1"))
	b.Must(b.Destroy(t.Context(), "e-1"))
	if left := localtest.ProcessesOf(t, b.Dir); len(left) > 0 {
		t.Errorf("Destroy returned before %v had ended", left)
	}
}
