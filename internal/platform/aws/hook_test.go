// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// said keeps the last lines of hooks.
func said(to *[]string) func(context.Context, pipeline.HookFunc) error {
	return func(ctx context.Context, run pipeline.HookFunc) error {
		last, err := run(ctx)
		*to = append(*to, last)
		return err
	}
}

// A new environment gets the data of another by a command of the service instead of by way of
// the bucket, and it is masked before the service sees it.
func TestCopyByHook(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.request("e-1", "f-1", b.base())
	r.Artifact, r.Service.Install = b.file("the artifact"), `cp "$PENSTOCK_ARTIFACT" version`
	var last []string
	r.Hooks = []pipeline.Hook{
		{Name: "service.copy", Line: `echo "of $PENSTOCK_FROM_DATABASE" > "$PENSTOCK_DATA/people"; cat "$PENSTOCK_DATA/people"; echo`, From: "e-0", Once: true, Around: said(&last),
			Env: map[string]string{"PENSTOCK_FROM_DATABASE": "it's production's"}},
		{Name: "service.mask", Line: `cat "$PENSTOCK_DATA/people" >&2; echo nobody > "$PENSTOCK_DATA/people"; echo "masked for $(cat version)"`, Once: true, Around: said(&last)},
		{Name: "service.migrate", Line: `echo "${PENSTOCK_FROM_DATABASE-forgotten}"`, Around: said(&last)},
	}
	fleet, err := b.Prepare(t.Context(), r)
	b.must(err)
	if want := []string{"of it's production's", "masked for the artifact", "forgotten"}; !slices.Equal(last, want) {
		t.Errorf("the commands said %q, want %q", last, want)
	}
	if got := b.get(fleet.Endpoint + "/data/people"); got != "nobody\n" {
		t.Errorf("the service has %q", got)
	}
	b.must(b.Destroy(t.Context(), "e-1"))

	r.Environment, r.Fleet, r.Hooks = "e-2", "f-2", []pipeline.Hook{{Name: "service.mask", Line: "echo no; exit 3"}, {Name: "service.migrate", Line: "echo too far", Around: said(&last)}}
	_, err = b.Prepare(t.Context(), r)
	b.wantError(err, pipeline.CodeFailed, "service.mask", "exit status 3")
	if len(last) != 3 {
		t.Errorf("after a mask that failed it went on: %q", last)
	}
	b.wantNothing()
}

// A deployment backs up before it migrates. In a fleet that was kept, a rollback runs what it
// has to run again, such as a restore, and nothing else. What finishes a deployment runs where
// the build serves.
func TestHooksOfGroup(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image, file := b.app(), filepath.Join(b.cloud.Dir(), "log")
	var last []string
	deploy := func(fleet, version string, hooks ...pipeline.Hook) string {
		t.Helper()
		r := b.persistent(fleet, image)
		r.Env["VERSION"] = version
		for _, h := range hooks {
			h.Line, h.Around = strings.ReplaceAll(h.Line, "LOG", file), said(&last)
			r.Hooks = append(r.Hooks, h)
		}
		f, err := b.Prepare(t.Context(), r)
		b.must(err)
		_, err = b.Shift(t.Context(), "e-1", f.ID, pipeline.Traffic{KeepPrevious: time.Hour, Log: b.log})
		b.must(err)
		return f.ID
	}
	migrate := pipeline.Hook{Name: "service.migrate", Line: `echo "migrate $VERSION" >> LOG`}
	backup := pipeline.Hook{Name: "service.backup", Line: `echo "backup $VERSION" >> LOG; echo "s3://backups/$VERSION"`}
	restore := pipeline.Hook{Name: "service.restore", Line: `echo "restore $PENSTOCK_BACKUP" >> LOG`, Env: map[string]string{"PENSTOCK_BACKUP": "s3://backups/two"}, Again: true}
	deploy("f-1", "one", migrate)
	deploy("f-2", "two", backup, migrate)
	backup.Again = true
	if got := deploy("f-3", "one", backup, restore, migrate); got != "f-1" {
		t.Errorf("the rollback is to fleet %s", got)
	}
	exit, err := b.Exec(t.Context(), "e-1", "f-1", pipeline.Command{Name: "service.finish", Line: `echo "finish $VERSION" >> ` + file, Timeout: time.Minute}, b.log)
	if err != nil || exit != 0 {
		t.Errorf("the finish ended %d, %v", exit, err)
	}
	text, err := os.ReadFile(file)
	b.must(err)
	if want := "migrate one\nbackup two\nmigrate two\nbackup one\nrestore s3://backups/two\nfinish one\n"; string(text) != want {
		t.Errorf("the commands did\n%s\nwant\n%s", text, want)
	}
	if want := []string{"", "s3://backups/two", "", "s3://backups/one", ""}; !slices.Equal(last, want) {
		t.Errorf("the commands said %q, want %q", last, want)
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}
