// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

// One process of the service, in a copy of the tree of its own, with a port of its own. It is
// started again when it ends, later each time; only the first start may fail for good.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/filetree"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

const (
	// A service that ends is started again after a pause, which doubles as long as
	// it does not stay up.
	firstPause = 200 * time.Millisecond
	maxPause   = 30 * time.Second
	stayedUp   = 30 * time.Second

	// startTries is how often another port is tried where somebody took the one
	// that was chosen before the service listened on it.
	startTries = 3
)

// instance is one process of the service, started again when it ends.
type instance struct {
	fleet   *fleet
	name    string
	dir     string
	port    atomic.Int64
	healthy atomic.Bool

	reported sync.Once
	outcome  chan struct{} // closed when the first start has become healthy, or failed
	failed   error         // why it failed

	life context.Context
	kill context.CancelFunc
	gone chan struct{} // closed when it has ended for good

	beats atomic.Pointer[pulse]

	inFlight int           // requests under way; protected by the fleet's mutex
	idle     chan struct{} // closed when there are none, if somebody waits for it; likewise
}

func newInstance(f *fleet, name string) *instance {
	i := &instance{fleet: f, name: name, dir: instanceDir(f.dir, name), outcome: make(chan struct{}), gone: make(chan struct{})}
	i.life, i.kill = context.WithCancel(f.life)
	i.beat()
	return i
}

// pulse is the time in which an instance answers, whatever it answers.
type pulse struct {
	context.Context
	stop context.CancelFunc
}

// beat begins a pulse, where there is none: the instance answers.
func (i *instance) beat() {
	if p := i.beats.Load(); p == nil || p.Err() != nil {
		ctx, stop := context.WithCancel(context.Background())
		i.beats.Store(&pulse{ctx, stop})
	}
}

// hang ends the pulse: requests that wait for the instance wait no longer.
func (i *instance) hang() { i.beats.Load().stop() }

// pulse returns a context that ends when the instance is found to hang.
func (i *instance) pulse() context.Context { return i.beats.Load() }

func (i *instance) address() string {
	return net.JoinHostPort(protocol.Loopback, strconv.FormatInt(i.port.Load(), 10))
}

func (i *instance) logf(format string, args ...any) {
	i.fleet.log.Printf("fleet %s instance %s: %s", i.fleet.rec.ID, i.name, fmt.Sprintf(format, args...))
}

// reportStart says how the first start went, once.
func (i *instance) reportStart(err error) {
	i.reported.Do(func() {
		i.failed = err
		close(i.outcome)
	})
}

// run keeps the instance up until its life ends. When the first start fails it
// says so and gives up: whoever started it decides.
func (i *instance) run() {
	defer close(i.gone)
	defer i.healthy.Store(false)
	root, err := filetree.MakeRoot(i.life, i.fleet.images, i.fleet.dir, i.fleet.rec, i.name)
	if err != nil {
		i.reportStart(err)
		return
	}
	file, err := openLog(filepath.Join(i.dir, protocol.InstanceLog))
	if err != nil {
		i.reportStart(fmt.Errorf("open log of instance: %w", err))
		return
	}
	defer func() { _ = file.Close() }()
	was, tries, pause := false, 0, firstPause
	for {
		began := time.Now()
		healthy, err := i.live(root, runlog.New(file, runlog.Options{Hide: i.fleet.hide}))
		i.healthy.Store(false)
		was = was || healthy
		tries++
		switch {
		case i.life.Err() != nil:
			return
		case !was && errors.Is(err, errPortTaken) && tries < startTries:
			continue
		case !was:
			i.reportStart(err)
			return
		case time.Since(began) > stayedUp:
			pause = firstPause
		}
		i.logf("%v; it is started again in %v", err, pause)
		select {
		case <-i.life.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

// live starts the service once and watches it to its end. It returns whether it was
// ever healthy, and why it ended.
func (i *instance) live(root string, out *runlog.Log) (was bool, err error) {
	port, err := freePort()
	if err != nil {
		return false, err
	}
	i.port.Store(int64(port))
	alive, ended := context.WithCancelCause(i.life)
	defer ended(nil)
	lock, err := i.lock()
	if err != nil {
		return false, err
	}
	p, err := process.Start(i.life, process.Spec{
		Args: process.Shell(i.fleet.rec.Service.Start), Dir: root, Env: i.environ(), Stdout: out, Stderr: out, Lock: lock,
	})
	_ = lock.Close() // the guard has it
	if err != nil {
		return false, pipeline.Errorf(pipeline.CodeFailed, "start service", "%w", err)
	}
	defer p.Stop()
	i.remember(p.PID())
	go func() {
		exit, err := p.Wait()
		ended(&stopped{exit: exit, err: err})
	}()
	was, err = i.watch(alive, p.PID())
	var end *stopped
	switch {
	case i.life.Err() != nil:
		return was, i.life.Err()
	case errors.As(context.Cause(alive), &end):
		return was, i.exited(end, was, port, out)
	case !was:
		p.Stop() // for its last words
		return was, neverHealthy(i.name, port, i.fleet.check, err, out.Tail())
	}
	return was, err
}

// watch checks the instance until it ends, fails for good, or never gets healthy.
func (i *instance) watch(alive context.Context, pid int) (was bool, err error) {
	c := i.fleet.check
	began, pause, fails, silent := time.Now(), firstCheck, 0, 0
	for {
		err = c.check(alive, i.address())
		if silent++; answers(err) {
			silent = 0
		}
		switch {
		case alive.Err() != nil:
			return was, alive.Err()
		case err == nil:
			i.beat()
			if !i.healthy.Swap(true) {
				i.logf("healthy on port %d after %v", i.port.Load(), time.Since(began).Round(time.Millisecond))
			}
			i.reportStart(nil)
			was, fails, pause = true, 0, c.interval
		case !was && time.Since(began) >= c.start:
			return was, elsewhere(err, pid)
		case !was:
			pause = min(time.Duration(startGrowth*float64(pause)), startChecks, c.interval)
		default:
			fails++
			if fails == failsToLeave {
				i.healthy.Store(false)
				i.logf("unhealthy: %v", err)
			}
			if silent == failsToLeave {
				i.hang()
			}
			if fails >= failsToEnd {
				return was, fmt.Errorf("failed %d checks in a row, the last with: %w", fails, err)
			}
		}
		select {
		case <-alive.Done():
			return was, alive.Err()
		case <-time.After(pause):
		}
	}
}

// environ returns the variables of the instance's commands.
func (i *instance) environ() []string {
	return append(i.fleet.env[:len(i.fleet.env):len(i.fleet.env)],
		"HOST="+protocol.Loopback, "PORT="+strconv.FormatInt(i.port.Load(), 10),
		"PENSTOCK_INSTANCE="+i.name, "PENSTOCK_ROOT="+filepath.Join(i.dir, protocol.InstanceRoot))
}

// lock takes the lock that says that something of the instance lives. Its last process
// may have had it a moment ago.
func (i *instance) lock() (lock *os.File, err error) {
	schedule := poll.Schedule{First: time.Millisecond, Max: 20 * time.Millisecond, Factor: 1.5, Limit: process.DefaultGrace, What: "the end of what the instance ran before"}
	return lock, poll.Until(i.life, schedule, func(context.Context) (_ poll.Probe, err error) {
		lock, err = protocol.TryLock(filepath.Join(i.dir, protocol.InstanceLock))
		return poll.Probe{Done: lock != nil}, err
	})
}

// remember writes down which process guards the service, so that whoever cleans up
// after a killed supervisor can end it where it does not end by itself.
func (i *instance) remember(pid int) {
	if id, ok := process.Identify(pid); ok {
		if err := protocol.WriteJSON(filepath.Join(i.dir, protocol.InstanceRecord), id); err != nil {
			i.logf("remember process: %v", err)
		}
	}
}

// stopped is how a service ended by itself.
type stopped struct {
	exit process.Exit
	err  error
}

func (s *stopped) Error() string {
	if s.err != nil {
		return s.err.Error()
	}
	return s.exit.String()
}

var errPortTaken = errors.New("another program listens on the port that was chosen for it")

// exited explains the end of a service.
func (i *instance) exited(end *stopped, was bool, port int, out *runlog.Log) error {
	if was {
		return errors.New(runlog.Saying("the service ended with "+end.Error(), out.Tail()[max(0, len(out.Tail())-3):]))
	}
	err := exitedAtOnce(i.name, end, out.Tail())
	if errors.Is(protocol.Available(protocol.Loopback, port), syscall.EADDRINUSE) {
		return fmt.Errorf("%w: %w", errPortTaken, err)
	}
	return err
}
