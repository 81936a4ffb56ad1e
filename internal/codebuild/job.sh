# The rest of a job; see job.go for what stands before. It prints nothing of what it
# was given, as the log keeps it.
fetch() { curl -fsS --retry 5 --retry-connrefused -o "$1" "$2"; }
give_up() { echo "penstock: $1" >&2; exit 90; }

curl -fsS --retry 5 --retry-connrefused -X DELETE "$job_self_url" || give_up "the job could not be removed"
rm -f "$0"
job_work=$(mktemp -d) || give_up "there is no room for the work tree"
job_tree="$job_work/tree"
mkdir "$job_tree" && fetch "$job_work/tree.tar.gz" "$job_tree_url" &&
  echo "$job_tree_digest  $job_work/tree.tar.gz" | sha256sum -c - >/dev/null && tar -xzf "$job_work/tree.tar.gz" -C "$job_tree" ||
  give_up "the work tree could not be fetched"
rm "$job_work/tree.tar.gz"
# The archive has no times. All alike they suit make as well as zip, and being old they
# show what the command writes, whatever the clocks say.
TZ=UTC0 touch -t "$job_untouched" "$job_work/untouched"
find "$job_tree" -exec touch -h -r "$job_work/untouched" {} +
# The index of git knows files by their times.
if [ -e "$job_tree/.git" ] && command -v git >/dev/null; then git -C "$job_tree" update-index -q --refresh >/dev/null 2>&1 || :; fi

fetch_file() { # variable url digest program
  fetch "$job_work/$1" "$2" && echo "$3  $job_work/$1" | sha256sum -c - >/dev/null || give_up "the file of $1 could not be fetched"
  if "$4"; then chmod +x "$job_work/$1"; fi
  export "$1=$job_work/$1"
}
files

if [ -n "$job_start_url" ]; then # with others, once all are here
  echo "penstock $job_id ready"
  until curl -fs -o "$job_work/start" "$job_start_url"; do sleep 0.5; done
  PENSTOCK_START=$(cat "$job_work/start")
  export PENSTOCK_START
fi

mask
run() { # in a group of its own, so that nothing of it is left when it has ended
  cd "$job_tree/$job_directory" || exit
  variables
  timeout -k "$job_grace" "$job_seconds" /bin/sh -e -c "$job_line" </dev/null &
  job_group=$!
  wait "$job_group"
  echo $? > "$job_work/exit"
  kill -KILL -- "-$job_group" 2>/dev/null
}

echo "penstock $job_id begins"
began=$(date +%s)
(run) 2>&1 | masked
status=$(cat "$job_work/exit" 2>/dev/null) || give_up "the command could not be run"
case $status in
124 | 137) if [ $(($(date +%s) - began)) -ge "$job_seconds" ]; then echo "timed out" > "$job_work/exit"; fi ;;
esac
echo "penstock $job_id ends"

tar -czf "$job_work/result.tar.gz" -C "$job_work" exit tree || give_up "the work tree could not be packed"
# The seal behind the archive shows that this job made it: its keys are nowhere else.
digest() { sha256sum | cut -d' ' -f1; }
sealed=$({ printf %s "$job_seal_inner"; cat "$job_work/result.tar.gz"; } | digest)
{ printf %s "$job_seal_outer"; printf %s "$sealed"; } | digest | tr -d '\n' >> "$job_work/result.tar.gz"
# The URL is valid for as long as the session that signed it, which long steps outlive.
# The build's own role may put this one object, too, where its image has the AWS CLI.
send_back() {
  curl -fsS --retry 5 --retry-connrefused -T "$job_work/result.tar.gz" "$job_result_url" >/dev/null && return
  command -v aws >/dev/null && aws s3 cp --only-show-errors "$job_work/result.tar.gz" "$job_result_object"
}
send_back || give_up "the work tree could not be sent back; the URL for it is valid for as long as the session that signed it, and after that the image of the build needs the AWS CLI"
exit "$status"
