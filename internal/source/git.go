// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// oldestGit is the first release that has what is used here; Debian 10 ships it.
const oldestMajor, oldestMinor = 2, 20

// grace is what a cancelled git gets to remove its temporary files and locks.
const grace = 5 * time.Second

// safety are the settings that keep a repository from having anything run, or from
// being checked out differently on each machine, whatever the user's own settings.
var safety = []string{
	"protocol.ext.allow=never", // a transport that is a command line
	"core.hooksPath=/dev/null",
	"core.fsmonitor=", // empty, as an older git takes "false" for a program
	"submodule.recurse=false",
	"core.autocrlf=false",
	"core.eol=lf",
	"core.attributesFile=/dev/null",
	"core.symlinks=true",
	"gc.autoDetach=false", // nothing outlives the call
	"maintenance.autoDetach=false",
	"core.filesRefLockTimeout=5000",
	"advice.detachedHead=false",
}

// call is one git command.
type call struct {
	at   location          // whose credentials it may use, and must not show
	args []string          // with "--" before anything foreign
	env  map[string]string // beside the process's own
	in   *os.File          // nil for nothing; not for one that is guarded
	read func(io.Reader) error
	far  bool // it talks to the repository, and is guarded: a server may keep it waiting for ever
}

// gitError says that git ran and failed. What git said is for people only.
type gitError struct {
	command string
	status  int
	said    string
}

func (e *gitError) Error() string {
	if e.said == "" {
		return fmt.Sprintf("git %s ended with status %d", e.command, e.status)
	}
	return fmt.Sprintf("git %s: %s", e.command, e.said)
}

// runner runs git.
type runner struct {
	dir string // the cache, in which it runs; repositories around it do not count
	log hclog.Logger
}

// git runs a command to its end. When ctx ends, git gets a moment to clean up, and
// everything that it started is ended with it. A *gitError says that git failed.
func (r *runner) git(ctx context.Context, c call) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	program, err := lookUpGit()
	if err != nil {
		return err
	}
	said, started := &tail{}, time.Now()
	args := slices.Concat([]string{program}, configure(c.at), c.args)
	start := r.run
	if c.far {
		start = r.runGuarded
	}
	status, err := start(ctx, c, args, said)
	r.log.Debug("git", "command", verb(c.args), "repository", c.at.name, "took", time.Since(started).Round(time.Millisecond), "status", status, "error", err)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil && status != 0:
		return &gitError{verb(c.args), status, c.at.redact(said.lines())}
	default:
		return err
	}
}

// runGuarded runs a command that can't outlive this process, nor anything that it
// starts. That takes a process more, which is little beside a network.
func (r *runner) runGuarded(ctx context.Context, c call, args []string, said io.Writer) (int, error) {
	var out bytes.Buffer
	p, err := process.Start(ctx, process.Spec{Args: args, Dir: r.dir, Env: r.environ(c), Stdout: &out, Stderr: said, Grace: grace})
	if err != nil {
		return 0, err
	}
	exit, err := p.Wait()
	if err == nil && c.read != nil {
		err = c.read(&out)
	}
	return exit.Code, err
}

// run starts a command, has its output read, and waits for it.
func (r *runner) run(ctx context.Context, c call, args []string, said io.Writer) (int, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stderr, cmd.WaitDelay = r.dir, r.environ(c), said, grace
	if c.in != nil {
		cmd.Stdin = c.in
	}
	isolate(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer context.AfterFunc(ctx, func() { _ = out.Close() })()
	read := c.read
	if read == nil {
		read = func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err }
	}
	readErr := read(out)
	if readErr != nil {
		_ = out.Close() // git ends when nobody reads on
	}
	waitErr := cmd.Wait()
	if ctx.Err() != nil {
		endGroup(cmd)
	}
	var exit *exec.ExitError
	var refusal *pipeline.Error
	switch {
	case waitErr == nil || errors.As(readErr, &refusal):
		return 0, readErr
	case errors.As(waitErr, &exit):
		return exit.ExitCode(), nil
	default:
		return 0, waitErr
	}
}

// output runs a command and gives the beginning of what it prints.
func (r *runner) output(ctx context.Context, c call) (string, error) {
	const most = 64 << 10 // a commit message may be of any length, and only its first line matters
	var out bytes.Buffer
	c.read = func(r io.Reader) error {
		_, err := io.Copy(&out, io.LimitReader(r, most))
		_, rest := io.Copy(io.Discard, r)
		return errors.Join(err, rest)
	}
	err := r.git(ctx, c)
	return out.String(), err
}

// configure returns the settings of a call. A password goes to git through a
// credential helper for exactly that address, and so through the environment: the
// arguments of a process are there for all to see.
func configure(at location) []string {
	settings := safety
	if at.password != "" {
		helper := "credential." + hostOf(at.address) + ".helper="
		settings = append(slices.Clone(safety), helper, helper+
			`!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$PENSTOCK_GIT_USERNAME" "$PENSTOCK_GIT_PASSWORD"; }; f`)
	}
	var args []string
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	return args
}

// hostOf returns the scheme and host of a URL.
func hostOf(address string) string {
	start := strings.Index(address, "://") + len("://")
	if end := strings.IndexAny(address[start:], "/?#"); end >= 0 {
		return address[:start+end]
	}
	return address
}

func (r *runner) environ(c call) []string {
	extra := map[string]string{
		"GIT_TERMINAL_PROMPT":   "0",
		"GIT_ATTR_NOSYSTEM":     "1",
		"GIT_LFS_SKIP_SMUDGE":   "0",
		process.CeilingVariable: filepath.Dir(r.dir), // the cache may lie within a repository, whose settings are another's
	}
	if c.at.password != "" {
		extra["PENSTOCK_GIT_USERNAME"], extra["PENSTOCK_GIT_PASSWORD"] = c.at.username, c.at.password
	}
	for k, v := range c.env {
		extra[k] = v
	}
	return process.Environ(extra)
}

// verb returns git's command of the arguments.
func verb(args []string) string {
	for i, arg := range args {
		if !strings.HasPrefix(arg, "-") && (i == 0 || args[i-1] != "-c" && args[i-1] != "-C") {
			return arg
		}
	}
	return ""
}

func lookUpGit() (string, error) {
	program, err := exec.LookPath("git")
	if err != nil {
		return "", pipeline.Errorf(pipeline.CodeInvalid, "run git", "%w", err).
			WithHint("Install git %d.%d or newer, and put it on the PATH that Terraform is started with.", oldestMajor, oldestMinor)
	}
	return program, nil
}

var versionLine = regexp.MustCompile(`(\d+)\.(\d+)`)

// checkVersion refuses a git that lacks what is used here, before it fails at it.
func (r *runner) checkVersion(ctx context.Context) (string, error) {
	text, err := r.output(ctx, call{args: []string{"version"}})
	if err != nil {
		return "", err
	}
	m := versionLine.FindStringSubmatch(text)
	if m == nil {
		return "", nil // somebody's own build; it may well do
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	if major < oldestMajor || major == oldestMajor && minor < oldestMinor {
		return "", pipeline.Errorf(pipeline.CodeInvalid, "run git", "git %s is too old", m[0]).
			WithHint("Install git %d.%d or newer, and put it on the PATH that Terraform is started with.", oldestMajor, oldestMinor)
	}
	return m[0], nil
}

// tail keeps the end of what is written to it.
type tail struct{ kept []byte }

const tailBytes = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if extra := len(t.kept) - tailBytes; extra > 0 {
		t.kept = slices.Delete(t.kept, 0, extra)
	}
	return len(p), nil
}

// lines returns the last few lines in one, fit to print.
func (t *tail) lines() string {
	const most = 6
	var lines []string
	for line := range strings.Lines(string(t.kept)) {
		if line = printable(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-most):], "; ")
}
