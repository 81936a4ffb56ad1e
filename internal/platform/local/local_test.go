// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local_test

import (
	"os"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/localtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/supervisor"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/platformtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

func TestMain(m *testing.M) {
	process.Guard()
	supervisor.Main()
	platformtest.Serve()
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
		return platformtest.Subject{Platform: localtest.Open(t), Start: platformtest.Start()}
	})
}
