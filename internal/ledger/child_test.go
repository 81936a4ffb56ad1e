// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger/ledgertest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// childVariable makes the test binary play a process that appends to a ledger: its
// value is the process's name, the number of its batches and the path.
const childVariable = "LEDGER_TEST_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(nobodyVariable); path != "" {
		openAsNobody(path)
		return
	}
	if job := os.Getenv(childVariable); job != "" {
		if err := playChild(job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(cloudtest.Main(m))
}

// playChild appends batches of three events, and notes each batch that was
// acknowledged on standard output. It ends when that is closed.
func playChild(job string) error {
	ctx := context.Background()
	part := strings.SplitN(job, " ", 3)
	count, err := strconv.Atoi(part[1])
	if err != nil {
		return err
	}
	l, err := Open(ctx, part[2], Options{})
	if err != nil {
		return err
	}
	for i := range count {
		sealed, err := l.Append(ctx, childBatch(part[0], i))
		if err != nil {
			return err
		}
		if _, err := fmt.Println(sealed[0].Seq, sealed[2].Hash); err != nil {
			return err
		}
	}
	return l.Close()
}

// childBatch offers a build, collects the one before, and runs the new one.
func childBatch(name string, i int) pipeline.Batch {
	build, run := fmt.Sprintf("b-%s-%d", name, i), fmt.Sprintf("r-%s-%d", name, i)
	return pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{
		{Kind: pipeline.BuildOffered, Facts: pipeline.Facts{Build: &pipeline.Build{ID: build}}},
		{Kind: pipeline.BuildCollected, Facts: pipeline.Facts{Gone: []pipeline.Key{{Kind: pipeline.RecordBuild, ID: fmt.Sprintf("b-%s-%d", name, i-1)}}}},
		{Kind: pipeline.RunEnded, Facts: pipeline.Facts{Run: &pipeline.Run{ID: run, Stage: "commit", Build: build, Status: pipeline.RunPassed}}},
	}}
}

// child is a process that appends.
type child struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

func startChild(t *testing.T, name string, batches int, path string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", childVariable, name, batches, path))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &child{cmd: cmd, out: bufio.NewReader(out)}
}

// acknowledged reads the notes until the process ends: the first event's number
// and the third's hash of each batch.
func (c *child) acknowledged(t *testing.T) (map[int64]string, error) {
	notes := map[int64]string{}
	for {
		line, err := c.out.ReadString('\n')
		if err == io.EOF { // a note that was cut short counts as none
			return notes, c.cmd.Wait()
		}
		if err != nil {
			return notes, err
		}
		var seq int64
		var hash string
		if _, err := fmt.Sscan(line, &seq, &hash); err != nil {
			return notes, fmt.Errorf("note %q: %w", line, err)
		}
		notes[seq] = hash
	}
}

// TestProcesses lets several processes open a new file at once and append to it.
func TestProcesses(t *testing.T) {
	t.Parallel()
	const processes, batches = 4, 15
	path := filepath.Join(t.TempDir(), "ledger.db")
	var wg sync.WaitGroup
	for i := range processes {
		c := startChild(t, strconv.Itoa(i), batches, path)
		wg.Go(func() {
			if notes, err := c.acknowledged(t); err != nil || len(notes) != batches {
				t.Errorf("process %d appended %d batches of %d: %v", i, len(notes), batches, err)
			}
		})
	}
	wg.Wait()
	l := open(t, path, Options{})
	if n, err := l.Verify(t.Context(), ""); err != nil || n != processes*batches*3 {
		t.Errorf("Verify gives %d, %v, want %d events", n, err, processes*batches*3)
	}
	ledgertest.CheckView(t, l, "shop")
	st, err := l.State(t.Context(), "shop")
	if err != nil || len(st.Builds) != processes {
		t.Errorf("the state has %d builds, %v, want one of each process", len(st.Builds), err)
	}
}

// TestKilled kills one of two processes while both append, again and again: what
// was acknowledged is there, no batch is there in part, and the view is what the
// events add up to.
func TestKilled(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	for round := range 6 {
		victim := startChild(t, fmt.Sprintf("v%d", round), 1_000_000, path)
		other := startChild(t, fmt.Sprintf("o%d", round), 10, path)
		first, err := victim.out.ReadString('\n') // it is in its loop now
		if err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(rand.Int64N(int64(40*time.Millisecond))), func() { _ = victim.cmd.Process.Kill() })
		defer timer.Stop()
		notes, err := victim.acknowledged(t)
		if err == nil {
			t.Error("the process ended before it was killed")
		}
		var seq int64
		var hash string
		if _, err := fmt.Sscan(first, &seq, &hash); err != nil {
			t.Fatal(err)
		}
		notes[seq] = hash
		others, err := other.acknowledged(t)
		if err != nil || len(others) != 10 {
			t.Errorf("the other process appended %d batches of 10: %v", len(others), err)
		}
		checkKilled(t, path, notes, others)
	}
}

func checkKilled(t *testing.T, path string, acknowledged ...map[int64]string) {
	t.Helper()
	l := open(t, path, Options{})
	head, err := l.Head(t.Context(), "shop")
	if err != nil || head%3 != 0 {
		t.Errorf("the head is %d, %v, and batches have three events", head, err)
	}
	events, err := l.Events(t.Context(), "shop", 0, int(head))
	if err != nil || int64(len(events)) != head {
		t.Fatalf("%d events up to the head %d, %v", len(events), head, err)
	}
	for _, notes := range acknowledged {
		for seq, hash := range notes {
			if i := slices.IndexFunc(events, func(e pipeline.Event) bool { return e.Hash == hash }); i != int(seq)+1 {
				t.Errorf("the batch that was acknowledged as events %d to %d is at %d", seq, seq+2, i)
			}
		}
	}
	if _, err := l.Verify(t.Context(), ""); err != nil {
		t.Error(err)
	}
	ledgertest.CheckView(t, l, "shop")
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
