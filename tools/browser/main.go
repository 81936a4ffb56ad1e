// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Command browser prints the path of a Chromium, in which the tests use the board: the
// one that $CHROMIUM names, else a Chromium or Chrome on PATH or where macOS has it, else
// one in the cache directory, into which it is downloaded the first time.
//
//	browser -cache .cache
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/andybalholm/brotli"

	"github.com/penstock-io/terraform-provider-penstock/tools/internal/npm"
	"github.com/penstock-io/terraform-provider-penstock/tools/internal/program"
)

// The package of the npm registry that has a Chromium without a window for Linux on amd64,
// with the libraries that a small system lacks.
const (
	release   = "@sparticuz/chromium@147.0.0"
	address   = "https://registry.npmjs.org/@sparticuz/chromium/-/chromium-147.0.0.tgz"
	integrity = "4ZKeAQQa8up2mt675qSitztLdbQrlf8BKdC5naeap+5Mv1OV1OlJdPoU+EJC/p5sQUJUQmN4r+q5+EhaaOUHpQ==" // SHA-512
)

const remedy = "install Chromium or Chrome, or set CHROMIUM to the path of one"

// names are what Chromium is called on PATH, and where macOS has it.
var names = []string{
	"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome",
	"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome", "/Applications/Chromium.app/Contents/MacOS/Chromium",
}

func main() {
	cache := flag.String("cache", ".cache", "directory to install into")
	flag.Parse()
	program.Main("find a browser", func(ctx context.Context) (string, error) {
		runs := func(path string) error { return check(ctx, path) }
		path, err := program.Find("CHROMIUM", runs, names...)
		if err != nil || path != "" {
			return path, err
		}
		if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
			return "", errors.New("there is none on PATH: " + remedy)
		}
		path, err = installed(ctx, filepath.Join(*cache, "chromium"), func(ctx context.Context) ([]byte, error) {
			return npm.Download(ctx, address, integrity)
		})
		if err == nil {
			err = runs(path)
		}
		return path, err
	})
}

// check reports whether the browser runs: what a distribution calls chromium may be a
// script that asks to install it.
func check(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %.300s", err, out)
	}
	return nil
}

// installed returns the browser in dir, and installs it if it is not there. It is put
// together beside dir, and moved there when it is complete.
func installed(ctx context.Context, dir string, get func(context.Context) ([]byte, error)) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	path, of := filepath.Join(dir, "run"), filepath.Join(dir, "release")
	if got, err := os.ReadFile(of); err == nil && string(got) == release {
		return path, nil
	}
	fmt.Fprintf(os.Stderr, "there is no Chromium on PATH: installing %s into %s\n", release, dir)
	archive, err := get(ctx)
	if err != nil {
		return "", fmt.Errorf("download %s: %w\n%s", address, err, remedy)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	part, err := os.MkdirTemp(filepath.Dir(dir), "chromium-*.part")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(part)
	if err := unpack(archive, part); err != nil {
		return "", fmt.Errorf("unpack %s: %w\n%s", release, err, remedy)
	}
	if err := os.Chmod(part, 0o755); err != nil {
		return "", err
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return path, os.Rename(part, dir)
}

// launcher starts the browser with the libraries beside it, behind those of the system, and
// with the font beside it where the system has none.
const launcher = `#!/bin/sh
here=$(dirname "$0")
[ -e /etc/fonts/fonts.conf ] || export FONTCONFIG_FILE="$here/fonts.conf"
LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$here/lib" exec "$here/chromium" "$@"
`

// fonts is the configuration for that.
const fonts = `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig><dir prefix="relative">fonts</dir><cachedir prefix="relative">fonts/cache</cachedir></fontconfig>
`

// unpack makes the browser in dir from the package: the program, its libraries, a font,
// the means to draw without a graphics card, and what starts it.
func unpack(archive []byte, dir string) error {
	plain, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return err
	}
	found := 0
	for files := tar.NewReader(plain); ; {
		h, err := files.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		switch strings.TrimPrefix(h.Name, "package/bin/") {
		case "chromium.br":
			err = write(filepath.Join(dir, "chromium"), brotli.NewReader(files), 0o755)
		case "al2023.tar.br", "swiftshader.tar.br", "fonts.tar.br":
			err = extract(brotli.NewReader(files), dir)
		default:
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		found++
	}
	if found != 4 {
		return fmt.Errorf("it has %d of the 4 files that are needed", found)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "run"), []byte(launcher), 0o755),
		os.WriteFile(filepath.Join(dir, "fonts.conf"), []byte(fonts), 0o644),
		os.WriteFile(filepath.Join(dir, "release"), []byte(release), 0o644),
	)
}

// extract writes the files of a tar archive into dir, and none elsewhere.
func extract(archive io.Reader, dir string) error {
	for files := tar.NewReader(archive); ; {
		h, err := files.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if !filepath.IsLocal(h.Name) {
			return fmt.Errorf("it has a file %q", h.Name)
		}
		path := filepath.Join(dir, h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := write(path, files, h.FileInfo().Mode().Perm()|0o600); err != nil {
				return err
			}
		case tar.TypeSymlink:
			if !filepath.IsLocal(filepath.Join(filepath.Dir(h.Name), h.Linkname)) {
				return fmt.Errorf("it has a link %q to %q", h.Name, h.Linkname)
			}
			if err := os.Symlink(h.Linkname, path); err != nil {
				return err
			}
		}
	}
}

func write(path string, content io.Reader, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}
