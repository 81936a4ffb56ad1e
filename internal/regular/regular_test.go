// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package regular

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "regular-") // the name of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	at := func(name string) string { return filepath.Join(dir, name) }
	var socket net.ListenConfig
	listener, err := socket.Listen(t.Context(), "unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	for _, err := range []error{
		os.WriteFile(at("file"), []byte("content"), 0o600), os.Mkdir(at("dir"), 0o700), unix.Mkfifo(at("pipe"), 0o600),
		os.Symlink("file", at("to-file")), os.Symlink("pipe", at("to-pipe")), os.Symlink("/dev/zero", at("to-device")),
		os.Symlink("none", at("to-nothing")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })

	for _, test := range []struct{ name, open, openIn string }{
		{"file", "", ""},
		{"to-file", "", ""},
		{"dir", "dir is a directory, not a file", "dir is a directory, not a file"},
		{"pipe", "pipe is a named pipe, not a file", "pipe is a named pipe, not a file"},
		{"to-pipe", "to-pipe is a named pipe, not a file", "to-pipe is a named pipe, not a file"},
		{"socket", "socket is a socket, not a file", "socket is a socket, not a file"},
		{"to-device", "to-device is a device, not a file", "escapes"},
		{"to-nothing", "no such file", "no such file"},
		{"none", "no such file", "no such file"},
	} {
		check := func(how, want string, file *os.File, err error) {
			if want != "" {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s(%s) returns %v, want %q", how, test.name, err, want)
				}
				if _, is := errors.AsType[*KindError](err); is != strings.Contains(want, "not a file") {
					t.Errorf("%s(%s) returns a %T", how, test.name, err)
				}
				return
			}
			if err != nil {
				t.Errorf("%s(%s) returns %v", how, test.name, err)
				return
			}
			defer file.Close()
			if content, err := io.ReadAll(file); err != nil || string(content) != "content" {
				t.Errorf("%s(%s) reads %q, %v", how, test.name, content, err)
			}
		}
		file, err := Open(at(test.name))
		check("Open", test.open, file, err)
		file, err = OpenIn(root, test.name)
		check("OpenIn", test.openIn, file, err)
	}
}
