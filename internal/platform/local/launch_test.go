// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/localtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
)

// Sockets have a limit on their paths, environments have none.
func TestLongPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 40), "with space, [bracket] and 'quote'")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	b := newBedAt(t, dir)
	endpoint := b.Serve(b.Request("f-1"))
	b.WantGet(localtest.VersionAt(endpoint), "f-1")
}

// A secret is on no disk, even when the service prints it.
func TestSecretOnDisk(t *testing.T) {
	t.Parallel()
	const secret = "hush-31415926"
	b := newBed(t)
	r := b.Request("f-1")
	r.Secrets = pipeline.Secrets{"TOKEN": secret + "\nsecond-line-of-it"}
	r.Service.Start = `echo "the token is $TOKEN"; ` + r.Service.Start
	r.Hooks = []pipeline.Hook{{Name: "service.migrate", Line: `echo "$TOKEN" >&2`}}
	endpoint := b.Serve(r)
	b.WantGet(endpoint+"/env/TOKEN", secret+"\nsecond-line-of-it")
	for _, text := range []string{secret, "second-line-of-it"} {
		if found := b.Grep(text); len(found) > 0 {
			t.Errorf("the secret is in %v", found)
		}
	}
	if found := b.Grep("the token is ***"); len(found) != 1 {
		t.Errorf("what the service printed is in %v, want one log", found)
	}
	bad := b.Request("f-2")
	bad.Secrets, bad.Service.Start = r.Secrets, `echo "the token is $TOKEN"; exit 1`
	_, err := b.Prepare(b.Context(), bad)
	b.WantError(err, pipeline.CodeFailed, "", "the token is ***")
	if strings.Contains(err.Error(), secret) {
		t.Errorf("the error has the secret: %v", err)
	}
}

// process that finds out.
func TestCorruptImage(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	tree := t.TempDir()
	b.Must(os.WriteFile(filepath.Join(tree, "f"), []byte("original text"), 0o600))
	image, err := b.Bake(t.Context(), pipeline.BakeRequest{Token: "r-1", Tree: tree})
	b.Must(err)
	stored := b.Grep("original text")
	if len(stored) != 1 {
		t.Fatalf("the file is stored in %v", stored)
	}
	b.Must(os.Chmod(stored[0], 0o600))
	b.Must(os.WriteFile(stored[0], []byte("another text."), 0o600))
	r := b.Request("f-1")
	r.Image = image.ID
	_, err = b.Prepare(t.Context(), r)
	b.WantError(err, pipeline.CodeCorrupt, "Bake the image again")
	if localtest.There(b.Environment("e-1")) {
		t.Error("a failed launch left a directory")
	}
}

// Instances of a service that writes to no file of its image share those files;
// those of another have copies.
func TestReadOnlyRoot(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	tree := t.TempDir()
	b.Must(os.WriteFile(filepath.Join(tree, "f"), []byte("shared"), 0o644))
	image, err := b.Bake(t.Context(), pipeline.BakeRequest{Token: "r-1", Tree: tree})
	b.Must(err)
	file := func(fleet string, instance string) os.FileInfo {
		info, err := os.Stat(filepath.Join(b.Fleets("e-1"), fleet, instance, protocol.InstanceRoot, "f"))
		b.Must(err)
		return info
	}
	for fleet, readOnly := range map[string]bool{"f-1": true, "f-2": false} {
		r := b.Request(fleet)
		r.Image, r.Service.Install, r.Service.ReadOnlyRoot, r.Instances = image.ID, "", readOnly, 2
		b.MustPrepare(r)
		if os.SameFile(file(fleet, "i-0"), file(fleet, "i-1")) != readOnly {
			t.Errorf("read-only %v: the files of two instances are shared or copied against it", readOnly)
		}
	}
}
