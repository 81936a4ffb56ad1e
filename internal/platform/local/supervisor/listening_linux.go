// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

// Where a service listens that does not listen where it should, for the error that says so.

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// listening returns the TCP ports that the descendants of a process listen on, as
// far as /proc shows them to this user.
func listening(pid int) []int {
	sockets := listeners()
	if len(sockets) == 0 {
		return nil
	}
	var ports []int
	for _, child := range descendants(pid) {
		fds, _ := filepath.Glob(filepath.Join("/proc", child, "fd", "*"))
		for _, fd := range fds {
			target, err := os.Readlink(fd)
			if err != nil {
				continue
			}
			inode := strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")
			if port, ok := sockets[inode]; ok {
				ports = append(ports, port)
			}
		}
	}
	return ports
}

// descendants lists the processes below one.
func descendants(pid int) []string {
	children := map[string][]string{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// The second field is the name in parentheses, which may hold anything.
		rest := string(data[strings.LastIndexByte(string(data), ')')+1:])
		if fields := strings.Fields(rest); len(fields) > 1 {
			parent := fields[1]
			children[parent] = append(children[parent], filepath.Base(filepath.Dir(path)))
		}
	}
	var found []string
	for next := children[strconv.Itoa(pid)]; len(next) > 0; next = next[1:] {
		found = append(found, next[0])
		next = append(next, children[next[0]]...)
	}
	return found
}

// listeners returns the ports of all listening TCP sockets by inode; see proc_net(5).
func listeners() map[string]int {
	found := map[string]int{}
	for _, path := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			const local, state, inode, listen = 1, 3, 9, "0A"
			fields := strings.Fields(s.Text())
			if len(fields) <= inode || fields[state] != listen {
				continue
			}
			_, hex, _ := strings.Cut(fields[local], ":")
			if port, err := strconv.ParseInt(hex, 16, 32); err == nil {
				found[fields[inode]] = int(port)
			}
		}
		_ = f.Close()
	}
	return found
}
