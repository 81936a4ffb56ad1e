// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// shim is systemctl, shutdown, reboot or poweroff on an instance: the test cloud does what
// it says, as a service outlives the command that starts it.
const shim = `#!/bin/sh
exec curl -fsS -X POST --data-urlencode "args=NAME $*" "$CLOUDTEST_SYSTEMD"
`

const systemdPath = "/cloudtest/systemd/"

// systemd serves the shims.
func (s *server) systemd(w http.ResponseWriter, r *http.Request) {
	id := strings.Split(strings.TrimPrefix(r.URL.Path, systemdPath), "/")
	s.mu.Lock()
	a := s.accounts[id[0]]
	s.mu.Unlock()
	var i *instance
	if a != nil && len(id) == 2 {
		i = a.instance(id[1])
	}
	args := strings.Fields(r.FormValue("args"))
	if i == nil || len(args) == 0 {
		http.Error(w, "no such instance", http.StatusNotFound)
		return
	}
	if args[0] == "systemctl" {
		args = slices.DeleteFunc(args[1:], func(arg string) bool { return arg == "--no-block" })
	}
	if len(args) == 0 {
		return
	}
	if err := i.control(args[0], args[1:]); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// control is the part of systemd that the tests need.
func (i *instance) control(verb string, args []string) error {
	switch verb {
	case "daemon-reload":
		return nil
	case "poweroff":
		go i.powerOff()
		return nil
	case "reboot":
		go i.restart()
		return nil
	case "shutdown":
		return i.shutdown(args)
	}
	now := slices.Contains(args, "--now")
	for _, arg := range args {
		if strings.HasPrefix(arg, "-") {
			continue
		}
		if err := i.controlUnit(verb, strings.TrimSuffix(arg, ".service"), now); err != nil {
			return err
		}
	}
	return nil
}

func (i *instance) controlUnit(verb, unit string, now bool) error {
	wants := filepath.Join(i.root, "etc/systemd/system/multi-user.target.wants")
	link := filepath.Join(wants, unit+".service")
	switch verb {
	case "enable":
		if err := os.MkdirAll(wants, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(link, nil, 0o644); err != nil {
			return err
		}
		if now {
			i.start(unit)
		}
	case "disable":
		_ = os.Remove(link)
		if now {
			i.stop(unit)
		}
	case "start":
		i.start(unit)
	case "restart":
		i.stop(unit)
		i.start(unit)
	case "stop":
		i.stop(unit)
	default:
		return fmt.Errorf("the test cloud's systemctl has no %s", verb)
	}
	return nil
}

// shutdown ends the machine, or restarts it, in some minutes; what was to come before is
// forgotten.
func (i *instance) shutdown(args []string) error {
	after, end := 1, i.powerOff
	for _, arg := range args {
		switch {
		case arg == "-r":
			end = i.restart
		case arg == "-c":
			i.stop("shutdown")
			return nil
		case arg == "now":
			after = 0
		case strings.HasPrefix(arg, "+"):
			n, err := strconv.Atoi(arg[1:])
			if err != nil {
				return err
			}
			after = n
		}
	}
	i.stop("shutdown")
	i.later("shutdown", time.Duration(after)*i.account.cloud.minute(), func() { go end() })
	return nil
}

// minute is how long a minute of an instance's own deadlines takes.
func (c *Cloud) minute() time.Duration {
	if m := c.paced().Minute; m > 0 {
		return m
	}
	return time.Minute
}

// later does something when a time has passed, unless it is stopped, or the machine goes down.
func (i *instance) later(name string, after time.Duration, do func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	ctx, cancel := context.WithCancel(i.up)
	i.services[name] = cancel
	i.active.Go(func() {
		defer cancel()
		select {
		case <-ctx.Done():
		case <-time.After(after):
			do()
		}
	})
}

// unit is what of a unit's file the test cloud knows.
type unit struct {
	start, stop string   // ExecStart, ExecStop
	before      []string // ExecStartPre, one after another
	user        string   // empty: root, without the variables that a user has
	files       []string // EnvironmentFile
	caps        string   // AmbientCapabilities
	always      bool     // it is started again when it ends
	once        bool     // it has started when it has ended
	after       string   // OnActiveSec of a timer
	condition   bool     // its conditions hold
}

func (i *instance) unit(name string) unit {
	u := unit{condition: true}
	file := name
	if filepath.Ext(file) != ".timer" {
		file += ".service"
	}
	for _, dir := range []string{"etc", "run"} {
		file := filepath.Join(i.root, dir, "systemd/system", file)
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		more, _ := filepath.Glob(file + ".d/*.conf")
		for _, name := range more {
			part, _ := os.ReadFile(name)
			text = append(text, part...)
		}
		for l := range strings.Lines(strings.ReplaceAll(string(text), "${PENSTOCK_SYSROOT}", i.root)) {
			key, value, _ := strings.Cut(strings.TrimSpace(l), "=")
			switch key {
			case "ExecStart":
				u.start = value
			case "ExecStartPre":
				u.before = append(u.before, value)
			case "User":
				u.user = value
			case "EnvironmentFile":
				u.files = append(u.files, value)
			case "AmbientCapabilities":
				u.caps = value
			case "ExecStop":
				u.stop = value
			case "Type":
				u.once = value == "oneshot"
			case "Restart":
				u.always = value == "always"
			case "OnActiveSec":
				u.after = value
			case "ConditionPathExists":
				path, not := strings.CutPrefix(value, "!")
				_, err := os.Stat(filepath.Join(i.root, path))
				u.condition = u.condition && (err == nil) != not
			}
		}
	}
	return u
}

// start starts a service from the ExecStart of its unit, and again when it ends. The
// ExecStop of one that has nothing else runs when the machine stops. A timer starts its
// service.
func (i *instance) start(name string) {
	u := i.unit(name)
	if !u.condition {
		return
	}
	if service, ok := strings.CutSuffix(name, ".timer"); ok {
		seconds, _ := strconv.Atoi(u.after)
		i.later(name, time.Duration(seconds)*i.account.cloud.minute()/60, func() { i.start(service) })
		return
	}
	i.mu.Lock()
	if u.start == "" && u.stop != "" {
		i.stops[name] = u.stop
	}
	if _, runs := i.services[name]; runs || u.start == "" || i.up.Err() != nil {
		i.mu.Unlock()
		return
	}
	ctx, cancel := context.WithCancel(i.up)
	i.services[name] = cancel
	i.processes.Add(1)
	ended := make(chan struct{})
	i.active.Go(func() {
		defer close(ended)
		defer i.processes.Done()
		i.keep(ctx, name, u)
	})
	i.mu.Unlock()
	if u.once {
		<-ended
	}
}

// keep runs a service until it is stopped, or has ended and is not to start again.
func (i *instance) keep(ctx context.Context, name string, u unit) {
	for ctx.Err() == nil {
		i.serve(ctx, name, u)
		if !u.always {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if ctx.Err() == nil {
		delete(i.services, name)
	}
}

// serve runs a service to its end, and what comes before it. What keeps it from running is in
// its log, as systemd has it in its own.
func (i *instance) serve(ctx context.Context, name string, u unit) {
	log, err := os.OpenFile(filepath.Join(i.root, ".bin", name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	defer log.Close()
	env := i.environ()
	for _, file := range u.files {
		text, err := os.ReadFile(filepath.Join(i.root, file))
		if err != nil {
			fmt.Fprintf(log, "%s.service: Failed to load environment files: %v\n", name, err)
			return
		}
		env = append(env, environmentFile(string(text))...)
	}
	as, ok := user{}, true
	if u.user != "" {
		as, ok = i.user(u.user)
	}
	for _, line := range append(u.before, u.start) {
		line, privileged := strings.CutPrefix(line, "+")
		spec := process.Spec{Args: strings.Fields(line), Dir: i.root, Env: env, Stdout: log, Stderr: log, Grace: time.Second}
		if !privileged && !ok {
			fmt.Fprintf(log, "%s.service: Failed to determine user credentials: No such process\n%[1]s.service: Main process exited, code=exited, status=217/USER\n", name)
			return
		}
		if !privileged && u.user != "" {
			spec = as.become(spec, u.caps)
		}
		p, err := process.Start(ctx, spec)
		if err != nil {
			return
		}
		if exit, _ := p.Wait(); exit.Code != 0 {
			return
		}
	}
}

// environmentFile returns the variables of a file as systemd reads it: a line that assigns
// nothing means nothing, in quotes a value may have several lines, in double quotes a backslash
// takes the meaning from four characters, and a value with a control character is left out.
func environmentFile(text string) (env []string) {
	for text != "" {
		var key, value string
		line, rest, _ := strings.Cut(text, "\n")
		name, after, assigns := strings.Cut(line, "=")
		switch {
		case !assigns || strings.HasPrefix(line, "#"):
			text = rest
			continue
		case strings.HasPrefix(after, `"`):
			key, text = name, text[len(name)+2:]
			for text != "" && text[0] != '"' {
				if text[0] == '\\' && len(text) > 1 && strings.IndexByte("\"\\`$", text[1]) >= 0 {
					text = text[1:]
				}
				value, text = value+text[:1], text[1:]
			}
			_, text, _ = strings.Cut(text, "\n")
		default:
			key, value, text = name, after, rest
		}
		control := func(c rune) bool { return unicode.IsControl(c) && c != '\t' && c != '\n' }
		if variableName.MatchString(key) && !strings.ContainsFunc(value, control) {
			env = append(env, key+"="+value)
		}
	}
	return env
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (i *instance) stop(unit string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if cancel, ok := i.services[unit]; ok {
		cancel()
		delete(i.services, unit)
	}
}
