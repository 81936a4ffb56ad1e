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

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
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

// What a process asked for that died is asked for again by another, hours later and under
// another lease: it takes what is there.
func TestRepeatLater(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	later := New(Options{Config: b.cloud.Config(), Settings: b.stack.Settings, Pause: b.stack.Pause, Current: b.leases.current, Now: func() time.Time { return time.Now().Add(5 * time.Hour) }})
	before := func(key string) pipeline.Platform { return b.Under(pipeline.Fence{Key: key, Token: 1}) }
	after := func(key string) pipeline.Platform { return later.Under(pipeline.Fence{Key: key, Token: 2}) }

	bake := b.bakeRequest("r-base")
	bake.Started = time.Now()
	b.cloud.Fail(cloudtest.Fault{Action: "SendCommand", Code: "AccessDeniedException"}, cloudtest.Fault{Action: "TerminateInstances", Code: "UnauthorizedOperation", Times: 9})
	_, err := before("image").Bake(t.Context(), bake)
	b.wantError(err, pipeline.CodeNotAllowed)
	b.cloud.Mend()
	image, err := after("image").Bake(t.Context(), bake)
	b.must(err)

	single := b.request("e-1", "f-1", image.ID)
	single.Artifact, single.ExpiresAt = b.file("the artifact"), time.Now().Add(10*time.Hour)
	_, err = before("one").Prepare(t.Context(), single)
	b.must(err)
	_, err = after("one").Prepare(t.Context(), single)
	b.must(err)
	if got := b.cloud.Running(); len(got) != 1 {
		t.Errorf("instances %v", got)
	}
	app, err := after("one").Bake(t.Context(), pipeline.BakeRequest{Token: "r-app", Name: "app", Environment: "e-1", Log: b.log})
	b.must(err)
	b.must(later.Destroy(t.Context(), "e-1"))
	_, err = after("one").Prepare(t.Context(), single)
	b.wantError(err, pipeline.CodeFailed, "was terminated")

	group := b.persistent("f-2", app.ID)
	_, err = before("two").Prepare(t.Context(), group)
	b.must(err)
	_, err = after("two").Prepare(t.Context(), group)
	b.must(err)
	if got := b.cloud.Running(); len(got) != 2 {
		t.Errorf("instances %v", got)
	}
	b.must(later.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// Variables that don't fit into user data are refused before anything is launched.
func TestUserDataLimit(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for length, refused := range map[int]bool{10 << 10: false, 16 << 10: true} {
		env := map[string]string{"LONG": strings.Repeat("x", length)}
		if err := b.Check(pipeline.EnvironmentSpec{Env: env}); (err != nil) != refused {
			t.Errorf("variables of %d bytes: %v", length, err)
		} else if refused {
			b.wantError(err, pipeline.CodeInvalid, "environment.env", "EC2 takes 16384", "let the service read long values")
		}
	}
	r := b.request("e-1", "f-1", b.base())
	r.Env["LONG"] = strings.Repeat("x", 16<<10)
	b.cloud.ResetCalls()
	_, err := b.Prepare(t.Context(), r)
	b.wantError(err, pipeline.CodeInvalid, "environment.env")
	if n := len(b.cloud.Calls()); n > 0 {
		t.Errorf("%d requests were made: %v", n, b.cloud.Count())
	}
}
