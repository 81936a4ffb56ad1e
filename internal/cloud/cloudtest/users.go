// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// An instance has users of its own, in its file etc/passwd. Where the tests run as root, each
// has a user ID of its own, and the kernel keeps it from files that are not its. Where they
// don't, all users are the one of the tests; that a user exists is checked all the same.

// firstUser is the user ID of an instance's first user; this machine has none from there on.
const firstUser = 59100

// userTools are the programs of an instance that know its users; PROGRAM is that of this machine.
var userTools = map[string]string{
	"id": `if [ $# -eq 2 ]; then
  line=$(grep "^$2:" "$passwd") || { echo "id: '$2': no such user" >&2; exit 1; }
  case "$1" in -u) field=3;; -g) field=4;; *) field=1;; esac
  echo "$line" | cut -d: -f$field
  exit
fi
exec PROGRAM "$@"
`,
	"getent": `line=$(grep "^$2:" "$passwd") || exit 2
echo "$line" | sed "s|:/|:$PENSTOCK_SYSROOT/|"
`,
	"useradd": `for name; do :; done
while [ $# -gt 1 ]; do
  case "$1" in
  --home-dir) home=$2; shift;;
  --shell) shift;;
  --system|--user-group|--create-home) ;;
  *) echo "useradd: unrecognized option '$1'" >&2; exit 2;;
  esac
  shift
done
if grep -q "^$name:" "$passwd"; then echo "useradd: user '$name' already exists" >&2; exit 9; fi
if [ "$own" -eq 0 ]; then user=$((FIRST + $(wc -l < "$passwd"))) group=$user; else user=$own group=$(id -g); fi
echo "$name:x:$user:$group::$home:/usr/sbin/nologin" >> "$passwd"
mkdir -p "$PENSTOCK_SYSROOT$home"
chown "$user:$group" "$PENSTOCK_SYSROOT$home"
`,
	"chown": `options=
while case "$1" in -*) :;; *) false;; esac; do options="$options $1"; shift; done
user=${1%%:*} group=
case "$1" in *:) group=:$(id -g "$user") || exit 1;; *:*) group=:${1#*:};; esac
case "$user" in *[!0-9]*) user=$(id -u "$user") || { echo "chown: invalid user: '$1'" >&2; exit 1; };; esac
shift
exec PROGRAM $options "$user$group" "$@"
`,
	"setpriv": `[ "$1 $3 $5" = "--reuid --regid --init-groups" ] || { echo "setpriv: the test cloud has no $*" >&2; exit 1; }
cut -d: -f3 "$passwd" | grep -qx "$2" || { echo "setpriv: uid $2 not found, --init-groups requires a user that can be found on the system" >&2; exit 1; }
user=$2 group=$4
shift 5
[ "$own" -eq 0 ] || exec "$@"
exec PROGRAM --reuid "$user" --regid "$group" --clear-groups "$@"
`,
}

// addUsers gives an instance root, unless its image has users, and the programs for them.
func (i *instance) addUsers() error {
	for _, dir := range []string{"etc", "srv", "tmp", "var/lib", "var/tmp"} {
		if err := os.MkdirAll(filepath.Join(i.root, dir), 0o755); err != nil {
			return err
		}
	}
	passwd := filepath.Join(i.root, "etc/passwd")
	if _, err := os.Stat(passwd); err != nil {
		root := fmt.Sprintf("root:x:%d:%d:root:/root:/bin/sh\n", os.Getuid(), os.Getgid())
		if err := os.WriteFile(passwd, []byte(root), 0o644); err != nil {
			return err
		}
	}
	for name, text := range userTools {
		program, err := exec.LookPath(name)
		if err != nil {
			program = name
		}
		text = "#!/bin/sh\npasswd=\"$PENSTOCK_SYSROOT/etc/passwd\" own=" + strconv.Itoa(os.Getuid()) + "\n" + text
		text = strings.NewReplacer("PROGRAM", program, "FIRST", strconv.Itoa(firstUser)).Replace(text)
		if err := os.WriteFile(filepath.Join(i.root, ".bin", name), []byte(text), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// user is one of an instance's users.
type user struct{ name, id, group, home string }

// user returns the user of a name; false for none.
func (i *instance) user(name string) (user, bool) {
	text, _ := os.ReadFile(filepath.Join(i.root, "etc/passwd"))
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(line, ":"); len(f) > 5 && f[0] == name {
			return user{name, f[2], f[3], filepath.Join(i.root, f[5])}, true
		}
	}
	return user{}, false
}

// become has a process run as a user, with the capabilities that systemd gives it, and the
// variables that systemd sets for one.
func (u user) become(spec process.Spec, capabilities string) process.Spec {
	spec.Env = append(spec.Env, "HOME="+u.home, "USER="+u.name, "LOGNAME="+u.name, "SHELL=/bin/sh")
	if os.Getuid() != 0 || u.id == "0" {
		return spec
	}
	args := []string{"setpriv", "--reuid", u.id, "--regid", u.group, "--clear-groups"}
	if program, err := exec.LookPath("setpriv"); err == nil { // that of this machine
		args[0] = program
	}
	for name := range strings.FieldsSeq(strings.ToLower(capabilities)) {
		name = "+" + strings.TrimPrefix(name, "cap_")
		args = append(args, "--inh-caps", name, "--ambient-caps", name)
	}
	spec.Args = append(args, spec.Args...)
	return spec
}

// copyFiles copies a file system, with the owners and the rights of its files.
func copyFiles(to, from string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	if out, err := exec.Command("cp", "-a", from+"/.", to).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// Dir returns a directory of the test's where all users of instances may read and write.
func (c *Cloud) Dir() string {
	c.t.Helper()
	dir := c.t.TempDir()
	if err := errors.Join(open(dir), os.Chmod(dir, 0o777)); err != nil {
		c.t.Fatal(err)
	}
	return dir
}

// open lets all users into a directory that was made for one, and into those above it: an
// instance's users are others than root, who runs the tests.
func open(dir string) error {
	if os.Getuid() != 0 {
		return nil
	}
	for ; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode()&0o011 == 0o011 {
			continue
		}
		if !strings.HasPrefix(dir, "/tmp/") && !strings.HasPrefix(dir, os.TempDir()) {
			return fmt.Errorf("users of instances can't get into %s: let TMPDIR be a directory that all may read", dir)
		}
		if err := os.Chmod(dir, info.Mode().Perm()|0o011); err != nil {
			return err
		}
	}
	return nil
}
