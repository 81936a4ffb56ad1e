// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// Where things are on an instance. Below $PENSTOCK_SYSROOT, which is not set on a
// real one.
const (
	serviceDir  = "/srv/penstock"     // the service's tree, and the working directory of its commands
	dataDir     = "/var/lib/penstock" // what must outlive a deployment to the instance
	envFile     = "/etc/penstock/service.env"
	prepareFile = "/etc/penstock/prepare"
	startFile   = "/etc/penstock/start"
	holdFile    = "/etc/penstock/hold" // while it is there the service does not start
	unitFile    = "/etc/systemd/system/penstock.service"
	portDir     = unitFile + ".d" // with what the unit needs for the port of this instance
)

// defaultUser is the user that a service runs as, if service.user does not say.
const defaultUser = "penstock-service"

// lastPrivileged is the highest port that only root, and who has a capability for it, may
// listen on.
const lastPrivileged = 1023

// firstBoot returns the script that an instance runs when it starts for the first time: it
// keeps the service's variables, and starts the service of its image, unless it is held
// until something else has been done.
func firstBoot(env map[string]string, port int, hold bool) string {
	var b strings.Builder
	b.WriteString(instance.Preamble)
	b.WriteString("umask 022\nmkdir -p \"$root/etc/penstock\"\n")
	if port <= lastPrivileged {
		fmt.Fprintf(&b, `mkdir -p "$root%[1]s"
printf '[Service]\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n' > "$root%[1]s/port.conf"
systemctl daemon-reload
`, portDir)
	}
	if hold {
		fmt.Fprintf(&b, ": > \"$root%s\"\n", holdFile)
	}
	fmt.Fprintf(&b, "(umask 077; cat > \"$root%[1]s.new\") <<'PENSTOCK-END'\n%[2]sPENSTOCK-END\nmv \"$root%[1]s.new\" \"$root%[1]s\"\n", envFile, envText(env, port))
	if !hold {
		fmt.Fprintf(&b, "if [ -e \"$root%s\" ]; then systemctl start penstock; fi\n", unitFile)
	}
	return b.String()
}

// envText returns the file of a service's variables, which systemd and a shell read alike:
// in double quotes, both take a backslash before the same four characters only. Systemd
// passes over the first line, which has the shell export what it reads.
func envText(env map[string]string, port int) string {
	all := maps.Clone(env)
	if all == nil {
		all = map[string]string{}
	}
	all["PORT"] = strconv.Itoa(port)
	text := "set -a\n"
	for _, name := range stack.Sorted(all) {
		text += name + `="` + envQuoter.Replace(all[name]) + "\"\n"
	}
	return text
}

var envQuoter = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`")

// places are the shell lines that name where things are, and which user the service runs as:
// what its unit says, as the image may be older than the settings. Before there is a unit it
// is root.
const places = `export PENSTOCK_ROOT="$root` + serviceDir + `" PENSTOCK_DATA="$root` + dataDir + `"
PENSTOCK_USER=$(sed -n 's/^User=//p' "$root` + unitFile + `" 2>/dev/null) || :
export PENSTOCK_USER="${PENSTOCK_USER:-root}"
`

// addresses are the shell lines that say where a service is to listen, and who it is among
// several.
const addresses = `export HOST="${HOST-${PENSTOCK_HOST-0.0.0.0}}" PENSTOCK_INSTANCE="${PENSTOCK_INSTANCE-${PENSTOCK_HOST-$(hostname)}}"
`

// variables are the shell lines with which a command begins that the service's settings say,
// and that root runs.
const variables = `if [ -e "$root` + envFile + `" ]; then . "$root` + envFile + `"; set +a; fi
` + addresses + `mkdir -p "$PENSTOCK_ROOT" "$PENSTOCK_DATA"
cd "$PENSTOCK_ROOT"
`

// prepare are the shell lines that root runs before the service does, and before a command
// that runs as its user: the data is that user's. Once it is, it stays so: the directory
// itself is changed last. A file system that is shared over a network may refuse.
const prepare = `mkdir -p "$PENSTOCK_DATA"
if [ "$(stat -c %u "$PENSTOCK_DATA")" != "$(id -u "$PENSTOCK_USER")" ]; then
  chown -R "$PENSTOCK_USER:" "$PENSTOCK_DATA" || echo "penstock: not all files in $PENSTOCK_DATA can be handed over to user $PENSTOCK_USER"
fi
`

// asService returns the script of a command that runs as the service does: as its user, with
// its variables, in its directory. It is no file that the user would have to read, and no
// argument that everybody could. What it prints to are pipes of root's.
func asService(line string) string {
	return instance.Preamble + places + prepare + variables + `HOME=$(getent passwd "$PENSTOCK_USER" | cut -d: -f6)
USER=$PENSTOCK_USER LOGNAME=$PENSTOCK_USER
chown "$PENSTOCK_USER" /dev/fd/1 /dev/fd/2 2>/dev/null || :
exec setpriv --reuid "$(id -u "$PENSTOCK_USER")" --regid "$(id -g "$PENSTOCK_USER")" --init-groups /bin/sh -euc 'eval "$(cat <&3)" 3<&-' 3<<'PENSTOCK-COMMAND'
root="${PENSTOCK_SYSROOT-}"
` + line + "\nPENSTOCK-COMMAND\n"
}

// installScript installs an artifact, as root, and leaves the unit that starts the service on
// every instance of the image. The service's user may write to its tree, unless the service
// promises that it does not.
func installScript(artifact string, s pipeline.Service) string {
	owner := `"$PENSTOCK_USER:"`
	if s.ReadOnlyRoot {
		owner = `"root:$(id -g "$PENSTOCK_USER")"`
	}
	return instance.Preamble + places + fmt.Sprintf(`export PENSTOCK_USER=%s
umask 022
if ! id -u "$PENSTOCK_USER" >/dev/null 2>&1; then
  useradd --system --user-group --create-home --home-dir "/var/lib/$PENSTOCK_USER" --shell /usr/sbin/nologin "$PENSTOCK_USER"
fi
`, cmp.Or(s.User, defaultUser)) + variables + artifact + "(\nset -e\n" + cmp.Or(s.Install, ":") + "\n)\n" + fmt.Sprintf(`rm -rf "$(dirname "$PENSTOCK_ARTIFACT")"
chown -R "$PENSTOCK_USER:" "$PENSTOCK_DATA"
chown -R %s "$PENSTOCK_ROOT"
chmod -R g+rX "$PENSTOCK_ROOT"
mkdir -p "$root/etc/penstock" "$root/etc/systemd/system"
cat > "$root%s" <<'PENSTOCK-END'
%sPENSTOCK-END
cat > "$root%s" <<'PENSTOCK-END'
%s%s
PENSTOCK-END
chmod 0755 "$root/etc/penstock" "$root/srv"
chmod 0644 "$root%[2]s" "$root%[4]s"
`, owner, prepareFile, instance.Login+places+prepare, startFile, instance.Login+places+addresses+"cd \"$PENSTOCK_ROOT\"\n", s.Start) + unit
}

// unit are the shell lines that leave the unit of the service.
var unit = fmt.Sprintf(`cat > "$root%[1]s" <<PENSTOCK-END
[Unit]
Description=the service that Penstock deployed
After=network-online.target
Wants=network-online.target
ConditionPathExists=%[2]s
ConditionPathExists=!%[3]s

[Service]
User=$PENSTOCK_USER
EnvironmentFile=%[2]s
ExecStartPre=+/bin/sh -e \${PENSTOCK_SYSROOT}%[4]s
ExecStart=/bin/sh -e \${PENSTOCK_SYSROOT}%[5]s
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
PENSTOCK-END
systemctl daemon-reload
systemctl enable penstock
`, unitFile, envFile, holdFile, prepareFile, startFile)

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

// unpackData unpacks what packData sent, which is the data of the service's user here,
// whoever it was there.
func unpackData(file instance.File) string {
	return instance.Preamble + places + "mkdir -p \"$PENSTOCK_DATA\" \"$root/var/tmp\"\nexport TMPDIR=\"$root/var/tmp\"\n" + file.Fetch("packed", "data.tar.gz") +
		"tar --no-same-owner -xzf \"$packed\" -C \"$PENSTOCK_DATA\"\nchown -R \"$PENSTOCK_USER:\" \"$PENSTOCK_DATA\"\nrm -rf \"$(dirname \"$packed\")\"\n"
}
