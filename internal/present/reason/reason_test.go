// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package reason_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

func TestWait(t *testing.T) {
	pause := pipeline.Pause{Actor: "bob", At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Reason: "it is Friday"}
	of := func(w gate.Wait) gate.Wait { w.Pipeline, w.Stage = "shop", "qa"; return w }
	for want, w := range map[string]gate.Wait{
		"": {},
		"a decision on b-1: `penstock approve shop qa b-1` or `penstock reject …`":             {Kind: gate.WaitDecision, Build: "b-1", Missing: 1, Needed: 1},
		"a decision on b-1 by 2 people: `penstock approve shop qa b-1` or `penstock reject …`": {Kind: gate.WaitDecision, Build: "b-1", Missing: 2, Needed: 2},
		"1 more of 2 approvals of b-1: `penstock approve shop qa b-1` or `penstock reject …`":  {Kind: gate.WaitDecision, Build: "b-1", Missing: 1, Needed: 2},
		"a promotion of b-1: `penstock promote shop qa b-1`, or build = \"b-1\"":               {Kind: gate.WaitPromotion, Build: "b-1"},
		"a decision on #7: `penstock approve shop qa 7` or `penstock reject …`":                {Kind: gate.WaitDecision, Build: "b-1", Number: 7, Missing: 1, Needed: 1},
		"a promotion of #7: `penstock promote shop qa 7`, or build = \"b-1\"":                  {Kind: gate.WaitPromotion, Build: "b-1", Number: 7},
		"#7 to pass \"a\"":                                          {Kind: gate.WaitPassed, Build: "b-1", Number: 7, Stages: []string{"a"}},
		"b-1 to pass \"a\" and \"b\"":                               {Kind: gate.WaitPassed, Build: "b-1", Stages: []string{"a", "b"}},
		"b-1 to pass \"a\", where it failed":                        {Kind: gate.WaitPassed, Build: "b-1", Stages: []string{"a"}, At: gate.ObstacleFailed},
		"\"a\" to pass":                                             {Kind: gate.WaitPassed, Stages: []string{"a"}},
		"a build that passed \"a\", \"b\" and \"c\"":                {Kind: gate.WaitBuild, Stages: []string{"a", "b", "c"}},
		"a build newer than b-1, which was rejected at stage \"a\"": {Kind: gate.WaitNewer, Build: "b-1", Stages: []string{"a"}},
		"nothing: no build can ever pass both \"a\" and \"b\"":      {Kind: gate.WaitNever, Stages: []string{"a", "b"}},
		"a person to resume it: bob paused it at 2026-01-02 03:04 UTC: it is Friday; `penstock resume shop qa`": {Kind: gate.WaitResume, Pause: pause},
	} {
		if got := reason.Waiting(of(w)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got := reason.Wait(of(w)); strings.Contains(got, "`") || !strings.HasPrefix(want, got) {
			t.Errorf("without its command: %q", got)
		}
	}
}

// Each error of the gates has a hint, however it is wrapped. An error's own hint and advice
// come together, and those of the innermost error count.
func TestHint(t *testing.T) {
	refused := func() *pipeline.Error { return pipeline.Errorf(pipeline.CodeRefused, "promote", "no") }
	qa := pipeline.Stage{Pipeline: "shop", Name: "qa"}
	st := &pipeline.State{Pauses: map[string]pipeline.Pause{"qa": {Actor: "bob"}}}
	lift := pipeline.Advice{Verb: pipeline.VerbLift, Pipeline: "shop", Stage: "qa", Build: "b-1"}
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"none":        {refused(), ""},
		"its own":     {refused().WithHint("Wait."), "Wait."},
		"an obstacle": {gate.Obstacle{Kind: gate.ObstacleUndecided, Pipeline: "shop", Stage: "qa", Build: "b-1"}.Err("promote"), "Approve it with `penstock approve shop qa b-1`."},
		"no ID":       {gate.CheckID(qa, "latest"), "A build ID is \"b-\" and ten hexadecimal digits. `penstock builds shop` lists the builds, and which stages they passed."},
		"a pause":     {gate.CheckPaused(st, qa, "promote"), "Resume the stage with `penstock resume shop qa`."},
		"a rejection": {refused().WithHint("Ask why.").WithAdvice(lift), "Ask why. Choose another build, or lift the rejection with `penstock approve --lift shop qa b-1`."},
		"a wait": {&pipeline.Error{Code: pipeline.CodeRefused, Err: &gate.WaitError{Wait: gate.Wait{Kind: gate.WaitBuild, Stages: []string{"a"}}}, Hint: "Name one."},
			"The stage waits for a build that passed \"a\". Name one."},
		"the innermost": {(&pipeline.Error{Err: refused().WithAdvice(pipeline.Advice{Verb: pipeline.VerbListRuns})}).WithHint("Do that."), "`penstock runs` lists the runs."},
	} {
		for _, err := range []error{tt.err, fmt.Errorf("apply: %w", tt.err)} {
			if got := reason.Hint(err); got != tt.want {
				t.Errorf("%s: %q, want %q", name, got, tt.want)
			}
		}
	}
}

// Each verb has its words, with all that the advice says and nothing left to fill in.
func TestAdvice(t *testing.T) {
	all := pipeline.Advice{
		Pipeline: "shop", Stage: "pre-production", Build: "b-1", Run: "r-1", Environment: "alice", Stack: "acme", Region: "eu-west-1",
		Argument: "environment.keep", Value: "true", Of: "the stage",
	}
	const stack = " --region eu-west-1 --stack acme`."
	want := map[pipeline.Verb]string{
		pipeline.VerbApprove:   "Approve it with `penstock approve shop pre-production b-1`.",
		pipeline.VerbLift:      "Choose another build, or lift the rejection with `penstock approve --lift shop pre-production b-1`.",
		pipeline.VerbPromote:   "Move it there with `penstock promote shop pre-production b-1`, and apply.",
		pipeline.VerbRollback:  "Go back to an older build with `penstock rollback shop pre-production`.",
		pipeline.VerbResume:    "Resume the stage with `penstock resume shop pre-production`.",
		pipeline.VerbRetry:     "If a stage bakes it, let that stage run again with `penstock retry`, and apply.",
		pipeline.VerbApply:     "Apply the configuration: the stage runs then.",
		pipeline.VerbMend:      "See `penstock logs r-1`, fix the cause, and apply: the stage is tried again.",
		pipeline.VerbPin:       "Set build = \"b-1\" on stage \"pre-production\" and apply.",
		pipeline.VerbPinBack:   "Choose a newer build, or move the stage back: set build = \"b-1\" on stage \"pre-production\" and apply.",
		pipeline.VerbPinOrFree: "Change build to \"b-1\" in the penstock_stage, or remove it, and apply.",
		pipeline.VerbFollow:    "Wait until the run ends; `penstock logs -f shop pre-production` follows it.",
		pipeline.VerbChoose:    "Choose another build; `penstock builds shop` lists them.",
		pipeline.VerbDefine:    "Define stage \"pre-production\" and apply it first, or take it out of after.",
		pipeline.VerbReason:    "Say why; on the command line with --reason.",
		pipeline.VerbManual:    "Set trigger = \"manual\" on the stage to move it by hand, or pin it with build = \"b-…\".",

		pipeline.VerbElsewhere: "Apply again once stage \"pre-production\" of pipeline \"shop\" has passed a build.",

		pipeline.VerbListPipelines:    "`penstock status` lists the pipelines.",
		pipeline.VerbListBuilds:       "`penstock builds shop` lists the builds, and which stages they passed.",
		pipeline.VerbListRuns:         "`penstock runs shop` lists the runs.",
		pipeline.VerbListEnvironments: "`penstock env list shop` lists the environments.",
		pipeline.VerbLookAtStages:     "`penstock status shop` shows the stages, and what they wait for.",

		pipeline.VerbExtend:  "`penstock env extend shop alice` lets it live longer.",
		pipeline.VerbDestroy: "End \"alice\" with `penstock env destroy shop alice`.",
		pipeline.VerbDevelop: "Keep it up with `penstock bootstrap local`.",
		pipeline.VerbStart:   "Say how it starts with --start.",
		pipeline.VerbForce:   "Set force_destroy = true on the pipeline and apply before you destroy it.",
		pipeline.VerbImport:  "Choose another name, or take it over with `terraform import`.",
		pipeline.VerbCollect: "Free some space; `penstock gc` removes what nothing needs.",
		pipeline.VerbForget:  "If its place is gone for good, let go of it with `penstock env forget shop alice`.",
		pipeline.VerbEndKept: "End what is kept after a failure with `penstock gc --kept`.",
		pipeline.VerbDataDir: "Set data_dir in the provider block, --data-dir or PENSTOCK_DATA_DIR to true.",

		pipeline.VerbVerifyLedger:  "Somebody changed the ledger: `penstock ledger verify` says where. Restore it from a backup.",
		pipeline.VerbCopyHead:      "Write it as `penstock ledger head` prints it.",
		pipeline.VerbExport:        "Use a file that `penstock ledger export` of this version wrote.",
		pipeline.VerbCheckpoint:    "Use a file that `penstock ledger checkpoint` wrote.",
		pipeline.VerbCreateStack:   "Create it with `penstock bootstrap" + stack,
		pipeline.VerbCreateRunners: "Create it with `penstock bootstrap ci" + stack,
		pipeline.VerbUpdateStack:   "Bring the stack up to date with `penstock bootstrap" + stack,
		pipeline.VerbCreateTarget:  "Create it with `penstock bootstrap target --region eu-west-1 --stack acme`, with credentials of that account.",
		pipeline.VerbUpdateTarget:  "Bring it up to date with `penstock bootstrap target --region eu-west-1 --stack acme`, with credentials of that account.",
		pipeline.VerbAllowReader:   "Let approvers, deployers and launchers take it with `penstock bootstrap --reader-roles true`, which names all such roles.",
		pipeline.VerbAllowTarget:   "Let deployers take the role with `penstock bootstrap --target-roles true`, which names the roles of all targets.",
		pipeline.VerbDestroyStack:  "Remove the stack with `penstock bootstrap --region eu-west-1 --stack acme --destroy`.",
		pipeline.VerbDecideRole:    "Assume the role that may decide: the output ApproverRole of the stack that `penstock bootstrap` created.",

		pipeline.VerbSet:   "Set environment = { keep = true } on the stage.",
		pipeline.VerbUnset: "Remove environment.keep.",
		pipeline.VerbRefer: "Refer to the resource, as in penstock_stage.pre_production.passed, so that it is applied first.",
	}
	advice, err := os.ReadFile("../../pipeline/advice.go")
	if err != nil {
		t.Fatal(err)
	}
	verbs := regexp.MustCompile(`Verb\w+ +Verb = "(\w+)"`).FindAllSubmatch(advice, -1)
	for _, found := range verbs {
		verb, a := pipeline.Verb(found[1]), all
		a.Verb = verb
		if got := reason.Advice(a); got != want[verb] {
			t.Errorf("%s: %q, want %q", verb, got, want[verb])
		}
		if got := reason.Advice(pipeline.Advice{Verb: verb}); got == "" || strings.ContainsAny(reason.Command(a)+got, "{}") {
			t.Errorf("%s, of nothing: %q", verb, got)
		}
	}
	if len(want) != len(verbs) {
		t.Errorf("%d verbs, want %d", len(verbs), len(want))
	}
	for text, a := range map[string]pipeline.Advice{
		"lift the rejection with `penstock approve --lift shop qa b-1`: 1 of 2 people have yet to.": {Verb: pipeline.VerbLift, Pipeline: "shop", Stage: "qa", Build: "b-1", Missing: 1, Needed: 2},
		"Choose another build, such as b-2, which may enter; `penstock builds shop` lists them.":    {Verb: pipeline.VerbChoose, Pipeline: "shop", Choice: "b-2"},
		"Change build in the penstock_stage, or remove it, and apply.":                              {Verb: pipeline.VerbPinOrFree},
		"`penstock runs` lists the runs.":                                                           {Verb: pipeline.VerbListRuns},
		"Create it with `penstock bootstrap`.":                                                      {Verb: pipeline.VerbCreateStack},
		"Set url.":                                                                                  {Verb: pipeline.VerbSet, Argument: "url"},
	} {
		if got := reason.Advice(a); !strings.HasSuffix(got, text) {
			t.Errorf("%q, want %q", got, text)
		}
	}
}

// Several ways are one sentence.
func TestWays(t *testing.T) {
	way := pipeline.Unset
	for want, ways := range map[string][]pipeline.Advice{
		"":                                    nil,
		"Remove a.":                           {way("a")},
		"Remove a, or remove b.":              {way("a"), way("b")},
		"Remove a; remove b; or remove c.":    {way("a"), way("b"), way("c")},
		"Set build = \"b-1\", or remove pin.": {pipeline.Set("build", `"b-1"`, ""), way("pin")},
	} {
		if got := reason.Advice(ways...); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
