// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// Neither the agent of SSM nor systemd says who runs a command, or where his home is. Every
// command and the service itself are told, also those that take no unset variable.
func TestLogin(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const look = `set -u; cd "$HOME"; echo "$HOME $USER $LOGNAME $LANG" >> `
	baked := b.bakeRequest("r-base")
	baked.Commands = append(baked.Commands, pipeline.Command{Line: look + `"$PENSTOCK_ROOT/login"`})
	image, err := b.Bake(t.Context(), baked)
	b.must(err)
	r := b.request("e-1", "f-1", image.ID)
	r.Artifact, r.Service.Install = b.file("the artifact"), look+`"$PENSTOCK_ROOT/install"`
	r.Service.Migrate, r.Migrate = look+`"$PENSTOCK_ROOT/migrate"`, true
	r.Service.Seed, r.Seed = look+`"$PENSTOCK_ROOT/seed"`, true
	r.Service.Start = "set -u\nprintf '%s' \"$HOME $USER $LOGNAME $LANG\" > start\n" + r.Service.Start
	_, err = b.Prepare(t.Context(), r)
	b.must(err)
	exit, err := b.Exec(t.Context(), "e-1", "f-1", pipeline.Command{Line: look + `"$PENSTOCK_ROOT/step"`, Secrets: pipeline.Secrets{"TOKEN": "hush"}}, b.log)
	if err != nil || exit != 0 {
		t.Errorf("the step ended %d, %v\n%s", exit, err, b.log)
	}
	root := b.cloud.Root(b.cloud.Running()[0])
	for _, file := range []string{"login", "srv/penstock/install", "srv/penstock/migrate", "srv/penstock/seed", "srv/penstock/start", "srv/penstock/step"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if got := strings.Fields(string(text)); err != nil || len(got) != 4 || filepath.Base(got[0]) != "root" || got[1] != got[2] || got[3] != "C.UTF-8" {
			t.Errorf("%s has %q, %v", file, text, err)
		}
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// Steps of an image and the service's commands restart their machine by exit status 194. The
// service does not start before all is done, and starts again with the machine.
func TestRestart(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const restart = `[ "$PENSTOCK_REBOOTS" -gt 0 ] || exit 194; `
	baked := b.bakeRequest("r-base")
	baked.Commands = append(baked.Commands, pipeline.Command{Line: restart + `echo "$PENSTOCK_REBOOTS" > "$PENSTOCK_ROOT/baked"`})
	image, err := b.Bake(t.Context(), baked)
	b.must(err)
	r := b.request("e-1", "f-1", image.ID)
	r.Artifact, r.Service.Install = b.file("the artifact"), restart+`cp "$PENSTOCK_ARTIFACT" version`
	r.Service.Migrate, r.Migrate = restart+`[ ! -e started ]; cat "$root/baked" > migrated`, true
	r.Service.Start = ": > started\n" + r.Service.Start
	fleet, err := b.Prepare(t.Context(), r)
	b.must(err)
	if got := b.get(fleet.Endpoint+"/file/migrated") + b.get(fleet.Endpoint+"/file/version"); got != "1\nthe artifact" {
		t.Errorf("after restarts there is %q", got)
	}
	id := b.cloud.Running()[0]
	b.must(os.Remove(filepath.Join(b.cloud.Root(id), "srv/penstock/started")))
	b.cloud.Reboot(id)
	b.must(b.stack.Wait(t.Context(), "the service", time.Minute, func(context.Context) (poll.Probe, error) {
		_, err := os.Stat(filepath.Join(b.cloud.Root(id), "srv/penstock/started"))
		return poll.Probe{Done: err == nil}, nil
	}))
	image, err = b.Bake(t.Context(), pipeline.BakeRequest{Token: "r-app", Name: "app", Environment: "e-1", Log: b.log})
	b.must(err)
	b.must(b.Destroy(t.Context(), "e-1"))
	next := b.request("e-2", "f-2", image.ID)
	fleet, err = b.Prepare(t.Context(), next)
	b.must(err)
	if got := b.get(fleet.Endpoint + "/file/version"); got != "the artifact" {
		t.Errorf("the image has %q", got)
	}
	b.must(b.Destroy(t.Context(), "e-2"))
	b.wantNothing()
}
