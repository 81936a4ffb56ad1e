// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// A keeper is a process that ends the environments of a data directory at their time, where a
// module has made something of them: nothing else does that while nobody runs Penstock. A
// directory has one at most, and only while it has such an environment.

const (
	keeperArgument = "penstock-keeper"
	keeperLock     = "keeper.lock" // held by the keeper
	keeperWake     = "keeper.wake" // its time says when there was news for the keeper
	keeperLog      = "keeper.log"

	// keeperTick is how often a keeper looks at the clock and at the directory. The wall clock
	// is, as a timer doesn't run while a laptop sleeps.
	keeperTick = time.Second

	// keeperPause is the shortest time between two looks at the environments.
	keeperPause = 2 * time.Second

	// keeperTries is how often a keeper tries to end what can't be ended, at growing intervals
	// that begin with keeperRetry: for some two hours. The next apply tries again.
	keeperTries = 7
	keeperRetry = time.Minute
)

// mayKeep says that this program becomes a keeper when it is started as one.
var mayKeep atomic.Bool

// KeeperMain makes this process a keeper if it was started as one, and then does not return. A
// program whose main doesn't call it starts no keeper.
func KeeperMain() {
	mayKeep.Store(true)
	if len(os.Args) != 3 || os.Args[1] != keeperArgument {
		return
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP) // are meant for the Terraform that launched the environment
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := keep(ctx, os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, time.Now().UTC().Format(time.RFC3339), "keeper:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// keepTimes lets a keeper know of what was recorded of an environment: it starts one for an
// environment that outlives this process, and whose module has to be ended at its time.
func (a *App) keepTimes(e pipeline.Event) {
	env := e.Facts.Environment
	outlives := env != nil && env.Module != nil && !env.ExpiresAt.IsZero() && env.Purpose != pipeline.ForRun || env != nil && env.Module != nil && env.Status == pipeline.EnvKept
	kept := protocol.Locked(filepath.Join(a.Dir, keeperLock))
	if !mayKeep.Load() || !outlives && !(kept && (env != nil || e.Kind == pipeline.EnvironmentEnded)) {
		return
	}
	err := os.WriteFile(filepath.Join(a.Dir, keeperWake), []byte(time.Now().UTC().Format(time.RFC3339Nano)), 0o600)
	if err == nil && outlives && !kept {
		var self string
		if self, err = os.Executable(); err == nil {
			_, err = process.Detach([]string{self, keeperArgument, a.Dir}, a.Dir, process.Environ(keeperEnviron()), filepath.Join(a.Dir, keeperLog))
		}
	}
	if err != nil {
		a.logger.Warn("start the keeper of the environments", "error", err)
	}
}

// Settle waits for the end of the keeper, if it has nothing left to wait for: so that a destroy
// leaves no process. It gives up after a while, as the keeper ends by itself.
func (a *App) Settle(ctx context.Context) {
	states, err := a.Engine.States(ctx)
	if err != nil || a.stack != nil {
		return
	}
	for _, st := range states {
		for _, env := range st.Environments {
			if env.Module != nil && !env.ExpiresAt.IsZero() {
				return
			}
		}
	}
	_ = poll.Until(ctx, poll.Schedule{First: 20 * time.Millisecond, Max: 200 * time.Millisecond, Factor: 2, Limit: settleLimit, What: "the end of the keeper"},
		func(context.Context) (poll.Probe, error) {
			return poll.Probe{Done: !protocol.Locked(filepath.Join(a.Dir, keeperLock))}, nil
		})
}

// settleLimit bounds a wait for a keeper, which looks for news each second.
const settleLimit = 10 * time.Second

// keeperEnviron are the settings of Terraform that modules are applied with.
func keeperEnviron() map[string]string {
	set := map[string]string{}
	for _, name := range []string{"TF_CLI_CONFIG_FILE", "TF_PLUGIN_CACHE_DIR"} {
		if value := os.Getenv(name); value != "" {
			set[name] = value
		}
	}
	return set
}

// keep is a keeper's work: it returns when there is nothing to wait for any more.
func keep(ctx context.Context, dir string) error {
	for {
		lock, err := protocol.TryLock(filepath.Join(dir, keeperLock))
		if err != nil || lock == nil {
			return ignoreGone(err)
		}
		seen, err := keepOnce(ctx, dir)
		runtime.KeepAlive(lock)
		if err := errors.Join(err, lock.Close()); err != nil {
			return err
		}
		if news(dir).Equal(seen) { // nobody has relied on this keeper meanwhile
			return nil
		}
	}
}

// keepOnce ends environments at their time until none is left. It returns the time of the news
// that it knows.
func keepOnce(ctx context.Context, dir string) (seen time.Time, err error) {
	for failures := 0; ; {
		if _, err := os.Stat(filepath.Join(dir, ledgerFile)); err != nil {
			return news(dir), ignoreGone(err)
		}
		seen = news(dir)
		next, err := endExpired(ctx, dir)
		switch {
		case ctx.Err() != nil:
			return seen, nil
		case err != nil:
			if failures++; failures == keeperTries {
				return seen, fmt.Errorf("given up until the next apply: %w", err)
			}
			next = time.Now().Add(keeperRetry << (failures - 1))
			fmt.Fprintf(os.Stderr, "%s keeper: %v; it tries again at %s\n", time.Now().UTC().Format(time.RFC3339), err, pipeline.Moment(next.UTC()))
		case next.IsZero():
			return seen, nil
		default:
			failures = 0
			if soon := time.Now().Add(keeperPause); next.Before(soon) { // the instances are about to end
				next = soon
			}
		}
		if !await(ctx, dir, next, seen) {
			return news(dir), nil
		}
	}
}

// await waits until a time, or for news; false if the directory has gone, or ctx has ended.
func await(ctx context.Context, dir string, until, seen time.Time) bool {
	tick := time.NewTicker(keeperTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
		if _, err := os.Stat(filepath.Join(dir, ledgerFile)); err != nil {
			return false
		}
		if !time.Now().Before(until) || !news(dir).Equal(seen) {
			return true
		}
	}
}

// news returns when there was news last.
func news(dir string) time.Time {
	info, err := os.Stat(filepath.Join(dir, keeperWake))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// endExpired ends the modules of environments whose time is over, and returns when the next
// one's is; zero for never.
func endExpired(ctx context.Context, dir string) (next time.Time, err error) {
	a, err := Open(ctx, Options{DataDir: dir, Logger: hclog.New(&hclog.LoggerOptions{Name: "keeper", Level: hclog.Warn, Output: os.Stderr})})
	if err != nil {
		return next, err
	}
	next, err = a.EndExpired(ctx)
	return next, errors.Join(err, a.Close(context.WithoutCancel(ctx)))
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
