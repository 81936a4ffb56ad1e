// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// command is one call of Terraform.
type command struct {
	program string
	args    []string
	dir     string
	env     map[string]string
	stdout  io.Writer // nil discards
	stderr  io.Writer
	gentle  bool     // it changes something: see process.Spec.Gentle
	lock    *os.File // see process.Spec.Lock
}

// exitError is the error of a command that failed.
type exitError struct{ exit process.Exit }

func (e *exitError) Error() string { return e.exit.String() }

// quickGrace is what a command that changes nothing has to end when it is cancelled.
const quickGrace = 10 * time.Second

// start runs a command to its end.
func (m *Modules) start(ctx context.Context, c command) error {
	spec := process.Spec{
		Args: append([]string{c.program}, c.args...), Dir: c.dir, Env: m.environ(c.env),
		Stdout: c.stdout, Stderr: c.stderr, Grace: quickGrace, Gentle: c.gentle, Lock: c.lock,
	}
	if c.gentle {
		spec.Grace = m.config.Grace
	}
	p, err := process.Start(ctx, spec)
	if err != nil {
		return err
	}
	exit, err := p.Wait()
	if err == nil && (exit.Code != 0 || exit.Signal != "") {
		err = &exitError{exit}
	}
	return err
}

// exitCode returns the exit status of a command; false if it did not end by itself.
func exitCode(err error) (int, bool) {
	if err == nil {
		return 0, true
	}
	var exit *exitError
	if errors.As(err, &exit) && exit.exit.Signal == "" {
		return exit.exit.Code, true
	}
	return 0, false
}

// private reports whether a variable of this process is about the configuration that it
// serves, and so is none of a module's affair.
func private(name string) bool {
	switch name {
	case "TF_WORKSPACE", "TF_DATA_DIR", "TF_ENCRYPTION", "TF_STATE_PERSIST_INTERVAL", "TF_REATTACH_PROVIDERS":
		return true
	}
	return strings.HasPrefix(name, "TF_VAR_") || strings.HasPrefix(name, "PENSTOCK_") || strings.HasPrefix(name, "TF_ACC")
}

// environ returns the environment of Terraform, without those of the extra variables that are
// empty. The user's own settings of Terraform stay:
// where providers are from, the credentials of registries, and those of the stage's cloud.
func (m *Modules) environ(extra map[string]string) []string {
	set := map[string]string{"TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1"}
	if file := os.Getenv("TF_CLI_CONFIG_FILE"); file != "" {
		set["TF_CLI_CONFIG_FILE"] = file
	}
	if dir := m.cacheDir(); dir != "" {
		set["TF_PLUGIN_CACHE_DIR"] = dir
	}
	maps.Copy(set, extra)
	return slices.DeleteFunc(process.Environ(set), func(kv string) bool {
		name, value, _ := strings.Cut(kv, "=")
		_, removed := extra[name]
		return private(name) || removed && value == ""
	})
}

// lines calls each for every line that is written to it.
type lines struct {
	each func(line []byte)
	rest []byte
	skip bool // the line is too long
}

// longestLine bounds a line of Terraform's output: its longest are plans of one resource.
const longestLine = 4 << 20

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	for {
		line, rest, whole := bytes.Cut(p, []byte("\n"))
		if !l.skip {
			l.rest = append(l.rest, line...)
		}
		if len(l.rest) > longestLine {
			l.rest, l.skip = nil, true
		}
		if !whole {
			return n, nil
		}
		if !l.skip {
			l.each(l.rest)
		}
		l.rest, l.skip, p = l.rest[:0], false, rest
	}
}

// kept is a writer that keeps the first of what is written.
type kept struct{ bytes.Buffer }

// Write implements io.Writer.
func (k *kept) Write(p []byte) (int, error) {
	if room := 64<<10 - k.Len(); room > 0 {
		_, _ = k.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// tail returns what a program said, for the end of an error.
func tail(said string) string {
	said = strings.TrimSpace(present.Text(said))
	if said == "" {
		return ""
	}
	if len(said) > 2000 {
		said = strings.ToValidUTF8(said[:2000], "") + "…"
	}
	return fmt.Sprintf(":\n%s", said)
}
