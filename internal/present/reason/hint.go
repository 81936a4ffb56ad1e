// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package reason

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// words are how people follow an advice: the command line that does it, if one does, and a
// sentence without its period. Both have the fields of the advice in braces; the sentence
// has {command}, too.
type words struct{ command, sentence string }

// table has the words of every verb.
var table = map[pipeline.Verb]words{
	pipeline.VerbApprove:   {"penstock approve {pipeline} {stage} {build}", "Approve it with `{command}`"},
	pipeline.VerbLift:      {"penstock approve --lift {pipeline} {stage} {build}", "Choose another build, or lift the rejection with `{command}`{votes}"},
	pipeline.VerbPromote:   {"penstock promote {pipeline} {stage} {build}", "Move it there with `{command}`, and apply"},
	pipeline.VerbRollback:  {"penstock rollback {pipeline} {stage}", "Go back to an older build with `{command}`"},
	pipeline.VerbResume:    {"penstock resume {pipeline} {stage}", "Resume the stage with `{command}`"},
	pipeline.VerbRetry:     {"penstock retry", "If a stage bakes it, let that stage run again with `{command}`, and apply"},
	pipeline.VerbApply:     {"terraform apply", "Apply the configuration: the stage runs then"},
	pipeline.VerbMend:      {"penstock logs {run}", "See `{command}`, fix the cause, and apply: the stage is tried again"},
	pipeline.VerbPin:       {"", "Set build = {build:q} on stage {stage:q} and apply"},
	pipeline.VerbPinBack:   {"", "Choose a newer build, or move the stage back: set build = {build:q} on stage {stage:q} and apply"},
	pipeline.VerbPinOrFree: {"", "Change build{to} in the penstock_stage, or remove it, and apply"},
	pipeline.VerbFollow:    {"penstock logs -f {pipeline} {stage}", "Wait until the run ends; `{command}` follows it"},
	pipeline.VerbChoose:    {"penstock builds{ pipeline}", "Choose another build{such as}; `{command}` lists them"},
	pipeline.VerbDefine:    {"", "Define stage {stage:q} and apply it first, or take it out of after"},
	pipeline.VerbReason:    {"", "Say why; on the command line with --reason"},
	pipeline.VerbManual:    {"", "Set trigger = \"manual\" on the stage to move it by hand, or pin it with build = \"b-…\""},

	pipeline.VerbElsewhere: {"", "Apply again once stage {stage:q} of pipeline \"{pipeline}\" has passed a build"},

	pipeline.VerbListPipelines:    {"penstock status", "`{command}` lists the pipelines"},
	pipeline.VerbListBuilds:       {"penstock builds{ pipeline}", "`{command}` lists the builds, and which stages they passed"},
	pipeline.VerbListRuns:         {"penstock runs{ pipeline}", "`{command}` lists the runs"},
	pipeline.VerbListEnvironments: {"penstock env list{ pipeline}", "`{command}` lists the environments"},
	pipeline.VerbLookAtStages:     {"penstock status{ pipeline}", "`{command}` shows the stages, and what they wait for"},

	pipeline.VerbExtend:  {"penstock env extend {pipeline} {environment}", "`{command}` lets it live longer"},
	pipeline.VerbDestroy: {"penstock env destroy {pipeline} {environment}", "End {environment:q} with `{command}`"},
	pipeline.VerbForget:  {"penstock env forget {pipeline} {environment}", "If its place is gone for good, let go of it with `{command}`"},
	pipeline.VerbDevelop: {"penstock bootstrap local", "Keep it up with `{command}`"},
	pipeline.VerbStart:   {"", "Say how it starts with --start"},
	pipeline.VerbForce:   {"", "Set force_destroy = true on the pipeline and apply before you destroy it"},
	pipeline.VerbImport:  {"terraform import", "Choose another name, or take it over with `{command}`"},
	pipeline.VerbCollect: {"penstock gc", "Free some space; `{command}` removes what nothing needs"},
	pipeline.VerbEndKept: {"penstock gc --kept", "End what is kept after a failure with `{command}`"},
	pipeline.VerbDataDir: {"", "Set data_dir in the provider block, --data-dir or PENSTOCK_DATA_DIR{to value}"},

	pipeline.VerbVerifyLedger:  {"penstock ledger verify", "Somebody changed the ledger: `{command}` says where. Restore it from a backup"},
	pipeline.VerbCopyHead:      {"penstock ledger head", "Write it as `{command}` prints it"},
	pipeline.VerbExport:        {"penstock ledger export", "Use a file that `{command}` of this version wrote"},
	pipeline.VerbCheckpoint:    {"penstock ledger checkpoint", "Use a file that `{command}` wrote"},
	pipeline.VerbCreateStack:   {"penstock bootstrap{ --region}{ --stack}", "Create it with `{command}`"},
	pipeline.VerbCreateRunners: {"penstock bootstrap ci{ --region}{ --stack}", "Create it with `{command}`"},
	pipeline.VerbUpdateStack:   {"penstock bootstrap{ --region}{ --stack}", "Bring the stack up to date with `{command}`"},
	pipeline.VerbCreateTarget:  {"penstock bootstrap target{ --region}{ --stack}", "Create it with `{command}`, with credentials of that account"},
	pipeline.VerbUpdateTarget:  {"penstock bootstrap target{ --region}{ --stack}", "Bring it up to date with `{command}`, with credentials of that account"},
	pipeline.VerbAllowReader:   {"penstock bootstrap --reader-roles{ value}", "Let approvers, deployers and launchers take it with `{command}`, which names all such roles"},
	pipeline.VerbAllowTarget:   {"penstock bootstrap --target-roles{ value}", "Let deployers take the role with `{command}`, which names the roles of all targets"},
	pipeline.VerbDestroyStack:  {"penstock bootstrap{ --region}{ --stack} --destroy", "Remove the stack with `{command}`"},
	pipeline.VerbDecideRole:    {"penstock bootstrap", "Assume the role that may decide: the output ApproverRole of the stack that `{command}` created"},

	pipeline.VerbSet:   {"", "Set {assignment}{ on}"},
	pipeline.VerbUnset: {"", "Remove {argument}"},
	pipeline.VerbRefer: {"", "Refer to the resource, as in penstock_stage.{stage_name}.passed, so that it is applied first"},
}

// fill puts the fields of an advice into a text of the table.
func fill(text string, a pipeline.Advice, command string) string {
	optional := func(before, value string) string {
		if value == "" {
			return ""
		}
		return before + value
	}
	votes, such, to := "", "", ""
	if a.Needed > 1 {
		votes = fmt.Sprintf(": %d of %d people have yet to", a.Missing, a.Needed)
	}
	if a.Choice != "" {
		such = fmt.Sprintf(", such as %s, which may enter", a.Choice)
	}
	if a.Build != "" {
		to = fmt.Sprintf(" to %q", a.Build)
	}
	return strings.NewReplacer(
		"{command}", command, "{pipeline}", a.Pipeline, "{stage}", a.Stage, "{stage_name}", strings.ReplaceAll(a.Stage, "-", "_"), "{stage:q}", strconv.Quote(a.Stage), "{build}", a.Build, "{build:q}", strconv.Quote(a.Build),
		"{run}", a.Run, "{environment}", a.Environment, "{environment:q}", strconv.Quote(a.Environment), "{votes}", votes, "{such as}", such, "{to}", to,
		"{ pipeline}", optional(" ", a.Pipeline),
		"{ --region}", optional(" --region ", a.Region), "{ --stack}", optional(" --stack ", a.Stack),
		"{argument}", a.Argument, "{assignment}", assignment(a.Argument, a.Value), "{ on}", optional(" on ", a.Of), "{to value}", optional(" to ", a.Value), "{ value}", optional(" ", a.Value),
	).Replace(text)
}

// assignment writes an argument of a configuration: `environment = { keep = true }` for
// environment.keep. Without a value it is the argument's name.
func assignment(argument, value string) string {
	block, rest, nested := strings.Cut(argument, ".")
	switch {
	case value == "":
		return argument
	case nested:
		return block + " = { " + assignment(rest, value) + " }"
	}
	return argument + " = " + value
}

// Command returns the command line that follows an advice; empty if none does.
func Command(a pipeline.Advice) string { return fill(table[a.Verb].command, a, "") }

// Advice says in a sentence, with commands, what people can do: any of the ways. It is empty
// for none.
func Advice(ways ...pipeline.Advice) string {
	var all []string
	for _, a := range ways {
		if text := fill(table[a.Verb].sentence, a, Command(a)); text != "" {
			if len(all) > 0 {
				first, size := utf8.DecodeRuneInString(text)
				text = string(unicode.ToLower(first)) + text[size:]
			}
			all = append(all, text)
		}
	}
	switch n := len(all); n {
	case 0:
		return ""
	case 1, 2:
		return strings.Join(all, ", or ") + "."
	default:
		return strings.Join(all[:n-1], "; ") + "; or " + all[n-1] + "."
	}
}

// Hint says what to do now about an error: its hint, its advice or both, and what the stage
// waits for if that is the cause. It is empty if nothing is known.
func Hint(err error) string {
	var all []string
	var wait *gate.WaitError
	if errors.As(err, &wait) {
		all = append(all, "The stage waits for "+Wait(wait.Wait)+".")
	}
	hint, ways := pipeline.RemedyOf(err)
	for _, text := range []string{hint, Advice(ways...)} {
		if text != "" {
			all = append(all, text)
		}
	}
	return strings.Join(all, " ")
}
