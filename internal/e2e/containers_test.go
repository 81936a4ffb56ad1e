// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// container runs a command in a PID namespace of its own, as a container does, under the
// host name and on the files of this machine. Its output is collected.
type container struct {
	*exec.Cmd
	ended chan error
	mu    sync.Mutex
	out   bytes.Buffer
}

func (c *container) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}

func (c *container) says() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

// needNamespaces skips a test where this user can't make PID namespaces. In CI, where
// root can, it fails instead.
func needNamespaces(t *testing.T) {
	t.Helper()
	out, err := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "true").CombinedOutput()
	if err == nil {
		return
	}
	if os.Getenv("CI") != "" && os.Geteuid() == 0 {
		t.Fatalf("no PID namespace can be made: %v\n%s", err, out)
	}
	t.Skipf("no PID namespace can be made: %v %s", err, out)
}

func (s *site) contain(name string, args ...string) *container {
	s.t.Helper()
	c := &container{ended: make(chan error, 1)}
	c.Cmd = s.command(s.dir, "unshare", append([]string{"--pid", "--fork", "--mount-proc", "--kill-child", name}, args...)...)
	c.Stdout, c.Stderr = c, c
	s.must(c.Start())
	s.t.Cleanup(func() { _ = c.Process.Kill() })
	go func() { c.ended <- c.Wait() }()
	return c
}

// signal sends a signal to all processes of the container.
func (c *container) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", c.Process.Pid, c.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	space := func(pid string) string { ns, _ := os.Readlink("/proc/" + pid + "/ns/pid"); return ns }
	own := space(strings.Fields(string(children))[0])
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range all {
		if pid, _ := strconv.Atoi(filepath.Base(dir)); space(filepath.Base(dir)) == own {
			_ = syscall.Kill(pid, sig) // it may have ended
		}
	}
}

// TestContainers has two containers of one host name apply on one data directory. While the
// process in the first lives, the stage runs there alone, though nobody sees that process
// from the second. When the first is paused for longer than its lease lasts, the second
// takes over, the first no longer has an effect, and its run is recorded as displaced.
func TestContainers(t *testing.T) {
	needNamespaces(t)
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for a lease to expire")
	}
	starts := filepath.Join(t.TempDir(), "starts")
	proceed := starts + ".go"
	config := strings.Replace(faultConfig(), `command = "tar -czf`,
		fmt.Sprintf(`command = "echo $PENSTOCK_RUN >> %s; until test -e %s; do sleep 0.1; done; tar -czf`, starts, proceed), 1)
	config = config[:strings.Index(config, `resource "penstock_stage" "acceptance"`)]
	s := newSite(t, config)
	s.write(proceed, "")
	s.apply()
	s.must(os.Remove(proceed), os.Remove(starts))
	s.commit("2")
	other := filepath.Join(s.root, "other.tfstate")
	s.run(s.dir, "cp", "terraform.tfstate", other)
	started := func() []string { text, _ := os.ReadFile(starts); return strings.Fields(string(text)) }

	apply := []string{"apply", "-auto-approve", "-no-color", "-input=false", "-lock=false"}
	first := s.contain(terraform, apply...)
	s.await("run in the first container", func() bool { return len(started()) == 1 })
	second := s.contain(terraform, append(apply, "-state="+other)...)
	s.await("wait in the second container", func() bool { return strings.Contains(second.says(), "Still modifying") })
	if got := started(); len(got) != 1 {
		t.Fatalf("the stage runs %d times at once: %v", len(got), got)
	}

	first.signal(t, syscall.SIGSTOP)
	s.await("run in the second container", func() bool { return len(started()) == 2 })
	s.write(proceed, "")
	if err := <-second.ended; err != nil {
		t.Fatalf("the second container: %v\n%s", err, second.says())
	}
	first.signal(t, syscall.SIGCONT)
	if err := <-first.ended; err == nil || !strings.Contains(first.says(), "The right to change was lost") {
		t.Errorf("the first container, which was displaced: %v\n%s", err, first.says())
	}

	runs := started()
	var all []struct{ ID, Status, Error string }
	s.must(json.Unmarshal([]byte(s.penstock("runs", "p", "--stage", "commit", "--json")), &all))
	want := map[string]string{runs[0]: "displaced", runs[1]: "passed"}
	for _, r := range all {
		if status, ok := want[r.ID]; ok && r.Status != status {
			t.Errorf("run %s is %s, want %s: %s", r.ID, r.Status, status, r.Error)
		}
	}
	if list := s.penstock("runs", "p", "--status", "displaced"); !strings.Contains(list, runs[0]) || strings.Contains(list, runs[1]) || !strings.Contains(list, "did not renew its lease") {
		t.Errorf("the displaced runs are\n%s", list)
	}
	if log := s.penstock("logs", runs[0]); !strings.Contains(log, "displaced: ") {
		t.Errorf("the log of the displaced run is\n%s", log)
	}
	s.run(s.dir, "cp", other, "terraform.tfstate")
	if code, out := s.planned(); code != 0 {
		t.Errorf("the plan after that ended with %d\n%s", code, out)
	}
	s.destroy()
}
