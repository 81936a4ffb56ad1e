// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// dialer connects to a socket. The path of a deep one is too long for the system,
// so it is reached through its open directory.
func dialer(path string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		if len(path) <= longestSocket {
			return d.DialContext(ctx, "unix", path)
		}
		dir, err := os.Open(filepath.Dir(path))
		if err != nil {
			return nil, err
		}
		defer func() { _ = dir.Close() }()
		near := filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), filepath.Base(path))
		return d.DialContext(ctx, "unix", near)
	}
}
