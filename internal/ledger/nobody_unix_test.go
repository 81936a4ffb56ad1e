// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// nobodyVariable makes the test binary open the ledger that it names as a user to whom
// files can be read-only, which nothing is to root.
const nobodyVariable = "LEDGER_TEST_NOBODY"

const nobody = 65534

// openAsNobody prints the error's code and the error.
func openAsNobody(path string) {
	if os.Geteuid() == 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
			fmt.Println(err)
			return
		}
	}
	l, err := Open(context.Background(), path, Options{})
	if err != nil {
		fmt.Println(pipeline.CodeOf(err), err)
		return
	}
	fmt.Println("opened", l.Close())
}

// TestReadOnly opens a ledger in a directory where nobody may write: a new one, and one
// that is there.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	for _, made := range []string{filepath.Join(dir, "empty"), there} {
		if err := os.Mkdir(made, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(t, filepath.Join(there, "ledger.db"), Options{}).Close(); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, dir: 0o755, filepath.Join(there, "ledger.db"): 0o444, there: 0o555, filepath.Join(dir, "empty"): 0o555} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if path != filepath.Dir(dir) && os.Geteuid() == 0 {
			if err := os.Chown(path, nobody, nobody); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(func() { _ = os.Chmod(there, 0o700) })
	for _, where := range []string{"empty", "there"} {
		path := filepath.Join(dir, where, "ledger.db")
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), nobodyVariable+"="+path)
		out, err := cmd.CombinedOutput()
		if want := string(pipeline.CodeInvalid) + " "; err != nil || !strings.HasPrefix(string(out), want) || !strings.Contains(string(out), filepath.Join(dir, where)) {
			t.Errorf("%s: %v, %s; want an error of code %s that names it", where, err, out, want)
		}
	}
}
