// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
)

// placeholders stand in the table of rights for what each stack has of its own.
func placeholders() map[string]string {
	given := map[string]string{
		"AWS::Partition": "%Partition%", "AWS::Region": "%Region%", "AWS::AccountId": "%Account%", "AWS::StackName": "%Stack%",
		"Bucket": "%Bucket%", "Table": "%Table%", "Topic": "%Topic%",
		"InstanceSecurityGroup.GroupId": "%InstanceSecurityGroup%", "BuilderSecurityGroup.GroupId": "%BuilderSecurityGroup%",
	}
	for _, role := range []string{"InstanceRole", "TestInstanceRole", "BuilderInstanceRole", "SchedulerRole", "LauncherSchedulerRole"} {
		given[role+".Arn"] = "%" + role + "%"
	}
	return given
}

// sampled returns a resource that an ARN with wildcards names.
func sampled(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) == 6 {
		for i, value := range map[int]string{3: "%Region%", 4: "%Account%"} {
			if parts[i] == "*" {
				parts[i] = value
			}
		}
		arn = strings.Join(parts, ":")
	}
	return strings.ReplaceAll(arn, "*", "penstock-doctor")
}

// rightOf returns what a statement allows of what its role calls.
func rightOf(role string, s iamtest.Statement, calls []string) (r bootstrap.Right) {
	r = bootstrap.Right{Role: role, Statement: s.Sid, Context: map[string][]string{}}
	for _, call := range calls {
		if slices.Contains(s.Actions, call) {
			r.Actions = append(r.Actions, call)
		}
	}
	for _, resource := range s.Resources {
		if resource != "*" {
			r.Resources = append(r.Resources, sampled(resource))
		}
	}
	for _, operator := range slices.Sorted(maps.Keys(s.Conditions)) {
		for key, values := range s.Conditions[operator] {
			value := sampled(iamtest.Strings(values)[0])
			kind := strings.TrimPrefix(strings.TrimPrefix(operator, "ForAllValues:"), "ForAnyValue:")
			switch {
			case strings.Contains(kind, "Not") || kind == "Null" && value == "true":
				continue
			case kind == "Null" && r.Context[key] != nil:
				continue
			case kind == "Null":
				value = "penstock-doctor"
			}
			if kind != operator && !slices.Contains(r.Lists, key) {
				r.Lists = append(r.Lists, key)
			}
			r.Context[key] = []string{value}
		}
	}
	slices.Sort(r.Lists)
	return r
}

// The table of rights says of each role all that it calls, as the template allows it.
func TestRightsTable(t *testing.T) {
	t.Parallel()
	given := placeholders()
	maps.Copy(given, map[string]string{"Ci": "yes", "Repository": "https://example.com/acme/pipeline.git"})
	maps.Copy(given, asTarget)
	d, calls := deploy(t, given), readCalls(t)
	var table []bootstrap.Right
	for _, role := range d.Roles() {
		for _, s := range d.Role(role).Policies {
			if s.Effect != "Allow" {
				continue
			}
			r := rightOf(role, s, calls[role])
			if len(r.Actions) == 0 {
				continue
			}
			resources := r.Resources
			if len(resources) == 0 {
				resources = []string{"*"}
			}
			for _, action := range r.Actions {
				for _, arn := range resources {
					if got, _, _ := d.Role(role).Simulate(action, arn, r.Context); got != "allowed" {
						t.Errorf("%s: %s on %s as %s has it: %s", role, action, arn, s.Sid, got)
					}
				}
			}
			table = append(table, r)
		}
	}
	text := "[\n"
	for i, r := range table {
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if text += string(line); i < len(table)-1 {
			text += ","
		}
		text += "\n"
	}
	text += "]\n"
	if os.Getenv("PENSTOCK_UPDATE") != "" {
		if err := os.WriteFile("rights.json", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if read(t, "rights.json") != text {
		t.Error("rights.json is not what the template and the calls say: run this test with PENSTOCK_UPDATE=1")
	}
}
