// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package instance

import (
	"fmt"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

// CommandDir is where commands leave on an instance what they printed, and how they ended.
// It is below $PENSTOCK_SYSROOT, which is not set on a real one.
const CommandDir = "/var/lib/penstock-commands"

// Preamble begins every script of Penstock's on an instance.
const Preamble = `#!/bin/sh
set -eu
` + Login

// Login are the shell lines that set what programs expect of whoever runs them. Neither the
// agent of SSM nor cloud-init has these variables, nor systemd for a service of root's.
const Login = `root="${PENSTOCK_SYSROOT-}"
export HOME="${HOME:-$root/root}" USER="${USER:-$(id -un)}" LANG="${LANG:-C.UTF-8}"
export LOGNAME="${LOGNAME:-$USER}"
`

// Quote quotes a word for a shell.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Exports returns shell lines that export variables.
func Exports(env map[string]string) string {
	var b strings.Builder
	for _, k := range stack.Sorted(env) {
		fmt.Fprintf(&b, "export %s=%s\n", k, Quote(env[k]))
	}
	return b.String()
}

// fetch returns shell lines that put a file at a URL into the variable's path.
func fetch(variable, url, digest, name string) string {
	return fmt.Sprintf(`%[1]s="$(mktemp -d)/"%[2]s
curl -fsS --retry 5 --retry-connrefused -o "$%[1]s" %[3]s
echo %[4]s"  $%[1]s" | sha256sum -c - >/dev/null
export %[1]s
`, variable, Quote(name), Quote(url), digest)
}

// maskedScript runs a script and masks what it prints. It is in a directory of its own, which
// nobody else can read and who calls it removes.
func maskedScript(token, script string, hide *pipeline.Redactor) string {
	return fmt.Sprintf(`here=$(dirname "$0")
cat > "$here/own" <<'PENSTOCK-%[1]s'
%[2]s
PENSTOCK-%[1]s
%[3]s{ status=0; /bin/sh "$here/own" || status=$?; echo "$status" > "$here/status"; } 2>&1 | masked
exit "$(cat "$here/status")"
`, token, script, runlog.MaskShell(hide.Pieces(), `"$here/mask"`))
}

// Needs are the programs that an image must have, beside a shell and the agent of SSM. The
// guide to AWS says what for.
var Needs = []string{"cloud-init", "curl", "find", "getent", "hostname", "sed", "setpriv", "sha256sum", "systemctl", "tar", "timeout", "useradd"}

// lacks begins what a command prints, and ends with lackStatus, on an image without all that
// Penstock needs.
const (
	lacks      = "penstock: this image lacks:"
	lackStatus = 127
)

// needsScript returns the lines with which every command begins: they end it where the image
// lacks a program.
func needsScript() string {
	return fmt.Sprintf(`exec 2>&1
lack=
for program in %s; do command -v "$program" >/dev/null || lack="$lack $program"; done
if [ -n "$lack" ]; then echo "%s$lack"; exit %d; fi
`, strings.Join(Needs, " "), lacks, lackStatus)
}

// RebootStatus is the exit status by which a command asks the agent of SSM to restart the
// machine, and to run the command again then.
const RebootStatus = 194

// maxReboots is how often one command may restart its machine.
const maxReboots = 10

// onceScript runs a script after the instance's boot has finished. It runs it only once,
// however often SSM is asked to: a request whose answer was lost is made again, and the
// second command repeats the output of the first. Either of the two commands can be
// followed. After three days no command can run.
//
// A script that ends with RebootStatus is run again after the restart, from its beginning,
// and finds the number of its restarts in PENSTOCK_REBOOTS. One that a restart met which it
// did not ask for is not: nobody knows how far it got.
func onceScript(token, script, upload string) string {
	return needsScript() + fmt.Sprintf(`if [ ! -e "${PENSTOCK_SYSROOT-}/run/cloud-init/result.json" ] && command -v cloud-init >/dev/null; then
  timeout --foreground 300 cloud-init status --wait >/dev/null 2>&1 || true
fi
all="${PENSTOCK_SYSROOT-}%[1]s"
here="$all/%[2]s"
boot=$(cat "${PENSTOCK_SYSROOT-}/proc/sys/kernel/random/boot_id")
mkdir -p "$all"
find "$all" -mindepth 1 -maxdepth 1 -mmin +4320 -exec rm -rf {} + || true
end() { cat "$here/output"; exit "$1"; }
mine=
if mkdir -m 0700 "$here" 2>/dev/null; then
mine=first
cat > "$here/script" <<'PENSTOCK-%[2]s'
%[3]s
PENSTOCK-%[2]s
: > "$here/output"
echo 0 > "$here/reboots"
fi
# The file "asked" has the boot in which the script asked for a restart, "running" that in
# which it runs. Who makes the directory of a boot runs it there.
while [ -z "$mine" ] && [ -d "$here" ]; do
  if [ -e "$here/status" ]; then end "$(cat "$here/status")"; fi
  asked=$(cat "$here/asked" 2>/dev/null) || asked=
  if [ "$asked" = "$boot" ]; then exit %[4]d; fi
  running=$(cat "$here/running" 2>/dev/null) || running=$boot
  if [ -n "$asked" ]; then
    if mkdir "$here/$boot" 2>/dev/null; then mine=again; cat "$here/output"; fi
  elif [ "$running" != "$boot" ]; then
    echo "The machine restarted while this ran. A command that restarts it ends with exit status %[4]d." >> "$here/output"
    echo 1 > "$here/status"
  else
    sleep 1
  fi
done
if [ -n "$mine" ]; then
echo "$boot" > "$here/running.new"; mv "$here/running.new" "$here/running"
rm -f "$here/asked"
PENSTOCK_REBOOTS=$(cat "$here/reboots"); export PENSTOCK_REBOOTS
telling=
%[5]s{ status=0; /bin/sh "$here/script" || status=$?; echo "$status" > "$here/status.new"; } 2>&1 | tee -a "$here/output"
if [ -n "$telling" ]; then kill "$telling" 2>/dev/null || true; fi
if [ "$(cat "$here/status.new")" = %[4]d ] && [ "$PENSTOCK_REBOOTS" -lt %[6]d ]; then
  echo $((PENSTOCK_REBOOTS + 1)) > "$here/reboots"
  echo "$boot" > "$here/asked.new"; mv "$here/asked.new" "$here/asked"
  exit %[4]d
fi
if [ "$(cat "$here/status.new")" = %[4]d ]; then
  echo 'This restarted the machine %[6]d times, and asks again. $PENSTOCK_REBOOTS is the number of restarts: end with 0 after the last.' | tee -a "$here/output"
  echo 1 > "$here/status.new"
fi
mv "$here/status.new" "$here/status"
fi
exit "$(cat "$here/status")"
`, CommandDir, token, script, RebootStatus, upload, maxReboots)
}
