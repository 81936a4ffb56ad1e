// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

const (
	// answerTime bounds a look at an environment: a supervisor answers within
	// milliseconds, or hangs.
	answerTime = 2 * time.Second

	// beginTime bounds the start of a supervisor on a busy machine.
	beginTime = 20 * time.Second

	// endTime bounds the end of one: a service has process.DefaultGrace after
	// SIGTERM, and the kernel needs a moment after SIGKILL.
	endTime = 30 * time.Second
)

// supervisorClient asks the supervisor of one environment.
type supervisorClient struct {
	dir    string
	fleets string
	by     []pipeline.Fence // under which it is asked to change something
	http   *http.Client
}

func newClient(dir, fleets string, by []pipeline.Fence) *supervisorClient {
	return &supervisorClient{dir: dir, fleets: fleets, by: by, http: &http.Client{Transport: &http.Transport{
		DialContext: dialer(filepath.Join(dir, protocol.ControlSocket)), DisableKeepAlives: true,
	}}}
}

// errNoSupervisor says that none is there, or that it doesn't take a request.
var errNoSupervisor = errors.New("no supervisor answers")

// ask sends a request and decodes the answer. An error that is no pipeline.Error
// is of the connection.
func (c *supervisorClient) ask(ctx context.Context, method, path string, message, reply any) error {
	var body io.Reader = http.NoBody
	if message != nil {
		data, err := json.Marshal(message)
		if err != nil {
			return fmt.Errorf("encode request to supervisor: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	var sent *url.Error
	if errors.As(err, &sent) {
		return fmt.Errorf("%w: %w", errNoSupervisor, sent.Err)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errNoSupervisor, err)
	}
	defer func() { _ = resp.Body.Close() }()
	switch d := json.NewDecoder(resp.Body); resp.StatusCode {
	case http.StatusOK:
		if reply == nil {
			return nil
		}
		if err := d.Decode(reply); err != nil {
			return fmt.Errorf("%w: %w", errNoSupervisor, err)
		}
		return nil
	case http.StatusConflict:
		var r protocol.Refusal
		if err := d.Decode(&r); err != nil {
			return fmt.Errorf("%w: %w", errNoSupervisor, err)
		}
		return r.Err()
	}
	return pipeline.Errorf(pipeline.CodeInternal, "ask supervisor", "%s %s: %s", method, path, resp.Status).
		WithHint("The environment was launched by another version of Penstock. Destroy and launch it again.")
}

// change is what a request that changes something says.
func (c *supervisorClient) change() protocol.Change { return protocol.Change{By: c.by} }

// status asks what the environment is at. It takes at most answerTime.
func (c *supervisorClient) status(ctx context.Context) (protocol.Status, error) {
	bounded, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var s protocol.Status
	err := c.ask(bounded, http.MethodGet, protocol.PathStatus, nil, &s)
	return s, err
}

// look asks a supervisor that may be about to begin or to end, until it answers or
// is gone.
func (c *supervisorClient) look(ctx context.Context, limit time.Duration) (s protocol.Status, alive bool, err error) {
	schedule := poll.Schedule{First: 5 * time.Millisecond, Max: 200 * time.Millisecond, Factor: 2, Limit: limit, What: "an answer"}
	err = poll.Until(ctx, schedule, func(ctx context.Context) (poll.Probe, error) {
		var err error
		if s, err = c.status(ctx); err == nil {
			alive = true
			return poll.Probe{Done: true}, nil
		}
		if alive = c.alive(); !alive {
			return poll.Probe{Done: true}, nil
		}
		if errors.Is(err, errNoSupervisor) {
			err = poll.Retryable(err)
		}
		return poll.Probe{}, err
	})
	return s, alive, err
}

// alive reports whether the environment has a supervisor, whether it answers or not.
func (c *supervisorClient) alive() bool {
	return protocol.Locked(filepath.Join(c.dir, protocol.SuperviseLock))
}

// begin starts a supervisor and waits until it answers.
func (c *supervisorClient) begin(ctx context.Context, executable []string) error {
	if len(os.Args) > 1 && os.Args[1] == protocol.SuperviseArgument {
		return errors.New("this process was started as a supervisor, but its main does not call supervisor.Main()")
	}
	log := filepath.Join(c.dir, protocol.SuperviseLog)
	args := append(executable[:len(executable):len(executable)], c.dir, c.fleets)
	pid, err := process.Detach(args, c.dir, process.Environ(nil), log)
	if err != nil {
		return err
	}
	id, known := process.Identify(pid)
	err = poll.Until(ctx, poll.Schedule{First: 2 * time.Millisecond, Max: 50 * time.Millisecond, Factor: 1.5, Limit: beginTime, What: "the supervisor to begin"},
		func(ctx context.Context) (poll.Probe, error) {
			if _, err := c.status(ctx); err == nil {
				return poll.Probe{Done: true}, nil
			}
			if !known || !id.Alive() {
				return poll.Probe{}, errors.New("it ended at once")
			}
			return poll.Probe{}, nil
		})
	if err != nil {
		return errors.New(runlog.Saying(fmt.Sprintf("start supervisor: %v", err), protocol.LastLines(log, protocol.DescribeLines)))
	}
	return nil
}

// end ends the supervisor, and returns when it and all that it started are gone.
func (c *supervisorClient) end(ctx context.Context) error {
	if c.alive() {
		bounded, cancel := context.WithTimeout(ctx, answerTime)
		err := c.ask(bounded, http.MethodPost, protocol.PathEnd, c.change(), nil)
		cancel()
		if pipeline.CodeOf(err) == pipeline.CodeLeaseLost {
			return err
		}
		if err != nil && ctx.Err() == nil && c.alive() {
			if err := c.killSupervisor(); err != nil {
				return err
			}
		}
		if err := c.awaitEnd(ctx); err != nil {
			return err
		}
	}
	return c.endOrphans(ctx)
}

// staysAlive reports whether a supervisor that did not answer lives on. One that
// was just killed holds its lock until the system has cleared it away.
func (c *supervisorClient) staysAlive(ctx context.Context) bool {
	schedule := poll.Schedule{First: 2 * time.Millisecond, Max: 50 * time.Millisecond, Factor: 1.5, Limit: time.Second, What: "the supervisor to end"}
	return poll.Until(ctx, schedule, func(context.Context) (poll.Probe, error) { return poll.Probe{Done: !c.alive()}, nil }) != nil
}

func (c *supervisorClient) awaitEnd(ctx context.Context) error {
	schedule := poll.Schedule{First: 2 * time.Millisecond, Max: 50 * time.Millisecond, Factor: 1.5, Limit: endTime, What: "the supervisor to end"}
	ended := func(context.Context) (poll.Probe, error) { return poll.Probe{Done: !c.alive()}, nil }
	err := poll.Until(ctx, schedule, ended)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if err := c.killSupervisor(); err != nil {
		return err
	}
	return poll.Until(ctx, schedule, ended)
}

// killSupervisor kills the process that holds the lock; what it started ends with it.
func (c *supervisorClient) killSupervisor() error {
	var id process.Identity
	if err := protocol.ReadJSON(filepath.Join(c.dir, protocol.SuperviseLock), &id); err != nil {
		return err
	}
	if id.Scope != process.Self().Scope && c.alive() {
		return pipeline.Errorf(pipeline.CodeFailed, "end supervisor", "process %d is in another container, and does not answer", id.PID).
			WithHint("End it there, or end that container, and try again.")
	}
	return id.Kill()
}

// endOrphans waits for the guards of instances whose supervisor was killed. Each ends
// its service by itself, and holds a lock until then, which also shows a guard in
// another container. One that doesn't end in time is killed, and the service with it.
func (c *supervisorClient) endOrphans(ctx context.Context) error {
	records, err := filepath.Glob(filepath.Join(escape(c.fleets), "*", "*", protocol.InstanceRecord))
	if err != nil {
		return err
	}
	for _, path := range records {
		lives := func() bool { return protocol.Locked(filepath.Join(filepath.Dir(path), protocol.InstanceLock)) }
		err := poll.Until(ctx, poll.Schedule{
			First: 2 * time.Millisecond, Max: 50 * time.Millisecond, Factor: 1.5,
			Limit: 2 * process.DefaultGrace, What: "an instance to end",
		}, func(context.Context) (poll.Probe, error) { return poll.Probe{Done: !lives()}, nil })
		if err != nil && ctx.Err() != nil {
			return err
		}
		var id process.Identity
		if err == nil || protocol.ReadJSON(path, &id) != nil {
			continue // it has ended, or was being started when its supervisor died
		}
		if err := id.Kill(); err != nil {
			return err
		}
		if id.Scope != process.Self().Scope && lives() {
			return pipeline.Errorf(pipeline.CodeFailed, "end instance", "process %d is in another container, and does not end", id.PID).
				WithHint("End it there, or end that container, and try again.")
		}
	}
	return nil
}

// escape makes a path a pattern that matches only it.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// longestSocket is the longest path of a socket that every system takes.
const longestSocket = 100

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
