// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package image

import (
	"fmt"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
)

// listPackages prints the packages of the system, as pipeline.ParsePackages reads them, and
// a line behind them.
const listPackages = `{ dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Package} ${Version}\n' ||
rpm --root "${root:-/}" -qa --qf '%{NAME} %{VERSION}-%{RELEASE}\n' || true; } 2>/dev/null | sort
echo '` + packagesEnd + `'
`

// packagesEnd is the line behind the list. As nothing of a pipeline's prints before it, what
// comes up to the first such line is the list.
const packagesEnd = "(these are the packages)"

// cleanScript lists the packages, and removes what must not be in an image: files of this one machine, and
// what its commands left behind. The files that the agent needs to report the end of this very command are
// removed when the machine stops, after the agent has stopped.
func cleanScript(more []string) string {
	var b strings.Builder
	b.WriteString(instance.Preamble)
	b.WriteString(listPackages)
	b.WriteString(`systemctl stop penstock >/dev/null 2>&1 || true
rm -rf "$root/etc/penstock/service.env" "$root/etc/penstock/deadline" "$root/etc/penstock/hold" "$root/var/lib/penstock" "$root/etc/systemd/system/penstock.service.d"
rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub
if [ -e "$root/etc/machine-id" ]; then : > "$root/etc/machine-id"; fi
rm -f "$root/var/lib/dbus/machine-id"
cloud-init clean --logs >/dev/null 2>&1 || true
rm -f "$root"/root/.bash_history "$root"/home/*/.bash_history "$root"/root/.ssh/authorized_keys "$root"/home/*/.ssh/authorized_keys
find "$root/var/log" -type f -exec truncate -s 0 {} + 2>/dev/null || true
rm -rf "$root"/tmp/* "$root"/var/tmp/* 2>/dev/null || true
`)
	if len(more) > 0 {
		b.WriteString("export PENSTOCK_ROOT=\"$root/\"\ncd \"$root/\"\n" + strings.Join(more, "\n") + "\n")
	}
	fmt.Fprintf(&b, `mkdir -p "$root/run/systemd/system"
cat > "$root/run/penstock-clean" <<'PENSTOCK-END'
root="${PENSTOCK_SYSROOT-}"
rm -rf "$root"/var/lib/amazon/ssm/Vault "$root"/var/lib/amazon/ssm/i-* "$root"/var/log/amazon/ssm/* "$root%s"
PENSTOCK-END
cat > "$root/run/systemd/system/penstock-clean.service" <<'PENSTOCK-END'
[Unit]
Description=removal of what this machine's agent keeps
Before=amazon-ssm-agent.service snap.amazon-ssm-agent.amazon-ssm-agent.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStop=/bin/sh ${PENSTOCK_SYSROOT}/run/penstock-clean
PENSTOCK-END
systemctl daemon-reload
systemctl start penstock-clean
sync
`, instance.CommandDir)
	return b.String()
}
