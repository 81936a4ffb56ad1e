// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

import (
	"os"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/platform/platformtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

func TestMain(m *testing.M) {
	process.Guard()
	Main()
	platformtest.Serve()
	playGRPC()
	// A program with the race detector else sleeps for a second when it ends, and
	// these tests end many.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
