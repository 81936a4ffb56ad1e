// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package cli_test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// developing is a `penstock bootstrap local` that runs.
type developing struct {
	*testing.T
	cmd *exec.Cmd
	out syncBuffer
}

func develop(t *testing.T, dir string, args ...string) *developing {
	t.Helper()
	d := &developing{T: t, cmd: command(t, dir, "penstock", append([]string{"bootstrap", "local"}, args...)...)}
	d.cmd.Stderr = &d.out
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.cmd.Process.Kill() })
	return d
}

// endpoint waits until the service runs for the nth time, and returns where.
func (d *developing) endpoint(n int) string {
	d.Helper()
	d.out.wait(d.T, `(?s)(runs at .*){`+string(rune('0'+n))+`}`)
	return regexp.MustCompile(`runs at (http://\S+) after`).FindStringSubmatch(d.out.String())[1]
}

func (d *developing) end(sig os.Signal) {
	d.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		d.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil && sig != syscall.SIGKILL {
		d.Errorf("it ended with %v:\n%s", err, d.out.String())
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return string(body)
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What is in the working tree runs, also uncommitted, and what changes is swapped in.
func TestDevelop(t *testing.T) {
	t.Parallel()
	dir := workplace(t, "-service")
	version := filepath.Join(dir, "repo", "version")
	put(t, version, "uncommitted")
	d := develop(t, dir, "shop", "repo")
	at := d.endpoint(1) + "/version"
	if got := get(t, at); got != "uncommitted" {
		t.Errorf("it answers %q", got)
	}

	// No request fails while another version is swapped in.
	stop, failed := make(chan struct{}), []string{}
	var client sync.WaitGroup
	client.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if got := get(t, at); got != "uncommitted" && got != "changed" {
					failed = append(failed, got)
				}
			}
		}
	})
	put(t, version, "changed")
	d.endpoint(2)
	close(stop)
	client.Wait()
	if len(failed) > 0 {
		t.Errorf("%d requests failed: %q", len(failed), failed[0])
	}
	if got := get(t, at); got != "changed" {
		t.Errorf("it answers %q", got)
	}
	if out := program(t, dir, "penstock", "env", "list"); !regexp.MustCompile(`shop +local +running`).MatchString(out) {
		t.Errorf("the list has %s", out)
	}

	// A build that fails leaves what ran.
	if err := os.Remove(version); err != nil {
		t.Fatal(err)
	}
	d.out.wait(t, `failed after .*step "build"`)
	if got := get(t, at); got != "changed" {
		t.Errorf("after a failure it answers %q", got)
	}
	put(t, version, "mended")
	d.endpoint(3)

	// One that was killed is taken over by the next, at the same place.
	d.end(syscall.SIGKILL)
	if got := get(t, at); got != "mended" {
		t.Errorf("after the kill it answers %q", got)
	}
	d = develop(t, dir, "shop", "repo")
	if again := d.endpoint(1) + "/version"; again != at {
		t.Errorf("it is at %s now, and was at %s", again, at)
	}
	d.end(syscall.SIGINT)
	if out := program(t, dir, "penstock", "env", "list"); strings.Contains(out, "local") {
		t.Errorf("it outlives the interrupt: %s", out)
	}
	if _, err := os.Stat(filepath.Join(dir, ".penstock", "develop")); err == nil {
		t.Error("the copy is left")
	}
}

// Without a pipeline flags say what runs; nothing is left.
func TestDevelopFromFlags(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	do(t, dir, "git", "init", "-q", "-b", "main")
	put(t, filepath.Join(dir, "page"), "hello")
	put(t, filepath.Join(dir, ".gitignore"), ".penstock-dev/\n")
	d := develop(t, dir, "--build", "tar -czf out.tar.gz page", "--artifact", "out.tar.gz", "--start", `exec python3 -m http.server --bind "$HOST" "$PORT"`)
	if got := get(t, d.endpoint(1)+"/page"); got != "hello" {
		t.Errorf("it answers %q", got)
	}
	d.end(syscall.SIGINT)
	if left, _ := filepath.Glob(filepath.Join(dir, ".penstock*")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	for _, args := range [][]string{{"bootstrap", "local"}, {"bootstrap", "local", "--build", "true"}} {
		if out, err := command(t, dir, "penstock", args...).CombinedOutput(); err == nil || !strings.Contains(string(out), "--start") {
			t.Errorf("%v: %s, %v", args, out, err)
		}
	}
}

// Once: it is left running, and ended like any other.
func TestDevelopOnce(t *testing.T) {
	t.Parallel()
	dir := workplace(t, "-service")
	out := program(t, dir, "penstock", "bootstrap", "local", "shop", "repo", "--once", "--tests", "--json")
	at := regexp.MustCompile(`"endpoint": "([^"]+)"`).FindStringSubmatch(out)
	if at == nil || get(t, at[1]+"/version") != "one" {
		t.Errorf("it printed %s", out)
	}
	program(t, dir, "penstock", "env", "destroy", "shop", "local", "--yes")
}
