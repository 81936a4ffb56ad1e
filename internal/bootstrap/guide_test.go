// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

const guide = "../../tools/templates/guides/iam.md.tmpl"

// The guide to IAM lists what the policies say. With PENSTOCK_UPDATE it is written.
func TestGuideToIAM(t *testing.T) {
	t.Parallel()
	given := map[string]string{"RepositoryToken": "/ci/token", "WebhookSecret": "/ci/webhook-secret", "TargetRoles": "arn:aws:iam::222222222222:role/penstock-TargetRole"}
	maps.Copy(given, asTarget)
	d := withCI(t, given)
	var b strings.Builder
	for _, role := range []string{"ApproverRole", "LauncherRole", "ReaderRole", "DeployerRole", "TargetRole", "TargetReaderRole", "RunnerRole", "StepRole", "InstanceRole", "TestInstanceRole", "BuilderInstanceRole", "SchedulerRole", "LauncherSchedulerRole", "ApplyTriggerRole", "LookRole", "PipeRole"} {
		fmt.Fprintf(&b, "#### %s\n\n| statement | effect | actions |\n| --- | --- | --- |\n", role)
		for _, s := range d.Role(role).Policies {
			actions := slices.Sorted(slices.Values(s.Actions))
			fmt.Fprintf(&b, "| %s | %s | `%s` |\n", s.Sid, s.Effect, strings.Join(actions, "`, `"))
		}
		b.WriteString("\n")
	}
	fill(t, "roles", b.String())
}

// The guide to IAM lists who calls what, as the tests on the test cloud have done.
func TestGuideToCalls(t *testing.T) {
	t.Parallel()
	callers := map[string][]string{}
	for role, actions := range readCalls(t) {
		for _, action := range actions {
			callers[action] = append(callers[action], strings.TrimSuffix(role, "Role"))
		}
	}
	var b strings.Builder
	b.WriteString("| action | called by |\n| --- | --- |\n")
	for _, action := range slices.Sorted(maps.Keys(callers)) {
		slices.Sort(callers[action])
		fmt.Fprintf(&b, "| `%s` | %s |\n", action, strings.Join(callers[action], ", "))
	}
	fill(t, "calls", b.String())
}

// The guide to IAM lists what TestRoles has tried: first what no role can do.
func TestGuideToRefusals(t *testing.T) {
	t.Parallel()
	rights := newRightsBed(t).rights()
	var nobody, somebody strings.Builder
	for _, name := range slices.Sorted(maps.Keys(rights)) {
		var may []string
		for letter := range strings.FieldsSeq(rights[name].may) {
			may = append(may, strings.TrimSuffix(letters[letter], "Role"))
		}
		if slices.Sort(may); len(may) == 0 {
			fmt.Fprintf(&nobody, "| %s | nobody |\n", name)
			continue
		}
		fmt.Fprintf(&somebody, "| %s | %s |\n", name, strings.Join(may, ", "))
	}
	fill(t, "refusals", "| to | may |\n| --- | --- |\n"+nobody.String()+somebody.String())
}

// guides is held by who writes the guide.
var guides sync.Mutex

// fill compares a part of the guide with what it must be. With PENSTOCK_UPDATE it is
// written.
func fill(t *testing.T, part, want string) {
	t.Helper()
	guides.Lock()
	defer guides.Unlock()
	text := read(t, guide)
	begin, end := "<!-- "+part+" -->\n", "<!-- /"+part+" -->"
	before, rest, ok := strings.Cut(text, begin)
	got, after, closed := strings.Cut(rest, end)
	switch {
	case !ok || !closed:
		t.Fatalf("%s has no place for the %s", guide, part)
	case got == want:
	case os.Getenv("PENSTOCK_UPDATE") == "":
		t.Fatalf("%s does not list the %s as they are: run this test with PENSTOCK_UPDATE=1, and make docs", guide, part)
	default:
		must(t, os.WriteFile(guide, []byte(before+begin+want+end+after), 0o644))
	}
}
