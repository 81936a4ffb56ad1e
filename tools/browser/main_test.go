// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
)

// packed makes an archive.
func packed(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, content := range files {
		if err := errors.Join(w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}), second(w.Write([]byte(content)))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func second(_ int, err error) error { return err }

// compressed compresses with brotli.
func compressed(t *testing.T, data []byte) string {
	t.Helper()
	var out bytes.Buffer
	w := brotli.NewWriter(&out)
	if err := errors.Join(second(w.Write(data)), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// fakePackage is a package whose browser says what it was started with.
func fakePackage(t *testing.T, library string) []byte {
	t.Helper()
	plain := packed(t, map[string]string{
		"package/bin/chromium.br":        compressed(t, []byte("#!/bin/sh\necho \"$LD_LIBRARY_PATH $*\"\n")),
		"package/bin/al2023.tar.br":      compressed(t, packed(t, map[string]string{library: "library"})),
		"package/bin/swiftshader.tar.br": compressed(t, packed(t, map[string]string{"libGL.so": "graphics"})),
		"package/bin/fonts.tar.br":       compressed(t, packed(t, map[string]string{"fonts/One.ttf": "font", "fonts.conf": "of another place"})),
		"package/README.md":              "not needed",
	})
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if err := errors.Join(second(w.Write(plain)), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestInstalled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache", "chromium")
	got, err := installed(t.Context(), dir, func(context.Context) ([]byte, error) { return nil, errors.New("no network") })
	if err == nil || !strings.Contains(err.Error(), "CHROMIUM") {
		t.Fatalf("a failed download: got %q, %v; want the remedy", got, err)
	}
	if _, err := installed(t.Context(), dir, func(context.Context) ([]byte, error) { return fakePackage(t, "../lib.so"), nil }); err == nil {
		t.Fatal("a file was written elsewhere")
	}
	downloads := 0
	for range 2 { // the second time there is nothing to do
		got, err = installed(t.Context(), dir, func(context.Context) ([]byte, error) {
			downloads++
			return fakePackage(t, "lib/libnss3.so"), nil
		})
		if want := filepath.Join(dir, "run"); got != want || err != nil {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
	if downloads != 1 {
		t.Errorf("it was downloaded %d times", downloads)
	}
	t.Setenv("LD_LIBRARY_PATH", "")
	out, err := exec.Command(got, "--headless", "a b").CombinedOutput()
	if want := filepath.Join(dir, "lib") + " --headless a b\n"; string(out) != want || err != nil {
		t.Errorf("it says %q, %v; want %q", out, err, want)
	}
	if err := check(t.Context(), got); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(left) != 1 {
		t.Errorf("beside it there is %v, %v", left, err)
	}
}
