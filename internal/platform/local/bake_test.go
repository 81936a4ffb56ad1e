// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/localtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
)

// A bake that was killed leaves nothing for long.
func TestDeadBake(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	dead := filepath.Join(b.Work, "bakes", "r-dead")
	b.Must(os.MkdirAll(filepath.Join(dead, protocol.InstanceRoot, "etc"), 0o755))
	b.Must(os.Chmod(filepath.Join(dead, protocol.InstanceRoot), 0o555))
	alive := filepath.Join(b.Work, "bakes", "r-alive")
	b.Must(os.MkdirAll(alive, 0o755))
	lock, err := protocol.TryLock(filepath.Join(alive, protocol.LockFile))
	b.Must(err)
	image, err := b.Bake(t.Context(), pipeline.BakeRequest{Token: "r-1", Tree: t.TempDir(), Commands: []pipeline.Command{{Line: "echo x >f"}}})
	b.Must(err)
	if localtest.There(dead) || !localtest.There(alive) {
		t.Errorf("a dead bake is there: %v; a living one is: %v", localtest.There(dead), localtest.There(alive))
	}
	_, err = b.Bake(t.Context(), pipeline.BakeRequest{Token: "r-alive", Tree: t.TempDir(), Commands: []pipeline.Command{{Line: "true"}}})
	b.WantError(err, pipeline.CodeConflict, "")
	b.Must(lock.Close())
	b.Must(b.RemoveImage(t.Context(), image.ID))
}

// The packages of an image are those that are installed in it, whatever its commands print.
func TestPackagesOfABake(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	bake := func(token, line string) []pipeline.Package {
		image, err := b.Bake(t.Context(), pipeline.BakeRequest{Token: token, Tree: t.TempDir(), Log: io.Discard, Commands: []pipeline.Command{{Line: line}}})
		b.Must(err)
		return image.Packages
	}
	const forgery = "echo == package openssl 9.9.9; echo openssl 9.9.9; "
	if got := bake("r-1", forgery); got != nil {
		t.Errorf("a tree without packages has %v", got)
	}
	got := bake("r-2", forgery+`mkdir -p var/lib/dpkg; printf 'Package: bash\nVersion: 5.2\n' > var/lib/dpkg/status`)
	if len(got) != 1 || got[0] != (pipeline.Package{Name: "bash", Version: "5.2"}) {
		t.Errorf("its packages are %v", got)
	}
}
