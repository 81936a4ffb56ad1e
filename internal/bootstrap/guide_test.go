// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

const guide = "../../tools/templates/guides/iam.md.tmpl"

// The guide to IAM lists what the policies say. With PENSTOCK_UPDATE it is written.
func TestGuideToIAM(t *testing.T) {
	t.Parallel()
	d := withCI(t, map[string]string{"RepositoryToken": "/ci/token"})
	var b strings.Builder
	for _, role := range []string{"ApproverRole", "LauncherRole", "DeployerRole", "RunnerRole", "StepRole", "InstanceRole", "SchedulerRole", "LauncherSchedulerRole", "ApplyTriggerRole", "PipeRole"} {
		fmt.Fprintf(&b, "### %s\n\n| statement | effect | actions |\n| --- | --- | --- |\n", role)
		for _, s := range d.Role(role).Policies {
			actions := slices.Sorted(slices.Values(s.Actions))
			fmt.Fprintf(&b, "| %s | %s | `%s` |\n", s.Sid, s.Effect, strings.Join(actions, "`, `"))
		}
		b.WriteString("\n")
	}
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), "<!-- roles -->\n")
	table, after, closed := strings.Cut(rest, "<!-- /roles -->")
	if !ok || !closed {
		t.Fatalf("%s has no place for the roles", guide)
	}
	if want := b.String(); table != want {
		if os.Getenv("PENSTOCK_UPDATE") == "" {
			t.Fatalf("%s does not list what the policies say: run this test with PENSTOCK_UPDATE=1, and make docs", guide)
		}
		if err := os.WriteFile(guide, []byte(before+"<!-- roles -->\n"+want+"<!-- /roles -->"+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
