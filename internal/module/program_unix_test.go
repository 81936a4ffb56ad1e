// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package module

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// playStranger locks a state until its input ends.
func playStranger(state string) {
	file, err := os.OpenFile(state, os.O_RDWR, 0)
	if err == nil {
		err = unix.FcntlFlock(file.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	}
	if err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func TestProgram(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, c := range map[string]struct {
		program string
		code    pipeline.Code
		texts   []string
	}{
		"absent":      {"/nowhere/terraform", pipeline.CodeInvalid, []string{`"/nowhere/terraform"`, "does not exist"}},
		"unknown":     {"terraformm", pipeline.CodeInvalid, []string{`"terraformm"`}},
		"old":         {w.script("terraform", `echo '{"terraform_version": "1.4.7"}'`), pipeline.CodeInvalid, []string{"is Terraform 1.4.7, and modules need at least 1.5.0"}},
		"old tofu":    {w.script("tofu", `echo '{"terraform_version": "1.5.9"}'`), pipeline.CodeInvalid, []string{"is OpenTofu 1.5.9, and modules need at least 1.6.0"}},
		"something":   {w.script("terraform", `echo hello`), pipeline.CodeInvalid, []string{"is neither Terraform nor OpenTofu"}},
		"broken":      {w.script("terraform", `echo no licence >&2; exit 3`), pipeline.CodeInvalid, []string{"exit status 3", "no licence"}},
		"development": {w.script("terraform", `echo '{"terraform_version": "1.12.0-dev"}'`), "", nil},
	} {
		_, err := w.program(t.Context(), c.program)
		if pipeline.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		} else if err != nil {
			w.fails(err, c.code, c.texts...)
		}
	}
}

// What a Terraform prints, 1 GiB here, takes neither memory nor disk: the log has a part of it,
// and all that Terraform itself says.
func TestPrintsMuch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	size := 256 << 20
	if os.Getenv("PENSTOCK_SOAK") != "" {
		size = 1 << 30
	}
	line := `{"type":"provision_progress","hook":{"resource":{"addr":"terraform_data.noise"},"provisioner":"local-exec","output":"` + strings.Repeat("x", 8<<10) + `"}}`
	program := w.script("terraform", fmt.Sprintf(`
case $1 in
version) echo '{"terraform_version": "1.11.0"}' ;;
plan) exit 2 ;;
apply)
  echo '{"type":"apply_start","hook":{"resource":{"addr":"terraform_data.noise"},"action":"create"}}'
  yes '%s' | head -n %d
  echo '{"type":"apply_complete","hook":{"resource":{"addr":"terraform_data.noise"},"action":"create"}}'
  ;;
esac
`, line, size/len(line)))
	r := w.request(w.module("output \"x\" { value = 1 }\n"))
	r.Program = program
	file := filepath.Join(w.dir, "log")
	log, err := os.Create(file)
	w.ok(err)
	r.Log = log
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	_, err = w.Apply(t.Context(), r)
	w.ok(err)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
		t.Errorf("it holds %d MiB more than before", grown>>20)
	}
	text, err := os.ReadFile(file)
	w.ok(err)
	if len(text) > 20<<20 {
		t.Errorf("the log has %d MiB", len(text)>>20)
	}
	for _, want := range []string{"terraform_data.noise: creating", "more lines were dropped", "terraform_data.noise: created in 0s"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

func TestNoProgram(t *testing.T) {
	w := newWorld(t)
	t.Setenv("PATH", t.TempDir())
	w.fails(w.Check(pipeline.Module{Directory: "env"}), pipeline.CodeInvalid, "PATH has neither Terraform nor OpenTofu", "Install one of them")
}

// A working directory that a stranger has locked is waited for, and the error names the lock.
func TestLockedDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.LockWait = 3 * noteAfter / 2
	r := w.request(w.module("output \"x\" { value = 1 }\n"))
	lock := filepath.Join(w.dir, "work", "e-1", "lock")
	w.ok(os.MkdirAll(filepath.Dir(lock), 0o700))
	stranger, err := lockFile(t.Context(), lock, "the test")
	w.ok(err)
	_, err = w.Apply(t.Context(), r)
	w.fails(err, pipeline.CodeLocked, "lock the module of environment e-1", "another process has locked "+lock, "Wait until it ends", "fuser "+lock)
	if !strings.Contains(w.said(), "another process has locked "+lock) {
		t.Errorf("the log does not say what it waits for")
	}
	w.ok(stranger.Close())
	_, err = w.Apply(t.Context(), r)
	w.ok(err)
}

// A state that a stranger has locked is nobody's to take, and the stranger is not touched.
func TestStranger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.LockWait = 500 * time.Millisecond
	dir, variables := w.cloud("a")
	pkg := w.module(databases)
	r := w.request(pkg)
	r.Variables = variables
	_, err := w.Apply(t.Context(), r)
	w.ok(err)
	state := filepath.Join(w.dir, "work", "e-1", "state", "terraform.tfstate")
	stranger := exec.Command(os.Args[0])
	stranger.Env = append(os.Environ(), lockVariable+"="+state)
	in, err := stranger.StdinPipe()
	w.ok(err)
	w.ok(stranger.Start())
	w.shortly("lock of the stranger", func() bool { return lockHolder(state) == stranger.Process.Pid })
	_, err = w.Apply(t.Context(), r)
	w.fails(err, pipeline.CodeLocked, "has locked "+state)
	w.ok(in.Close())
	w.ok(stranger.Wait()) // it was not interrupted
	_, err = w.Apply(t.Context(), r)
	w.ok(err)
	w.ok(w.Destroy(t.Context(), "e-1", nil))
	w.has(dir)
}
