// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package instance

import (
	"fmt"
	"strings"
	"time"

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
root="${PENSTOCK_SYSROOT-}"
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

// PowerOff returns the shell line by which an instance powers off after a time, which
// terminates it.
func PowerOff(after time.Duration) string {
	return fmt.Sprintf("shutdown -P +%d >/dev/null 2>&1", max(int(after/time.Minute), 1))
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

// onceScript runs a script after the instance's first boot has finished. It runs it
// only once, however often SSM is asked to: a request whose answer was lost is made
// again, and the second command repeats the output of the first. Either of the two
// commands can be followed. After three days no command can run.
func onceScript(token, script, upload string) string {
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
`, CommandDir, token, script, upload)
}
