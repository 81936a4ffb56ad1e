// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// A unit whose user was never made does not run, nor does one whose variables are missing or
// what comes before which fails; where it fails, its log says so. A user that was made can read
// no file of root's, is known by its name, and is in the image.
func TestUsers(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	machines, agent := ec2.NewFromConfig(c.Own()), ssm.NewFromConfig(c.Own())
	id := run(t, machines, cloudtest.BaseImage, "one")
	log := func(id, unit, want string) {
		t.Helper()
		var text []byte
		err := poll.Until(t.Context(), poll.Schedule{First: 10 * time.Millisecond, Limit: time.Minute, What: "the log of " + unit}, func(context.Context) (poll.Probe, error) {
			text, _ = os.ReadFile(filepath.Join(c.Root(id), ".bin", unit+".log"))
			return poll.Probe{Done: strings.Contains(string(text), want), State: string(text)}, nil
		})
		must(t, err)
	}
	got := command(t, agent, id, `cd "$PENSTOCK_SYSROOT"; mkdir -p etc/systemd/system
unit() { printf '[Service]\nExecStart=/bin/sh ${PENSTOCK_SYSROOT}/serve\n%b' "$2" > etc/systemd/system/$1.service; systemctl start $1; }
echo 'echo "served by $USER in $HOME with $TOLD"' > serve
chmod 0644 serve
unit nobody 'User=shop\n'
unit fileless 'EnvironmentFile=/etc/none\n'
unit early 'ExecStartPre=/bin/sh -c false\n'
useradd --system --user-group --create-home --home-dir /var/lib/shop --shell /usr/sbin/nologin shop || exit 7
useradd --system shop 2>/dev/null && exit 8
chown -R nobody: serve 2>/dev/null && exit 9
printf '# none\nset -a\nTOLD="a \\"b\\" \\$c"\nLEFT="\a"\n' > etc/told; chmod 0600 etc/told
unit shop 'User=shop\nEnvironmentFile=/etc/told\n'
mkdir secret; chmod 0700 secret; echo x > secret/x
setpriv --reuid "$(id -u shop)" --regid "$(id -g shop)" --init-groups cat secret/x; echo "read $?"
setpriv --reuid 4711 --regid 4711 --init-groups true || echo "none of the machine"
chown shop: secret
setpriv --reuid "$(id -u shop)" --regid "$(id -g shop)" --init-groups cat secret/x; echo "read $?"
getent passwd shop | cut -d: -f6`)
	home := filepath.Join(c.Root(id), "/var/lib/shop")
	want := "read 1\nnone of the machine\nx\nread 0\n" + home + "\n"
	if os.Getuid() != 0 {
		want = strings.Replace(want, "read 1", "x\nread 0", 1)
	}
	if out := aws.ToString(got.StandardOutputContent); out != want {
		t.Errorf("the command ended %s, %d: %s%s", got.Status, got.ResponseCode, out, aws.ToString(got.StandardErrorContent))
	}
	log(id, "nobody", "status=217/USER")
	log(id, "fileless", "Failed to load environment files")
	log(id, "shop", "served by shop in "+home+" with a \"b\" $c\n")
	if text, err := os.ReadFile(filepath.Join(c.Root(id), ".bin", "early.log")); err != nil || len(text) > 0 {
		t.Errorf("what comes before fails, and the unit says %q, %v", text, err)
	}
	image, err := machines.CreateImage(t.Context(), &ec2.CreateImageInput{InstanceId: aws.String(id), Name: aws.String("image")})
	must(t, err)
	second := run(t, machines, aws.ToString(image.ImageId), "two")
	if got := command(t, agent, second, `cd "$PENSTOCK_SYSROOT"; [ "$(stat -c %u:%a secret)" = "$(id -u shop):700" ] && systemctl start shop`); got.Status != "Success" {
		t.Errorf("on the image's machine: %s%s", aws.ToString(got.StandardOutputContent), aws.ToString(got.StandardErrorContent))
	}
	log(second, "shop", "served by shop in "+filepath.Join(c.Root(second), "/var/lib/shop"))
}
