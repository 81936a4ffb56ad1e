// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace/workplacetest"
)

// TestWhoSomebodyIs asks the binary who it works for: the name that the system has for the
// user ID, and that number where it has none, whatever the variables say.
func TestWhoSomebodyIs(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root works as somebody else")
	}
	dir, err := os.MkdirTemp("/tmp", "penstock-who") // which others may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program, err := os.ReadFile(binary)
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "penstock"), program, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[uint32]string{0: "as root", 54321: "as uid 54321"} {
		data := filepath.Join(dir, "data-of-"+want[len("as "):])
		work := data + "-work"
		t.Setenv(workplacetest.Variable, work)
		ledgerOf(t, data, work, int(id))
		c := exec.Command(filepath.Join(dir, "penstock"), "doctor", "--data-dir", data)
		c.Dir, c.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "USER=alice", "LOGNAME=alice", "HOME=/home/alice", workplacetest.Variable + "=" + work}
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
		out, _ := c.CombinedOutput() // what else it finds is no matter here
		if !strings.Contains(string(out), want) || strings.Contains(string(out), "alice") {
			t.Errorf("user %d: it says\n%s\nwant %q", id, out, want)
		}
	}
}

// ledgerOf makes a data directory with a pipeline, and its work directory, of a user.
func ledgerOf(t *testing.T, dir, work string, id int) {
	t.Helper()
	a, err := app.Open(t.Context(), app.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Engine.Pipelines.Create(t.Context(), pipeline.Pipeline{Name: "shop", Owner: a.Owner})
	if err = errors.Join(err, a.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{dir, work} {
		err = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, id, id))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
