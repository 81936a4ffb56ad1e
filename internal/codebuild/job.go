// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package codebuild

import (
	"cmp"
	_ "embed"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

// The build's variables: the URL of its job, and the SHA-256 that the job must have, in hex.
// Who starts the build sets them, and who can write to the bucket does not.
const (
	jobVariable    = "PENSTOCK_JOB"
	digestVariable = "PENSTOCK_JOB_SHA256"
)

// buildspec is what every build does. CodeBuild logs the commands, so nothing that is
// one build's own is in them.
const buildspec = `version: 0.2
phases:
  build:
    commands:
      - curl -fsS --retry 5 --retry-connrefused -o "${TMPDIR:-/tmp}/penstock-job" "$PENSTOCK_JOB" && echo "$PENSTOCK_JOB_SHA256  ${TMPDIR:-/tmp}/penstock-job" | sha256sum -c - >/dev/null && unset PENSTOCK_JOB && sh "${TMPDIR:-/tmp}/penstock-job"
`

// What is in the archive that comes back.
const (
	exitFile = "exit"
	treeDir  = "tree"

	// timedOut is the content of exitFile where the command was ended at its time-out.
	timedOut = "timed out"
)

// grace is between SIGTERM and SIGKILL, as of a local command.
const grace = 5 * time.Second

// sentFile is a file that the job fetches.
type sentFile struct {
	variable, url, digest string
	program               bool
}

// job is the script that a build runs.
type job struct {
	id   string
	work pipeline.Work

	self, tree, result string // URLs
	treeDigest         string // SHA-256 of the tree's archive, in hex
	seal               seal   // of the result
	object             string // s3:// address of the result
	start              string // URL of the time at which to begin; empty: at once
	files              []sentFile
	untouched          time.Time // of the files as they were sent
}

//go:embed job.sh
var body string

// script returns the whole job: a list of variables, and job.sh, which does the rest.
func (j job) script() string {
	var b strings.Builder
	set := func(name, value string) { fmt.Fprintf(&b, "%s=%s\n", name, present.Shell(value)) }
	set("job_id", j.id)
	set("job_self_url", j.self)
	set("job_tree_url", j.tree)
	set("job_tree_digest", j.treeDigest)
	set("job_result_url", j.result)
	set("job_seal_inner", j.seal.inner)
	set("job_seal_outer", j.seal.outer)
	set("job_result_object", j.object)
	set("job_start_url", j.start)
	set("job_directory", path.Clean(cmp.Or(strings.ReplaceAll(j.work.Dir, `\`, "/"), ".")))
	set("job_seconds", fmt.Sprint(int64((j.work.Timeout+time.Second-1)/time.Second)))
	set("job_grace", fmt.Sprint(int64(grace/time.Second)))
	set("job_line", j.work.Line)
	set("job_untouched", j.untouched.Format("200601021504.05"))
	b.WriteString("mask() {\n" + runlog.MaskShell(j.work.Mask, `"$job_work/mask"`) + "}\nvariables() {\n:\n")
	for _, name := range slices.Sorted(maps.Keys(j.work.Env)) {
		if j.work.Files[name] != "" {
			continue
		}
		value := present.Shell(j.work.Env[name])
		if j.work.Env[name] == j.work.Tree {
			value = `"$job_tree"`
		}
		fmt.Fprintf(&b, "export %s=%s\n", name, value)
	}
	for _, name := range slices.Sorted(maps.Keys(j.work.Secrets)) {
		fmt.Fprintf(&b, "export %s=%s\n", name, present.Shell(j.work.Secrets[name].Reveal()))
	}
	b.WriteString("}\nfiles() {\n:\n")
	for _, f := range j.files {
		fmt.Fprintf(&b, "fetch_file %s %s %s %t\n", f.variable, present.Shell(f.url), f.digest, f.program)
	}
	b.WriteString("}\n")
	b.WriteString(body)
	return b.String()
}

// checkNames refuses variables that a shell can't export.
func checkNames(work pipeline.Work) error {
	for _, name := range append(slices.Sorted(maps.Keys(work.Env)), slices.Sorted(maps.Keys(work.Secrets))...) {
		if !validName.MatchString(name) {
			return pipeline.Errorf(pipeline.CodeInvalid, "run in CodeBuild", "%q is not the name of a variable that a shell could export", name).
				WithHint("Name it with letters, digits and underscores.")
		}
	}
	return nil
}

var validName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
