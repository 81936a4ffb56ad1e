// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

// The process: its begin, its one clock, and its end. The lock of the environment says that it
// lives, and everything that it started is its child, so that nothing outlives it.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/store"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace"
)

const (
	// lookEvery is how often the clock and the directory are looked at. The wall
	// clock is, as a timer doesn't run while a laptop sleeps.
	lookEvery = time.Second

	// idleLimit is how long a supervisor stays without a fleet: whoever started it
	// has died before giving it one.
	idleLimit = 30 * time.Second

	// takeOver bounds the wait for the lock: a reader may hold it for an instant,
	// and a supervisor that ends for a little longer.
	takeOver = 2 * time.Second

	replyTime = time.Second
)

// Main makes this process a supervisor if it was started as one, and then
// does not return. It must be called right after process.Guard.
func Main() {
	if len(os.Args) != 4 || os.Args[1] != protocol.SuperviseArgument {
		return
	}
	if err := supervise(os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "supervisor:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// supervisor runs an environment. Its fields are those of the directory that the
// process works in.
type supervisor struct {
	id     string // of the environment
	dir    string // absolute
	files  string // of the fleets; absolute
	images *store.Store
	fences protocol.Fences
	log    *stdlog.Logger
	life   context.Context
	finish context.CancelCauseFunc // ends the supervisor

	changes sync.Mutex // one change at a time to what serves
	serving atomic.Pointer[fleet]

	mu     sync.Mutex
	rec    protocol.Record
	fleets map[string]*fleet
	front  *front
	idle   time.Time // since when there has been no fleet
}

// supervise runs the environment of a directory until it ends, with the files of its
// fleets in another, which is below a workplace.
func supervise(dir, files string) error {
	place, err := workplace.Lock(filepath.Join(files, "..", ".."))
	if err != nil {
		return err
	}
	defer runtime.KeepAlive(place)
	if err := os.Chdir(dir); err != nil { // a short way to the socket, whose path is limited to some 100 bytes
		return err
	}
	terminated := make(chan os.Signal, 1) // of its own: a signal that finds a channel full is lost
	signal.Notify(terminated, syscall.SIGTERM)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGHUP) // are meant for the Terraform that launched the environment
	lock, err := claim()
	if err != nil {
		return err
	}
	defer runtime.KeepAlive(lock) // it ends with the process, not a moment before
	file, err := openLog(protocol.SuperviseLog)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	s := &supervisor{
		dir: dir, files: files, images: store.Open(filepath.Join(dir, "..", "..", protocol.ImagesDir)), fences: protocol.FencesOf(filepath.Join(dir, "..", "..")), fleets: map[string]*fleet{}, idle: time.Now(),
		log: stdlog.New(file, "", stdlog.LstdFlags|stdlog.LUTC|stdlog.Lmicroseconds),
	}
	s.life, s.finish = context.WithCancelCause(context.Background())
	go s.obey(terminated)
	if s.rec, err = protocol.ReadRecord("."); err != nil {
		return err
	}
	s.id = s.rec.ID
	_ = os.Remove(protocol.ControlSocket) // of one that was killed
	l, err := net.Listen("unix", protocol.ControlSocket)
	if err != nil {
		return err
	}
	control := newServer(s.routes(), s.log)
	go func() { s.finish(control.Serve(l)) }()
	if err := os.Chmod(protocol.ControlSocket, 0o600); err != nil {
		return err
	}
	s.log.Printf("supervisor %d of environment %s begins", os.Getpid(), s.id)
	s.watch()
	s.log.Printf("supervisor ends: %v", context.Cause(s.life))
	err = s.end()
	bounded, cancel := context.WithTimeout(context.Background(), replyTime)
	defer cancel()
	return errors.Join(err, control.Shutdown(bounded))
}

// claim makes this process the environment's only supervisor, and says so in the lock.
func claim() (*os.File, error) {
	var lock *os.File
	err := poll.Until(context.Background(), poll.Schedule{First: 5 * time.Millisecond, Max: 50 * time.Millisecond, Factor: 1.5, Limit: takeOver, What: "the supervisor before to end"},
		func(context.Context) (_ poll.Probe, err error) {
			lock, err = protocol.TryLock(protocol.SuperviseLock)
			return poll.Probe{Done: lock != nil}, err
		})
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(process.Self())
	if err == nil {
		err = lock.Truncate(0)
	}
	if err == nil {
		_, err = lock.WriteAt(data, 0)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// obey ends the supervisor at SIGTERM.
func (s *supervisor) obey(terminated <-chan os.Signal) {
	<-terminated
	s.finish(errors.New("it got SIGTERM"))
}

// watch returns when the supervisor has to end.
func (s *supervisor) watch() {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for s.life.Err() == nil {
		select {
		case <-s.life.Done():
		case <-look.C:
			if why := s.reasonToEnd(); why != nil {
				s.finish(why)
			}
		}
	}
}

var errExpired = errors.New(protocol.ReasonExpired)

func (s *supervisor) reasonToEnd() error {
	if _, err := os.Stat(filepath.Join(s.dir, protocol.RecordFile)); errors.Is(err, os.ErrNotExist) {
		return errors.New("its directory is gone")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.rec.ExpiresAt.IsZero() && !time.Now().Before(s.rec.ExpiresAt):
		s.rec.Expired, s.rec.Serving = true, ""
		return errors.Join(errExpired, protocol.WriteRecord(s.dir, s.rec))
	case len(s.fleets) > 0:
		s.idle = time.Now()
	case time.Since(s.idle) > idleLimit:
		return errors.New("it has no fleet")
	}
	return nil
}

// end ends all fleets, and where the environment expired removes all but its record.
func (s *supervisor) end() error {
	s.mu.Lock()
	expired := s.rec.Expired
	if s.front != nil {
		_ = s.front.server.Close()
	}
	var ends sync.WaitGroup
	for _, f := range s.fleets {
		ends.Go(func() { s.retire(f, 0) })
	}
	s.mu.Unlock()
	ends.Wait()
	if !expired {
		return nil
	}
	return errors.Join(workplace.RemoveTree(s.files), workplace.RemoveTree(filepath.Join(s.dir, protocol.DataDir)))
}

// retire ends a fleet, after the requests that it is answering where drain allows.
// It returns when nothing is left of it.
func (s *supervisor) retire(f *fleet, drain time.Duration) {
	f.over.Do(func() {
		if err := f.retire(drain); err != nil {
			s.log.Printf("fleet %s: remove: %v", f.rec.ID, err)
		}
		s.mu.Lock()
		delete(s.fleets, f.rec.ID)
		s.mu.Unlock()
		s.log.Printf("fleet %s: ended", f.rec.ID)
		close(f.gone)
	})
}

// lookUp returns a fleet.
func (s *supervisor) lookUp(id string) *fleet {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fleets[id]
}
