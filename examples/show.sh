# Copyright (c) Penstock contributors
# SPDX-License-Identifier: MPL-2.0
# shellcheck shell=bash
#
# What the shows of examples have in common. A show sources it with the provider's binary and
# a terraform, and gets $show: a directory that has a git repository of the example's service
# in shop/, the example's configuration in deploy/, and the provider where Terraform looks
# for it. The directory of the example is $here.
#
# KEEP=1 leaves everything running at the end, with a file to source that makes the same
# commands work, and says how to end it.

binary=$1 terraform_bin=$2
example=$(basename "$here")
show=$(mktemp -d "${TMPDIR:-/tmp}/penstock-$example.XXXXXX")
began=$SECONDS
log=$show/board
# The output of the commands is the show; colours only where somebody looks.
if [ -t 1 ]; then bold=$'\033[1m' dim=$'\033[2m' plain=$'\033[0m'; else bold='' dim='' plain=''; fi

say() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
note() { printf '%s# %s%s\n' "$dim" "$*" "$plain"; }
done_() { printf '%-62s %3ds\n' "$1" $((SECONDS - began)) >>"$log"; }
fail() {
  printf '\n%s: %s\n' "$example" "$*" >&2
  exit 1
}

# run echoes a command as one would type it, and runs it. The echo also shows where
# the output of the command goes through a filter.
exec 3>&1
run() {
  local word line=
  for word in "$@"; do
    case $word in
      *[!A-Za-z0-9_./:=@%+,-]*) word="'$word'" ;;
    esac
    line="$line $word"
  done
  printf '%s$%s%s\n' "$bold" "${line//$show/…}" "$plain" >&3
  "$@"
}

terraform() { "$terraform_bin" "$@"; }
penstock() { "$show/bin/penstock" "$@"; }
apply() { run terraform apply -auto-approve -no-color -compact-warnings | digest; }

# apply_fails applies what has to fail, and shows what it says.
apply_fails() { # apply_fails WHAT-IT-IS-IF-NOT
  if run terraform apply -auto-approve -no-color -compact-warnings >"$show/failed" 2>&1; then
    cat "$show/failed"
    fail "$1"
  fi
  digest <"$show/failed"
}

# digest keeps of Terraform's output what happens, and leaves out the attributes.
digest() {
  awk '
    /^Error:/ { wrong = 1 }
    wrong || /^(Plan:|No changes|Apply complete|Destroy complete)/ { print; fflush(); next }
    /: (Creation|Modifications|Destruction) complete/ { sub(/ \[id=.*/, ""); print; fflush(); next }
    /^Outputs:/ { outputs = 1 }
    outputs { print; fflush() }
  '
}

clean_up() {
  status=$?
  if [ "$status" -ne 0 ] && [ -d "$show/deploy" ]; then
    (cd "$show/deploy" && terraform destroy -auto-approve -no-color >/dev/null 2>&1) || true
  fi
  [ "${KEEP:-}" = 1 ] && [ "$status" -eq 0 ] || rm -rf "$show"
}
trap clean_up EXIT

commit() { # commit OVERLAY MESSAGE
  cp -R "$here/commits/$1/." "$show/shop/"
  git -C "$show/shop" add -A
  run git -C "$show/shop" commit -q -m "$2"
}

# newest prints the newest build.
newest() { penstock builds shop --limit 1 --json | sed -n 's/.*"id": "\(b-[0-9a-f]*\)".*/\1/p' | head -n 1; }

# set_variable gives a variable of the configuration a value that later plans see, too.
set_variable() { # set_variable NAME VALUE
  printf '%s$ echo '\''%s = %s'\'' > %s.auto.tfvars%s\n' "$bold" "$1" "$2" "$1" "$plain"
  echo "$1 = $2" >"$1.auto.tfvars"
}

# promote sets the attribute that production's build comes from, and applies.
promote() {
  set_variable production_build "\"$1\""
  apply
}

# kept ends a show that leaves everything running.
# Other directories of the show may be given.
kept() {
  say "Still running"
  note "production answers at $(terraform output -raw production)"
  ln -s "$(command -v "$terraform_bin")" "$show/bin/$(basename "$terraform_bin")"
  cat >"$show/env" <<ENV
# Source this: the commands of the show work here then.
export PATH=$show/bin:\$PATH TF_CLI_CONFIG_FILE=$show/terraform.rc CHECKPOINT_DISABLE=1
cd $show/deploy
ENV
  note "To look around: source $show/env"
  note "                then $(basename "$terraform_bin") plan, penstock status, penstock serve, and commits in $show/shop"
  note "To end it:      source $show/env && $(basename "$terraform_bin") destroy && cd / && rm -rf $show${*:+ $*} && unset TF_CLI_CONFIG_FILE"
  exit 0
}

# destroy ends all, and looks for what is left.
destroy() {
  say "Destroy: nothing is left behind but the record"
  local endpoint left
  endpoint=$(terraform output -raw production)
  run terraform destroy -auto-approve -no-color | digest
  if curl -fs -o /dev/null --max-time 2 "$endpoint"; then fail "production still answers at $endpoint"; fi
  left=$(find .penstock -type f ! -path '.penstock/archive/*' ! -name .gitignore ! -name PENSTOCK.TAG ! -name lock ! -name .lock)
  if [ -n "$left" ]; then fail "$left was left behind"; fi
  run penstock ledger archive
  if command -v pgrep >/dev/null && pgrep -f "$show/" >/dev/null; then fail "processes were left behind: $(pgrep -fl "$show/")"; fi
  done_ "destroyed: no process, no port, no file but the archived record"
}

# A git repository of the service, a directory for Terraform, and the provider
# where Terraform looks for it.
mkdir -p "$show/bin" "$show/deploy"
cp -R "$here/shop" "$show/shop"
cp "$here"/*.tf "$show/deploy/"
cp "$binary" "$show/bin/penstock"
for registry in registry.terraform.io registry.opentofu.org; do
  mirror=$show/mirror/$registry/penstock-io/penstock/0.1.0/$(go env GOOS)_$(go env GOARCH)
  mkdir -p "$mirror"
  ln -s "$show/bin/penstock" "$mirror/terraform-provider-penstock_v0.1.0"
done
cat >"$show/terraform.rc" <<RC
provider_installation {
  filesystem_mirror { path = "$show/mirror" }
}
RC
export TF_CLI_CONFIG_FILE=$show/terraform.rc TF_IN_AUTOMATION=1 CHECKPOINT_DISABLE=1
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=commit.gpgsign GIT_CONFIG_VALUE_0=false
export GIT_AUTHOR_NAME=Ada GIT_AUTHOR_EMAIL=ada@example.com GIT_COMMITTER_NAME=Ada GIT_COMMITTER_EMAIL=ada@example.com
git -C "$show/shop" init -q -b main
git -C "$show/shop" add -A
git -C "$show/shop" commit -q -m "A shop"
cd "$show/deploy"
