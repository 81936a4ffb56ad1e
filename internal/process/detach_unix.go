// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build linux || darwin

package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Detach starts a program that outlives this one, in a session of its own. It
// reads nothing, appends what it prints to logFile (made with mode 0600), and
// keeps no descriptor of this process.
func Detach(args []string, dir string, env []string, logFile string) (pid int, err error) {
	program, err := lookUp(args)
	if err != nil {
		return 0, err
	}
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, fmt.Errorf("detach command: open log: %w", err)
	}
	defer func() { _ = log.Close() }()
	keepDescriptors()
	cmd := &exec.Cmd{
		Path: program, Args: args, Dir: dir, Env: env, Stdout: log, Stderr: log,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if cmd.Env == nil {
		cmd.Env = []string{} // exec takes nil for this process's environment
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("detach command: %w", err)
	}
	go func() { _ = cmd.Wait() }() // leaves no zombie when it ends before this process
	return cmd.Process.Pid, nil
}

// keepDescriptors makes descriptors that this process itself inherited close on
// exec. Those that Go opened do so anyway.
func keepDescriptors() {
	names, _ := filepath.Glob("/dev/fd/*")
	for _, name := range names {
		if fd, err := strconv.Atoi(filepath.Base(name)); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}
