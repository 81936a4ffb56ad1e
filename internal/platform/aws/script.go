// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"fmt"
	"strings"
	"time"
)

// Where things are on an instance. Below $PENSTOCK_SYSROOT, which is not set on a
// real one.
const (
	serviceDir = "/srv/penstock"     // the service's tree, and the working directory of its commands
	dataDir    = "/var/lib/penstock" // what must outlive a deployment to the instance
	envFile    = "/etc/penstock/service.env"
	startFile  = "/etc/penstock/start"
	unitFile   = "/etc/systemd/system/penstock.service"
	commandDir = "/var/lib/penstock-commands" // what commands printed, and how they ended
)

// preamble begins every script of Penstock's on an instance.
const preamble = `#!/bin/sh
set -eu
root="${PENSTOCK_SYSROOT-}"
`

// quote quotes a word for a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// exports gives shell lines that export variables.
func exports(env map[string]string) string {
	var b strings.Builder
	for _, k := range sortedKeys(env) {
		fmt.Fprintf(&b, "export %s=%s\n", k, quote(env[k]))
	}
	return b.String()
}

// userData gives the user data of an instance: it powers off at the deadline, which
// terminates it, and starts the service of its image with its variables.
func userData(deadline time.Duration, env map[string]string, port int, start bool) string {
	var b strings.Builder
	b.WriteString(preamble)
	if deadline > 0 {
		fmt.Fprintf(&b, "shutdown -P +%d >/dev/null 2>&1 || true\n", max(int(deadline/time.Minute), 1))
	}
	if env != nil {
		fmt.Fprintf(&b, "mkdir -p \"$root/etc/penstock\"\ncat > \"$root%s.new\" <<'PENSTOCK-END'\n%sexport PORT=%d\nPENSTOCK-END\n", envFile, exports(env), port)
		fmt.Fprintf(&b, "chmod 0600 \"$root%s.new\" && mv \"$root%[1]s.new\" \"$root%[1]s\"\n", envFile)
		if start {
			fmt.Fprintf(&b, "if [ -e \"$root%s\" ]; then systemctl start penstock; fi\n", unitFile)
		} else { // it is enabled, and would start when the machine has
			fmt.Fprintf(&b, "systemctl stop penstock >/dev/null 2>&1 || true\n")
		}
	}
	return b.String()
}

// variables gives the shell lines that a command of the service begins with.
func variables() string {
	return fmt.Sprintf(`export PENSTOCK_ROOT="$root%s" PENSTOCK_DATA="$root%s" HOST="${PENSTOCK_HOST-0.0.0.0}" PENSTOCK_INSTANCE="${PENSTOCK_HOST-$(hostname)}"
if [ -e "$root%s" ]; then . "$root%[3]s"; fi
mkdir -p "$PENSTOCK_ROOT" "$PENSTOCK_DATA"
cd "$PENSTOCK_ROOT"
`, serviceDir, dataDir, envFile)
}

// fetch gives shell lines that put a file at a URL into the variable's path.
func fetch(variable, url, digest, name string) string {
	return fmt.Sprintf(`%[1]s="$(mktemp -d)/"%[2]s
curl -fsS --retry 5 --retry-connrefused -o "$%[1]s" %[3]s
echo %[4]s"  $%[1]s" | sha256sum -c - >/dev/null
export %[1]s
`, variable, quote(name), quote(url), digest)
}

// onceScript runs a script when the instance has done what it does at its first boot,
// and once only, however often SSM is asked to: a request whose answer was lost is made
// again, and whoever comes second tells what the first one told. Of the two commands,
// the one that is followed may be either. After three days no command can run any more.
func onceScript(token, script, telling string) string {
	return fmt.Sprintf(`exec 2>&1
if [ ! -e "${PENSTOCK_SYSROOT-}/run/cloud-init/result.json" ] && command -v cloud-init >/dev/null; then
  timeout --foreground 300 cloud-init status --wait >/dev/null 2>&1 || true
fi
all="${PENSTOCK_SYSROOT-}%[1]s"
here="$all/%[2]s"
mkdir -p "$all"
find "$all" -mindepth 1 -maxdepth 1 -mmin +4320 -exec rm -rf {} + || true
if mkdir -m 0700 "$here" 2>/dev/null; then
cat > "$here/script" <<'PENSTOCK-%[2]s'
%[3]s
PENSTOCK-%[2]s
: > "$here/output"
telling=
%[4]s{ status=0; /bin/sh "$here/script" || status=$?; echo "$status" > "$here/status.new"; } 2>&1 | tee "$here/output"
if [ -n "$telling" ]; then kill "$telling" 2>/dev/null || true; fi
mv "$here/status.new" "$here/status"
else
while [ -d "$here" ] && [ ! -e "$here/status" ]; do sleep 1; done
cat "$here/output"
fi
exit "$(cat "$here/status")"
`, commandDir, token, script, telling)
}

// installScript installs an artifact and leaves the unit that starts the service on
// every instance of the image.
func installScript(artifact, install, start string) string {
	return preamble + variables() + artifact + "(\nset -e\n" + install + "\n)\n" + fmt.Sprintf(`rm -rf "$(dirname "$PENSTOCK_ARTIFACT")"
mkdir -p "$root/etc/penstock" "$root/etc/systemd/system"
cat > "$root%s" <<'PENSTOCK-END'
root="${PENSTOCK_SYSROOT-}"
[ -e "$root%s" ] || { echo "no environment was given to this instance yet"; exit 1; }
%s%s
PENSTOCK-END
cat > "$root%s" <<'PENSTOCK-END'
[Unit]
Description=the service that Penstock deployed
After=network-online.target
Wants=network-online.target
ConditionPathExists=%[2]s

[Service]
ExecStart=/bin/sh -e ${PENSTOCK_SYSROOT}%[1]s
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
PENSTOCK-END
systemctl daemon-reload
systemctl enable penstock
`, startFile, envFile, variables(), start, unitFile)
}

// listPackages prints the packages of the system, as pipeline.ParsePackages reads them, and
// a line behind them.
const listPackages = `{ dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Package} ${Version}\n' ||
rpm --root "${root:-/}" -qa --qf '%{NAME} %{VERSION}-%{RELEASE}\n' || true; } 2>/dev/null | sort
echo '` + packagesEnd + `'
`

// packagesEnd is the line behind the list. As nothing of a pipeline's prints before it, what
// comes up to the first such line is the list.
const packagesEnd = "(these are the packages)"

// cleanScript lists the packages, and removes what must not be in an image: what is one machine's own, and
// what its commands left behind. What the agent needs to tell how this very command
// ends goes when the machine stops, after the agent has.
func cleanScript(more []string) string {
	var b strings.Builder
	b.WriteString(preamble)
	b.WriteString(listPackages)
	b.WriteString(`systemctl stop penstock >/dev/null 2>&1 || true
rm -rf "$root/etc/penstock/service.env" "$root/var/lib/penstock"
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
`, commandDir)
	return b.String()
}
