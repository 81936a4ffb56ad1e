// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/platform/platformtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

func TestMain(m *testing.M) {
	process.Guard()
	Supervise()
	platformtest.Serve()
	playGRPC()
	// A program with the race detector else sleeps for a second when it ends, and
	// these tests end many.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	playCaller()
	os.Exit(m.Run())
}

func TestPlatform(t *testing.T) {
	platformtest.Run(t, nil, func(t *testing.T) platformtest.Subject {
		return platformtest.Subject{Platform: open(t), Start: platformtest.Start()}
	})
}

// open gives a platform in a directory of the test, and asserts at its end that no
// process and no file of an environment is left.
func open(t testing.TB) *Platform { return openAt(t, t.TempDir()) }

func openAt(t testing.TB, dir string) *Platform {
	t.Helper()
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	p := New(Options{Dir: dir, Work: filepath.Join(dir, "work")})
	t.Cleanup(func() {
		for _, line := range processesOf(t, dir) {
			t.Errorf("a process is left: %s", line)
		}
		for _, name := range []string{environmentsDir, filepath.Join("work", environmentsDir), filepath.Join("work", bakesDir)} {
			if exists(filepath.Join(dir, name)) {
				t.Errorf("%s is left", name)
			}
		}
	})
	return p
}
