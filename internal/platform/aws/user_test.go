// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// tells is a start command that says who the service is, and serves.
func (b *bed) tells(start string) string {
	return `{ id -u; echo "$HOME $USER $LOGNAME"; cat "$PENSTOCK_SYSROOT/etc/penstock/service.env" 2>&1 >/dev/null && echo reads; } > "$PENSTOCK_DATA/who" 2>&1 || :
` + start
}

// wantRoot skips what only root's tests can show: that the kernel keeps users apart.
func wantRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("the tests don't run as root: all users of an instance are the same")
	}
}

// The service runs as a user of its own, with its commands and its data. Nothing of root's is
// in its way: what the artifact allowed its owner alone, what was there before, and what was
// copied. It listens on a port below 1024, and gets its variables as they are.
func TestServiceUser(t *testing.T) {
	t.Parallel()
	wantRoot(t)
	b := newBed(t)
	r := b.request("e-1", "f-1", b.base())
	const odd = "it's \"so\" \\ $HOME `x`\nand\tmore #"
	r.Env["ODD"], r.Service.Port = odd, 87
	r.Artifact, r.Service.Start = b.file("the artifact"), b.tells(r.Service.Start)
	r.Service.Install = `umask 077; cp "$PENSTOCK_ARTIFACT" version; chown 4711:4712 version; id -u > installed; echo "$PENSTOCK_USER" >> installed; echo old > "$PENSTOCK_DATA/old"`
	r.Hooks = append(r.Hooks, pipeline.Hook{Name: "service.migrate", Line: `{ id -u; echo "$HOME $USER"; cat old "$PENSTOCK_DATA/old"; } > "$PENSTOCK_DATA/migrated" 2>&1 || :`})
	fleet, err := b.Prepare(t.Context(), r)
	b.must(err)
	list, err := b.fleets.Instances(t.Context(), "e-1")
	b.must(err)
	root := b.cloud.Root(aws.ToString(list[0].InstanceId))
	home := filepath.Join(root, "/var/lib/penstock-service")
	who := strings.SplitN(b.get(fleet.Endpoint+"/data/who"), "\n", 3)
	if who[0] == "0" || who[1] != home+" penstock-service penstock-service" || !strings.Contains(who[2], "ermission denied") {
		t.Errorf("the service says %q", who)
	}
	for path, want := range map[string]string{
		"/env/ODD": odd, "/env/PORT": "87", "/file/version": "the artifact", "/file/installed": "0\npenstock-service\n",
		"/data/migrated": who[0] + "\n" + home + " penstock-service\ncat: old: No such file or directory\nold\n",
	} {
		if got := b.get(fleet.Endpoint + path); got != want {
			t.Errorf("GET %s answers %q, want %q", path, got, want)
		}
	}
	log := &syncBuffer{}
	exit, err := b.Exec(t.Context(), "e-1", "f-1", pipeline.Command{
		Line: `id -u; cat version; echo; echo own > written; echo $ODD > /dev/stderr; cat "$PENSTOCK_SYSROOT/etc/penstock/service.env"`, Env: map[string]string{"ODD": "even"},
	}, log)
	if got := log.String(); err != nil || exit == 0 || !strings.HasPrefix(got, who[0]+"\nthe artifact\neven\n") || !strings.Contains(got, "ermission denied") {
		t.Errorf("a command in the environment ended %d, %v\n%s", exit, err, got)
	}
	log = &syncBuffer{}
	exit, err = b.Exec(t.Context(), "e-1", "f-1", pipeline.Command{Line: b.LogCommand(5, false), System: true}, log)
	if err != nil || exit != 0 || !strings.Contains(log.String(), "listening on") {
		t.Errorf("the log ended %d, %v\n%s", exit, err, log)
	}
	_, err = b.Shift(t.Context(), "e-1", "f-1", pipeline.Traffic{})
	b.must(err)
	// The data goes over to another user, and comes back to the first.
	for n, user := range []string{"root", "shop", ""} {
		next := r
		next.Environment, next.Fleet, next.DataFrom = "e-"+string(rune('2'+n)), "f-"+string(rune('2'+n)), "e-"+string(rune('1'+n))
		next.Service.Install, next.Service.User = `cp "$PENSTOCK_ARTIFACT" version`, user
		next.Hooks = []pipeline.Hook{{Name: "service.migrate", Line: `echo "$USER" >> "$PENSTOCK_DATA/users"`}}
		fleet, err := b.Prepare(t.Context(), next)
		b.must(err)
		_, err = b.Shift(t.Context(), next.Environment, next.Fleet, pipeline.Traffic{})
		b.must(err)
		if got, want := b.get(fleet.Endpoint+"/data/users"), []string{"root\n", "root\nshop\n", "root\nshop\npenstock-service\n"}[n]; got != want {
			t.Errorf("the users were %q, want %q", got, want)
		}
		if id := strings.Fields(b.get(fleet.Endpoint + "/data/who"))[0]; (id == "0") != (user == "root") {
			t.Errorf("as user %q the service has the ID %s", user, id)
		}
	}
	for _, id := range []string{"e-1", "e-2", "e-3", "e-4"} {
		b.must(b.Destroy(t.Context(), id))
	}
	b.wantNothing()
}

// A service that promises to write to nothing of its image may not, and reads all of it.
func TestServiceUserReadOnly(t *testing.T) {
	t.Parallel()
	wantRoot(t)
	b := newBed(t)
	r := b.request("e-1", "f-1", b.base())
	r.Artifact, r.Service.ReadOnlyRoot = b.file("the artifact"), true
	r.Service.Install = `umask 077; mkdir more; cp "$PENSTOCK_ARTIFACT" version; cp version more/version`
	_, err := b.Prepare(t.Context(), r)
	b.must(err)
	log := &syncBuffer{}
	exit, err := b.Exec(t.Context(), "e-1", "f-1", pipeline.Command{Line: `cat version more/version; touch "$PENSTOCK_DATA/mine"; touch mine`}, log)
	if got := log.String(); err != nil || exit == 0 || !strings.HasPrefix(got, "the artifactthe artifact") || strings.Count(got, "ermission denied") != 1 {
		t.Errorf("it ended %d, %v\n%s", exit, err, got)
	}
	b.must(b.Destroy(t.Context(), "e-1"))
}

// formerUnit is what an earlier Penstock left in images: a service of root's, whose start
// command reads its variables itself.
const formerUnit = `mkdir -p "$root/etc/penstock" "$root/etc/systemd/system" "$root/srv/penstock"
cat > "$root/etc/penstock/start" <<'PENSTOCK-END'
root="${PENSTOCK_SYSROOT-}"
export HOME="${HOME:-$root/root}" USER="${USER:-$(id -un)}" LANG="${LANG:-C.UTF-8}"
export LOGNAME="${LOGNAME:-$USER}"
[ -e "$root/etc/penstock/service.env" ] || { echo "no environment was given to this instance yet"; exit 1; }
export PENSTOCK_ROOT="$root/srv/penstock" PENSTOCK_DATA="$root/var/lib/penstock"
export HOST="${PENSTOCK_HOST-0.0.0.0}" PENSTOCK_INSTANCE="${PENSTOCK_HOST-$(hostname)}"
if [ -e "$root/etc/penstock/service.env" ]; then . "$root/etc/penstock/service.env"; fi
mkdir -p "$PENSTOCK_ROOT" "$PENSTOCK_DATA"
cd "$PENSTOCK_ROOT"
START
PENSTOCK-END
cat > "$root/etc/systemd/system/penstock.service" <<'PENSTOCK-END'
[Service]
ExecStart=/bin/sh -e ${PENSTOCK_SYSROOT}/etc/penstock/start
Restart=always
PENSTOCK-END
systemctl daemon-reload
systemctl enable penstock
`

// An image that was baked before services had users, which a rollback launches, serves as
// root, with its commands.
func TestServiceUserOfFormerImage(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.request("e-1", "f-1", "")
	bake := b.bakeRequest("r-former")
	bake.Commands[0].Line = strings.ReplaceAll(formerUnit, "START", b.tells(r.Service.Start))
	image, err := b.Bake(t.Context(), bake)
	b.must(err)
	r.Image, r.Persistent = image.ID, true
	r.Hooks = append(r.Hooks, pipeline.Hook{Name: "service.migrate", Line: `echo "$USER $VERSION" > "$PENSTOCK_DATA/migrated"`})
	fleet, err := b.Prepare(t.Context(), r)
	b.must(err)
	for path, want := range map[string]string{"/data/migrated": "root f-1\n", "/env/VERSION": "f-1", "/env/PORT": "8080"} {
		if got := b.get(fleet.Endpoint + path); got != want {
			t.Errorf("GET %s answers %q, want %q", path, got, want)
		}
	}
	if who := b.get(fleet.Endpoint + "/data/who"); !strings.HasSuffix(who, "\nreads\n") {
		t.Errorf("the service says %q", who)
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// A persistent environment serves as the user that is in its image, also after a restart and
// on a low port, and that port is none of the next environment's of the image.
func TestServiceUserOfGroup(t *testing.T) {
	t.Parallel()
	wantRoot(t)
	b := newBed(t)
	first := b.request("e-0", "f-0", b.base())
	first.Service.Port, first.Artifact, first.Service.Install = 87, b.file("the artifact"), `cp "$PENSTOCK_ARTIFACT" version`
	first.Service.Start = b.tells(first.Service.Start)
	_, err := b.Prepare(t.Context(), first)
	b.must(err)
	image, err := b.Bake(t.Context(), pipeline.BakeRequest{Token: "r-app", Name: "acceptance", Environment: "e-0", Log: b.log})
	b.must(err)
	b.must(b.Destroy(t.Context(), "e-0"))
	r := b.request("e-1", "f-1", image.ID)
	r.Persistent, r.Service.Port = true, 8081
	fleet, err := b.Prepare(t.Context(), r)
	b.must(err)
	if who := b.get(fleet.Endpoint + "/data/who"); strings.HasPrefix(who, "0\n") {
		t.Errorf("the service says %q", who)
	}
	list, err := b.fleets.Instances(t.Context(), "e-1")
	b.must(err)
	root := b.cloud.Root(aws.ToString(list[0].InstanceId))
	if _, err := os.Stat(filepath.Join(root, "etc/systemd/system/penstock.service.d")); !os.IsNotExist(err) {
		t.Errorf("what the port of the acceptance needed is in the image: %v", err)
	}
	b.must(os.Remove(filepath.Join(root, "/var/lib/penstock/who")))
	b.cloud.Reboot(aws.ToString(list[0].InstanceId))
	b.eventually("the service after the restart", func() bool {
		who, err := os.ReadFile(filepath.Join(root, "/var/lib/penstock/who"))
		return err == nil && len(who) > 0 && !strings.HasPrefix(string(who), "0\n")
	})
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}

// Variables that a service would not get are refused before anything is launched.
func TestCheckVariables(t *testing.T) {
	t.Parallel()
	p := &Platform{}
	for text, env := range map[string]map[string]string{
		`the name "my-name"`:       {"my-name": "x"},
		`environment.env.PEM`:      {"PEM": "a\r\nb"},
		`control character "\x1b"`: {"COLOR": "\x1b[1m"},
	} {
		if err := p.Check(pipeline.EnvironmentSpec{Env: env}); pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), text) {
			t.Errorf("%v: %v", env, err)
		}
	}
	if err := p.Check(pipeline.EnvironmentSpec{Env: map[string]string{"_A1": "line\n\tline \"é\""}}); err != nil {
		t.Error(err)
	}
}
