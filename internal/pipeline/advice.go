// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

// Advice is one thing that people can do about an error. It says what, and to what; package
// present/reason has the words, with the command, the flag or the argument of a resource
// that does it. The zero value advises nothing.
type Advice struct {
	Verb        Verb   `json:"verb,omitempty"`
	Pipeline    string `json:"pipeline,omitempty"`
	Stage       string `json:"stage,omitempty"`
	Build       string `json:"build,omitempty"`
	Choice      string `json:"choice,omitempty"` // of VerbChoose: another build that may enter; empty if none is known
	Run         string `json:"run,omitempty"`
	Environment string `json:"environment,omitempty"`
	Stack       string `json:"stack,omitempty"` // of CloudFormation
	Region      string `json:"region,omitempty"`
	Missing     int    `json:"missing,omitempty"` // of VerbLift: how many people, of Needed, have yet to vote
	Needed      int    `json:"needed,omitempty"`
	Argument    string `json:"argument,omitempty"` // of VerbSet and VerbUnset, such as environment.keep
	Value       string `json:"value,omitempty"`    // of VerbSet, as in a configuration; of VerbDataDir, a directory
	Of          string `json:"of,omitempty"`       // of VerbSet: what has the argument, such as "the stage"
}

// Verb is what an advice tells people to do.
type Verb string

// The verbs of advices on a stage and its builds.
const (
	VerbApprove   Verb = "approve"
	VerbLift      Verb = "lift" // a rejection
	VerbPromote   Verb = "promote"
	VerbRollback  Verb = "rollback" // the stage, to an older build
	VerbResume    Verb = "resume"
	VerbRetry     Verb = "retry"
	VerbApply     Verb = "apply"
	VerbMend      Verb = "mend"        // what made Run fail, and apply
	VerbPin       Verb = "pin"         // by an edit of the stage's build, and an apply
	VerbPinBack   Verb = "pin_back"    // the same, to a build that the stage has passed by
	VerbPinOrFree Verb = "pin_or_free" // a pinned stage: to Build, which may be empty, or remove the pin
	VerbFollow    Verb = "follow"      // the stage's run, until it ends
	VerbChoose    Verb = "choose"      // another build
	VerbDefine    Verb = "define"      // the stage
	VerbReason    Verb = "reason"      // say why
	VerbManual    Verb = "manual"      // let a person move the stage, or pin it
	VerbElsewhere Verb = "elsewhere"   // have the stage of another pipeline pass a build, and plan again
)

// The verbs of advices to look something up.
const (
	VerbListPipelines    Verb = "list_pipelines"
	VerbListBuilds       Verb = "list_builds"
	VerbListRuns         Verb = "list_runs"
	VerbListEnvironments Verb = "list_environments"
	VerbLookAtStages     Verb = "look_at_stages" // and what they wait for
)

// The verbs of advices on environments and on what is stored.
const (
	VerbExtend  Verb = "extend"
	VerbDestroy Verb = "destroy"  // Environment
	VerbForget  Verb = "forget"   // Environment, which can't be ended
	VerbDevelop Verb = "develop"  // the working tree that the environment runs, again
	VerbStart   Verb = "start"    // say how the service starts
	VerbForce   Verb = "force"    // the removal of a pipeline with what belongs to it
	VerbImport  Verb = "import"   // what exists into this state
	VerbCollect Verb = "collect"  // what nothing needs
	VerbEndKept Verb = "end_kept" // the environments that are kept after a failure
	VerbDataDir Verb = "data_dir" // set it; to Value, if that is not empty
)

// The verbs of advices on the ledger and the stack in AWS.
const (
	VerbVerifyLedger  Verb = "verify_ledger"
	VerbCopyHead      Verb = "copy_head"  // of the ledger
	VerbExport        Verb = "export"     // the ledger
	VerbCheckpoint    Verb = "checkpoint" // of the ledger
	VerbCreateStack   Verb = "create_stack"
	VerbCreateRunners Verb = "create_runners" // the stack's part for CodeBuild
	VerbUpdateStack   Verb = "update_stack"
	VerbCreateTarget  Verb = "create_target" // a stack where environments are, in the account of a target
	VerbUpdateTarget  Verb = "update_target"
	VerbAllowTarget   Verb = "allow_target" // let deployers take the role of a target: Value
	VerbAllowReader   Verb = "allow_reader" // let people take the reader role of another stack: Value
	VerbDestroyStack  Verb = "destroy_stack"
	VerbDecideRole    Verb = "decide_role" // assume the stack's role that may decide
)

// The verbs of edits of a configuration.
const (
	VerbSet   Verb = "set"
	VerbUnset Verb = "unset"
	VerbRefer Verb = "refer" // to the resource of Stage
)

// Set advises to set an argument of something. The argument may lie in a block, as in
// "service.start"; the value is as in a configuration, or empty if it is for the reader to
// choose; what is the resource that has the argument, such as "the stage", or empty.
func Set(argument, value, what string) Advice {
	return Advice{Verb: VerbSet, Argument: argument, Value: value, Of: what}
}

// Unset advises to remove an argument.
func Unset(argument string) Advice { return Advice{Verb: VerbUnset, Argument: argument} }
