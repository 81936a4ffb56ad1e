// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

// errTimedOut is the cause of a command's context when its time is over.
var errTimedOut = errors.New("timed out")

// command is a shell command of the platform: of a bake, a launch or a person.
type command struct {
	what    string // for messages: "service.install"
	line    string
	dir     string
	env     []string // full
	secrets []string // values to hide
	timeout time.Duration
}

// apart returns the environment of a command that works below the directories: git
// looks for no repository in them, nor above.
func apart(dirs ...string) []string {
	return process.Environ(map[string]string{process.CeilingVariable: process.Ceiling(dirs...)})
}

// run runs the command with its output in log, and returns how it ended. The error
// says that it did not run to its end. tail is the end of its output.
func (c command) run(ctx context.Context, log io.Writer) (exit process.Exit, tail []string, err error) {
	if c.timeout <= 0 {
		c.timeout = pipeline.DefaultStepTimeout
	}
	bounded, cancel := context.WithTimeoutCause(ctx, c.timeout, errTimedOut)
	defer cancel()
	out := runlog.New(log, runlog.Options{Hide: protocol.Variables{Secrets: c.secrets}.Redactor()})
	p, err := process.Start(bounded, process.Spec{Args: process.Shell(c.line), Dir: c.dir, Env: c.env, Stdout: out, Stderr: out})
	if err == nil {
		exit, err = p.Wait()
	}
	tail = out.Tail()
	switch {
	case err == nil:
		return exit, tail, nil
	case ctx.Err() != nil:
		return exit, tail, &pipeline.Error{Code: pipeline.CodeCancelled, Op: "run " + c.what, Err: err}
	case context.Cause(bounded) == errTimedOut:
		return exit, tail, pipeline.Errorf(pipeline.CodeFailed, "run "+c.what, "%s", runlog.Saying("timed out after "+c.timeout.String(), tail)).
			WithHint("Its last lines show where it hangs.")
	}
	return exit, tail, pipeline.Errorf(pipeline.CodeFailed, "run "+c.what, "%w", err)
}

// must runs the command, and fails where it does. It returns the end of its output.
func (c command) must(ctx context.Context, log io.Writer) (tail []string, err error) {
	exit, tail, err := c.run(ctx, log)
	if err != nil || exit == (process.Exit{}) {
		return tail, err
	}
	failed := pipeline.Errorf(pipeline.CodeFailed, "run "+c.what, "%s", runlog.Saying(exit.String(), tail))
	if exit.Code == 127 {
		return tail, failed.WithHint("The shell found no such command; it must be on the PATH of this machine, or in the tree.")
	}
	return tail, failed.WithHint("Correct the command or what it works on; its output is in the log.")
}

// withOwn returns a command's own variables laid over those of its surroundings, and
// all values to hide.
func withOwn(v protocol.Variables, env map[string]string, secrets pipeline.Secrets) protocol.Variables {
	own := maps.Clone(env)
	if own == nil {
		own = map[string]string{}
	}
	hide := v.Secrets
	for k, s := range secrets {
		own[k] = s.Reveal()
		hide = append(hide[:len(hide):len(hide)], s.Reveal())
	}
	all := v.Env[:len(v.Env):len(v.Env)]
	for k, value := range own {
		all = append(all, k+"="+value)
	}
	return protocol.Variables{Env: all, Secrets: hide}
}

// inside returns a directory of a tree by its path relative to the root.
func inside(root, dir string) (string, error) {
	if dir != "" && !filepath.IsLocal(dir) {
		return "", pipeline.Errorf(pipeline.CodeInvalid, "run command", "directory %q leads out of the tree", dir).
			WithHint("Name a directory relative to the root of the tree.")
	}
	return filepath.Join(root, dir), nil
}

// Exec runs a command in the tree of one instance, with the variables of its
// service. The exit status is -1 for a command that a signal ended. The command is
// a child of this process, and ends with it.
func (p *Platform) Exec(ctx context.Context, environment, fleet string, c pipeline.Command, log io.Writer) (int, error) {
	const op = "run command"
	if err := checkID(op, "environment", environment); err != nil {
		return -1, err
	}
	if fleet == "" {
		fleet = protocol.ServingFleet
	}
	var list []protocol.Place
	if err := p.ask(ctx, environment, op, "GET", protocol.PathFleets+fleet+"/places", nil, &list); err != nil {
		return -1, err
	}
	if !c.Everywhere {
		list = list[:1]
	}
	for _, at := range list {
		if exit, err := execAt(ctx, at, c, log); err != nil || exit != 0 {
			return exit, err
		}
	}
	return 0, nil
}

// LogCommand implements pipeline.Platform.
func (p *Platform) LogCommand(lines int, follow bool) string {
	flags := fmt.Sprintf("-n %d", lines)
	if follow {
		flags += " -f"
	}
	return fmt.Sprintf("exec tail %s \"$%s\"", flags, protocol.LogVariable)
}

// execAt runs a command in one instance.
func execAt(ctx context.Context, at protocol.Place, c pipeline.Command, log io.Writer) (int, error) {
	dir, err := inside(at.Root, c.Dir)
	if err != nil {
		return -1, err
	}
	v := withOwn(at.Variables, c.Env, c.Secrets)
	what := "command"
	if c.Name != "" {
		what = "step " + c.Name
	}
	exit, _, err := command{what: what, line: c.Line, dir: dir, env: v.Env, secrets: v.Secrets, timeout: c.Timeout}.run(ctx, log)
	return exit.Code, err
}
