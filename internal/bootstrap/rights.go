// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
)

// rightsTable is made from the template and from what the roles call on the test cloud, by
// TestRightsTable with PENSTOCK_UPDATE=1.
//
//go:embed rights.json
var rightsTable []byte

// Right is what a role of the stack must be able to do, with resources and a context with
// which one statement of the template allows it.
type Right struct {
	Role      string              `json:"role"` // as in the template: "DeployerRole"
	Statement string              `json:"statement"`
	Actions   []string            `json:"actions"`
	Resources []string            `json:"resources,omitempty"` // ARNs; none: any
	Context   map[string][]string `json:"context,omitempty"`   // by condition key
	Lists     []string            `json:"lists,omitempty"`     // keys of the context that have several values
}

var parsedRights = sync.OnceValue(func() (list []Right) {
	if err := json.Unmarshal(rightsTable, &list); err != nil {
		panic(fmt.Sprintf("read the table of rights: %v", err))
	}
	return list
})

// Rights returns what the roles of a stack must be able to do, in a region and an account of
// a partition. What is about something that the stack does not have is left out.
func (r Resources) Rights(partition, region, account string) (list []Right) {
	values := map[string]string{
		"Partition": partition, "Region": region, "Account": account, "Stack": r.Stack, "Bucket": r.Bucket, "Table": r.Table, "Topic": r.Topic,
		"InstanceRole": r.InstanceRole, "TestInstanceRole": r.TestInstanceRole, "BuilderInstanceRole": r.BuilderInstanceRole, "SchedulerRole": r.SchedulerRole, "LauncherSchedulerRole": r.LauncherSchedulerRole,
		"InstanceSecurityGroup": r.InstanceSecurityGroup, "BuilderSecurityGroup": r.BuilderSecurityGroup,
	}
	var pairs []string
	for name, value := range values {
		if value != "" {
			pairs = append(pairs, "%"+name+"%", value)
		}
	}
	fill := strings.NewReplacer(pairs...)
	for _, right := range parsedRights() {
		text, err := json.Marshal(right)
		if err != nil {
			panic(err) // it was read from JSON
		}
		var own Right
		if filled := fill.Replace(string(text)); !strings.Contains(filled, "%") && json.Unmarshal([]byte(filled), &own) == nil && r.RoleARN(own.Role) != "" {
			list = append(list, own)
		}
	}
	return list
}

// RoleARN returns the ARN of a role by its name in the template; "" for one that the stack
// does not have.
func (r Resources) RoleARN(name string) string {
	return map[string]string{
		"ApproverRole": r.ApproverRole, "DeployerRole": r.DeployerRole, "LauncherRole": r.LauncherRole, "RunnerRole": r.RunnerRole, "ReaderRole": r.ReaderRole, "StepRole": r.StepRole, "TargetRole": r.TargetRole, "TargetReaderRole": r.TargetReaderRole,
		"InstanceRole": r.InstanceRole, "TestInstanceRole": r.TestInstanceRole, "BuilderInstanceRole": r.BuilderInstanceRole, "SchedulerRole": r.SchedulerRole, "LauncherSchedulerRole": r.LauncherSchedulerRole,
	}[name]
}
