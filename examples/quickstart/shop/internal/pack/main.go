// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Command pack writes a gzipped tar of files and directories. The same files give
// the same archive, byte for byte: names are sorted, and times and owners are left
// out. It exists because the tar of Linux and that of macOS need different options
// for that.
//
//	pack dist/shop.tar.gz dist/shop=shop static db
//
// A=B stores A under the name B.
package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: pack ARCHIVE PATH[=NAME]...")
		os.Exit(2)
	}
	if err := pack(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

// pack leaves no archive behind when it fails.
func pack(archive string, specs []string) (err error) {
	f, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(archive)
		}
	}()
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	for _, spec := range specs {
		from, name, renamed := strings.Cut(spec, "=")
		if !renamed {
			name = filepath.ToSlash(from)
		}
		if err := add(t, from, name); err != nil {
			return err
		}
	}
	return errors.Join(t.Close(), z.Close())
}

// add stores the file or the tree at from under name. WalkDir goes in the order of names.
func add(t *tar.Writer, from, name string) error {
	return filepath.WalkDir(from, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: path.Join(name, filepath.ToSlash(rel)), Mode: 0o644, Size: info.Size(), Typeflag: tar.TypeReg}
		switch {
		case d.IsDir():
			header.Name, header.Mode, header.Size, header.Typeflag = header.Name+"/", 0o755, 0, tar.TypeDir
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s is neither a file nor a directory", file)
		case info.Mode()&0o111 != 0:
			header.Mode = 0o755
		}
		if err := t.WriteHeader(header); err != nil || d.IsDir() {
			return err
		}
		in, err := os.Open(file)
		if err != nil {
			return err
		}
		defer in.Close()
		_, err = io.Copy(t, in)
		return err
	})
}
