// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// BenchmarkMaterialize compares making a tree from an image with cp -a of the same
// tree, by default of 1024 MiB in 20000 files. PENSTOCK_BENCH_MIB and
// PENSTOCK_BENCH_FILES set another size.
func BenchmarkMaterialize(b *testing.B) {
	size, files := setting("PENSTOCK_BENCH_MIB", 1024), setting("PENSTOCK_BENCH_FILES", 20000)
	tree := b.TempDir()
	random := rand.NewChaCha8([32]byte{})
	content := make([]byte, size<<20/files)
	for i := range files {
		_, _ = random.Read(content)
		path := filepath.Join(tree, fmt.Sprint(i%100), fmt.Sprint(i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	s := Open(b.TempDir())
	image := ingest(b, s, tree)
	dir := b.TempDir()
	timed := func(f func(dest string) error) time.Duration {
		dest := filepath.Join(dir, "root")
		if err := exec.Command("sync").Run(); err != nil { // nobody pays for what others wrote
			b.Fatal(err)
		}
		began := time.Now()
		if err := f(dest); err != nil {
			b.Fatal(err)
		}
		took := time.Since(began)
		if err := os.RemoveAll(dest); err != nil {
			b.Fatal(err)
		}
		return took
	}
	for b.Loop() {
		copied, own, links := time.Hour, time.Hour, time.Hour
		for range 5 { // in turn, so that all meet the same weather
			copied = min(copied, timed(func(dest string) error { return exec.Command("cp", "-a", tree, dest).Run() }))
			own = min(own, timed(func(dest string) error { return s.Materialize(ctx, image.ID, dest, Options{}) }))
			links = min(links, timed(func(dest string) error { return s.Materialize(ctx, image.ID, dest, Options{ReadOnly: true}) }))
		}
		b.ReportMetric(own.Seconds()/copied.Seconds(), "x-cp")
		b.ReportMetric(links.Seconds()/copied.Seconds(), "x-cp-read-only")
	}
}

func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}
