// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// killSupervisor kills the supervisor of an environment's directory.
func killSupervisor(t *testing.T, dir string) {
	t.Helper()
	out, err := exec.Command("pgrep", "-f", "__supervise "+dir).Output()
	if err != nil {
		t.Fatalf("find the supervisor of %s: %v", dir, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// waitExpired waits until alice's environment has ended by itself.
func waitExpired(t *testing.T, b *bench) {
	t.Helper()
	b.open(func(a *app.App) error {
		return poll.Until(context.Background(), poll.Schedule{First: 200 * time.Millisecond, Limit: 30 * time.Second, What: "the environment's end"},
			func(ctx context.Context) (poll.Probe, error) {
				reports, err := platform(a).Describe(ctx)
				done := err == nil
				for _, r := range reports {
					done = done && r.Status == pipeline.EnvExpired
				}
				return poll.Probe{Done: done && len(reports) == 1}, err
			})
	})
}

// platform is what the environments of a data directory are on.
func platform(a *app.App) *local.Platform {
	work, _ := a.WorkDir()
	return local.New(local.Options{Dir: a.Dir, Work: work, Logger: a.Logger()})
}
