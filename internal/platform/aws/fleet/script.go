// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
)

// Where things are on an instance. Below $PENSTOCK_SYSROOT, which is not set on a
// real one.
const (
	serviceDir = "/srv/penstock"     // the service's tree, and the working directory of its commands
	dataDir    = "/var/lib/penstock" // what must outlive a deployment to the instance
	envFile    = "/etc/penstock/service.env"
	startFile  = "/etc/penstock/start"
	holdFile   = "/etc/penstock/hold" // while it is there the service does not start
	unitFile   = "/etc/systemd/system/penstock.service"
)

// firstBoot returns the script that an instance runs when it starts for the first time: it
// keeps the service's variables, and starts the service of its image, unless it is held
// until something else has been done.
func firstBoot(env map[string]string, port int, hold bool) string {
	var b strings.Builder
	b.WriteString(instance.Preamble)
	fmt.Fprintf(&b, "mkdir -p \"$root/etc/penstock\"\ncat > \"$root%s.new\" <<'PENSTOCK-END'\n%sexport PORT=%d\nPENSTOCK-END\n",
		envFile, instance.Exports(env), port)
	if hold {
		fmt.Fprintf(&b, ": > \"$root%s\"\n", holdFile)
	}
	fmt.Fprintf(&b, "chmod 0600 \"$root%s.new\" && mv \"$root%[1]s.new\" \"$root%[1]s\"\n", envFile)
	if !hold {
		fmt.Fprintf(&b, "if [ -e \"$root%s\" ]; then systemctl start penstock; fi\n", unitFile)
	}
	return b.String()
}

// variables returns the shell lines that a command of the service begins with.
func variables() string {
	return fmt.Sprintf(`export PENSTOCK_ROOT="$root%s" PENSTOCK_DATA="$root%s"
export HOST="${PENSTOCK_HOST-0.0.0.0}" PENSTOCK_INSTANCE="${PENSTOCK_HOST-$(hostname)}"
if [ -e "$root%s" ]; then . "$root%[3]s"; fi
mkdir -p "$PENSTOCK_ROOT" "$PENSTOCK_DATA"
cd "$PENSTOCK_ROOT"
`, serviceDir, dataDir, envFile)
}

// installScript installs an artifact and leaves the unit that starts the service on
// every instance of the image.
func installScript(artifact, install, start string) string {
	return instance.Preamble + variables() + artifact + "(\nset -e\n" + install + "\n)\n" + fmt.Sprintf(`rm -rf "$(dirname "$PENSTOCK_ARTIFACT")"
mkdir -p "$root/etc/penstock" "$root/etc/systemd/system"
cat > "$root%s" <<'PENSTOCK-END'
%s[ -e "$root%s" ] || { echo "no environment was given to this instance yet"; exit 1; }
%s%s
PENSTOCK-END
cat > "$root%s" <<'PENSTOCK-END'
[Unit]
Description=the service that Penstock deployed
After=network-online.target
Wants=network-online.target
ConditionPathExists=%[3]s
ConditionPathExists=!%[7]s

[Service]
ExecStart=/bin/sh -e ${PENSTOCK_SYSROOT}%[1]s
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
PENSTOCK-END
systemctl daemon-reload
systemctl enable penstock
`, startFile, instance.Login, envFile, variables(), start, unitFile, holdFile)
}

// startScript starts the service of an instance on which it was held.
func startScript() string {
	return instance.Preamble + fmt.Sprintf("rm -f \"$root%s\"\nsystemctl start penstock\n", holdFile)
}

// maxPut is how many bytes S3 takes in one request.
const maxPut = 5 << 30

// dataSum is what packData prints last.
var dataSum = regexp.MustCompile(`(?m)^SHA-256 of the data: ([0-9a-f]{64})$`)

// packData packs the data directory, sends it with curl's arguments, and prints its digest. A
// file that changes while it is read, which tar says with 1, is as a crash would have left
// it. /tmp may be in memory.
func packData(send string) string {
	return instance.Preamble + fmt.Sprintf(`mkdir -p "$root%[1]s" "$root/var/tmp"
f=$(mktemp -p "$root/var/tmp")
trap 'rm -f "$f"' EXIT
tar -czf "$f" -C "$root%[1]s" . || [ $? -eq 1 ]
if [ "$(wc -c < "$f")" -gt %[3]d ]; then
  echo "The data is more than 5 GB when it is packed, which is too much to copy in this way."
  exit 1
fi
sum=$(sha256sum "$f" | cut -d' ' -f1)
curl -fsS --retry 5 -T "$f" %[2]s
echo "SHA-256 of the data: $sum"
`, dataDir, send, maxPut)
}

// unpackData unpacks what packData sent.
func unpackData(file instance.File) string {
	return instance.Preamble + "mkdir -p \"$root" + dataDir + "\" \"$root/var/tmp\"\nexport TMPDIR=\"$root/var/tmp\"\n" + file.Fetch("packed", "data.tar.gz") +
		"tar -xzf \"$packed\" -C \"$root" + dataDir + "\"\nrm -rf \"$(dirname \"$packed\")\"\n"
}
