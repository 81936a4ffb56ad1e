// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package instance

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"
)

// deadlineFile says when an instance powers off, if that is not what its user data says:
// the instance's ID, as an image may have the file, and the time as a Unix time; 0 for never.
const deadlineFile = "/etc/penstock/deadline"

// powerOff are shell lines by which an instance powers off at the Unix time in $deadline,
// which terminates it; 0 is never. A timer of systemd does it, which is in memory only: no
// image has it, and a restart forgets it. A shutdown that somebody schedules or cancels
// leaves it alone. Nothing is waited for: at boot, systemd starts timers later.
const powerOff = `left=$((deadline - $(date +%s)))
if [ "$deadline" -eq 0 ]; then
  systemctl stop penstock-deadline.timer >/dev/null 2>&1 || true
elif [ "$left" -le 0 ]; then
  systemctl --no-block poweroff
else
  mkdir -p "$root/run/systemd/system"
  cat > "$root/run/systemd/system/penstock-deadline.service" <<'PENSTOCK-END'
[Unit]
Description=the end of this machine's time

[Service]
Type=oneshot
ExecStart=/usr/bin/env systemctl --no-block poweroff
PENSTOCK-END
  cat > "$root/run/systemd/system/penstock-deadline.timer" <<PENSTOCK-END
[Unit]
Description=the end of this machine's time

[Timer]
OnActiveSec=$left
AccuracySec=1s
PENSTOCK-END
  systemctl daemon-reload
  systemctl --no-block restart penstock-deadline.timer
fi
`

// UserData returns user data by which an instance powers off at a time, which terminates it,
// also after restarts; zero is never. A script runs at its first boot; it may be empty. They
// depend on nothing else: a launch that is repeated later asks for the same.
func UserData(deadline time.Time, script string) string {
	hook := "#cloud-boothook\n" + Preamble + fmt.Sprintf(`deadline=%[1]d
if [ -e "$root%[2]s" ]; then
  read -r id at < "$root%[2]s"
  if [ "$id" = "${INSTANCE_ID-}" ]; then deadline=$at; fi
fi
`, unix(deadline), deadlineFile) + powerOff
	parts := [][2]string{{"text/cloud-boothook", hook}}
	if script != "" {
		parts = append(parts, [2]string{"text/x-shellscript", script})
	}
	boundary := fmt.Sprintf("penstock-%x", sha256.Sum256([]byte(hook+script)))[:40]
	text := "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"" + boundary + "\"\n"
	for _, p := range parts {
		text += "\n--" + boundary + "\nContent-Type: " + p[0] + "; charset=\"utf-8\"\n\n" + p[1]
	}
	return text + "\n--" + boundary + "--\n"
}

func unix(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.Unix()
}

// SetDeadline sets when an instance of a stage powers off by itself; zero is never.
func (i *Instances) SetDeadline(ctx context.Context, id, stage string, at time.Time) error {
	script := Preamble + fmt.Sprintf(`deadline=%d
mkdir -p "$root/etc/penstock"
echo "%s $deadline" > "$root%s.new"
mv "$root%[3]s.new" "$root%[3]s"
`, unix(at), id, deadlineFile) + powerOff
	return i.Must(ctx, id, Command{What: "setting the deadline", Stage: stage, Script: script, Timeout: time.Minute})
}

// MaxUserData is how many bytes of user data EC2 takes.
const MaxUserData = 16 << 10
