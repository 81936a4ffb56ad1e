// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/collect"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// made makes a pipeline whose history is kept for a time.
func made(t *testing.T, a *app.App, history time.Duration) {
	t.Helper()
	if _, err := a.Engine.Pipelines.Create(t.Context(), pipeline.Pipeline{Name: "shop", Owner: a.Owner, RetainHistory: history}); err != nil {
		t.Fatal(err)
	}
}

// A data directory keeps its identity where it is moved to. A copy is refused while the
// original is there, and a new one in its place is another one.
func TestIdentity(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	var identity, place string
	closeAfter(t, at("one"), func(a *app.App) {
		made(t, a, 0)
		identity, place = a.Identity, a.Place
	})
	if identity == "" || !strings.Contains(place, "data directory "+at("one")+" on ") {
		t.Errorf("it is %q at %q", identity, place)
	}
	closeAfter(t, at("one"), func(a *app.App) {
		if a.Identity != identity || a.Place != place {
			t.Errorf("opened again it is %q at %q", a.Identity, a.Place)
		}
	})
	if err := os.Symlink(at("one"), at("link")); err != nil {
		t.Fatal(err)
	}
	closeAfter(t, at("link"), func(a *app.App) {
		if a.Identity != identity || a.Place != place {
			t.Errorf("by a link it is %q at %q", a.Identity, a.Place)
		}
	})

	if out, err := exec.Command("cp", "-a", at("one"), at("copy")).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v\n%s", err, out)
	}
	_, err := app.Open(t.Context(), app.Options{DataDir: at("copy")})
	if pipeline.CodeOf(err) != pipeline.CodeConflict || !strings.Contains(err.Error(), "is a copy of "+at("one")) {
		t.Errorf("a copy: %v", err)
	}
	if err := os.RemoveAll(at("copy")); err != nil {
		t.Fatal(err)
	}

	if err := os.Rename(at("one"), at("two")); err != nil {
		t.Fatal(err)
	}
	closeAfter(t, at("two"), func(a *app.App) {
		if a.Identity != identity || !strings.Contains(a.Place, at("two")) {
			t.Errorf("after the move it is %q at %q", a.Identity, a.Place)
		}
	})
	closeAfter(t, at("one"), func(a *app.App) {
		if a.Identity == identity {
			t.Error("a new directory has the identity of the one that was moved away")
		}
	})
}

// A data directory stays for the histories that are kept in it, and goes with the last one.
func TestArchivesStay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for _, history := range []time.Duration{time.Hour, 0} {
		closeAfter(t, dir, func(a *app.App) {
			made(t, a, history)
			if err := a.Engine.Pipelines.Remove(t.Context(), "shop", "", false); err != nil {
				t.Fatal(err)
			}
		})
	}
	left := files(t, dir)
	kept := slices.DeleteFunc(slices.Clone(left), func(name string) bool { return !strings.HasPrefix(name, "/archive/") })
	if len(kept) != 1 || !strings.HasSuffix(kept[0], "_shop.jsonl") || slices.Contains(left, "/ledger.db") {
		t.Fatalf("left are %v", left)
	}
	if !app.HasPipelines(dir) {
		t.Error("no command finds the archive")
	}
	closeAfter(t, dir, func(a *app.App) {
		all, err := a.Archives(t.Context())
		if err != nil || len(all) != 1 || all[0].Until.Sub(all[0].Removed) != time.Hour {
			t.Fatalf("archives: %+v, %v", all, err)
		}
		r, err := a.OpenArchive(t.Context(), all[0])
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if n, err := app.VerifyExport(r); err != nil || n < 2 {
			t.Errorf("the archive has %d events: %v", n, err)
		}
		old := filepath.Join(dir, "archive", "20200101T000000Z_20200201T000000Z_"+all[0].ID+"_shop.jsonl")
		if err := os.Rename(filepath.Join(dir, kept[0]), old); err != nil { // its time is over
			t.Fatal(err)
		}
	})
	closeAfter(t, dir, func(a *app.App) {
		if g, err := a.Engine.Collector.Collect(t.Context(), collect.Request{}); err != nil || len(g.Archives) != 1 {
			t.Errorf("garbage: %+v, %v", g, err)
		}
	})
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory is left: %v, %v", err, files(t, dir))
	}
}

// The configuration of a workspace is another one.
func TestOwnerNamesWorkspace(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("TF_DATA_DIR", filepath.Join(dir, "elsewhere"))
	if err := os.Mkdir("elsewhere", 0o755); err != nil {
		t.Fatal(err)
	}
	owner := func() (owner string) {
		closeAfter(t, filepath.Join(dir, "data"), func(a *app.App) { owner = a.Owner })
		return owner
	}
	plain := owner()
	if err := os.WriteFile("elsewhere/environment", []byte("two"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := owner(); got != plain+", workspace two" {
		t.Errorf("in workspace two it is %q", got)
	}
	t.Setenv("TF_WORKSPACE", "three")
	if got := owner(); got != plain+", workspace three" {
		t.Errorf("with TF_WORKSPACE it is %q", got)
	}
	t.Setenv("TF_WORKSPACE", "default")
	if got := owner(); got != plain {
		t.Errorf("in the default workspace it is %q", got)
	}
}
