// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build !linux

package local

import (
	"context"
	"net"
	"os"
	"path/filepath"
)

// dialer connects to a socket. The path of a deep one is too long for the system,
// so it is reached through a short link.
func dialer(path string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		if len(path) <= longestSocket {
			return d.DialContext(ctx, "unix", path)
		}
		dir, err := os.MkdirTemp("", "ps")
		if err != nil {
			return nil, err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		link := filepath.Join(dir, "e")
		if err := os.Symlink(filepath.Dir(path), link); err != nil {
			return nil, err
		}
		return d.DialContext(ctx, "unix", filepath.Join(link, filepath.Base(path)))
	}
}
