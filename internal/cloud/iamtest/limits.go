// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package iamtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// What IAM takes of a role and of a policy, in characters without white space.
const (
	maxManaged = 6144
	maxInline  = 10240 // of all inline policies of a role
	maxTrust   = 2048
	maxGroup   = 10 // managed policies of a role
)

// Beyond returns what of the stack's roles and policies IAM would refuse for its size, with
// room for that many characters more in each.
func (s *Stack) Beyond(room int) (errs []error) {
	attached := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(s.Resources)) {
		p, _ := s.Resources[name]["Properties"].(map[string]any)
		switch s.Resources[name]["Type"] {
		case "AWS::IAM::ManagedPolicy":
			if n := size(p["PolicyDocument"]) + room; n > maxManaged {
				errs = append(errs, fmt.Errorf("the managed policy %s has %d characters, and may have %d", name, n, maxManaged))
			}
			for _, role := range Strings(p["Roles"]) {
				attached[role]++
			}
		case "AWS::IAM::Role":
			n := 0
			inline, _ := p["Policies"].([]any)
			for _, policy := range inline {
				n += size(policy.(map[string]any)["PolicyDocument"]) + room
			}
			if n > maxInline {
				errs = append(errs, fmt.Errorf("the inline policies of the role %s have %d characters, and may have %d", name, n, maxInline))
			}
			if n := size(p["AssumeRolePolicyDocument"]); n > maxTrust {
				errs = append(errs, fmt.Errorf("the trust policy of the role %s has %d characters, and may have %d", name, n, maxTrust))
			}
			if p["ManagedPolicyArns"] != nil {
				attached[name] += len(Strings(p["ManagedPolicyArns"]))
			}
		}
	}
	for _, role := range slices.Sorted(maps.Keys(attached)) {
		if n := attached[role]; n > maxGroup {
			errs = append(errs, fmt.Errorf("the role %s has %d managed policies, and may have %d", role, n, maxGroup))
		}
	}
	return errs
}

// size counts the characters of a policy as IAM does.
func size(document any) int {
	text, err := json.Marshal(document)
	if err != nil {
		panic(err) // it comes from a template
	}
	return len(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, string(text)))
}
