// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"encoding/json"
	"strings"
	"testing"
)

// hintOf returns the hint of an error.
func hintOf(err error) string {
	hint, _ := RemedyOf(err)
	return hint
}

// advises reports whether an error has the advice of a verb.
func advises(err error, verb Verb) bool {
	_, ways := RemedyOf(err)
	return len(ways) == 1 && ways[0].Verb == verb
}

func TestAllows(t *testing.T) {
	ada := Person{Name: "ada", Groups: []string{"staff"}}
	session := Person{Name: "assumed-role/deployer/ada", Names: []string{
		"arn:aws:sts::123456789012:assumed-role/deployer/ada", "arn:aws:iam::123456789012:role/deployer",
	}}
	addressed := Person{Name: "ann@example.com", Names: []string{"sub:Boss@example.com"}, Literal: []string{"sub:Boss@example.com"}}
	chosen := Person{Name: "boss@example.com", Literal: []string{"boss@example.com"}}
	tests := map[string]struct {
		is    *Authorization
		right Right
		who   Person
		want  bool
	}{
		"an address in another case":    {&Authorization{Deploy: []string{"Ann@Example.COM"}}, RightDeploy, addressed, true},
		"addresses, in another case":    {&Authorization{Deploy: []string{"*@Example.com"}}, RightDeploy, addressed, true},
		"an alias in another case":      {&Authorization{Deploy: []string{"ann"}, People: map[string][]string{"ann": {"Ann@example.com"}}}, RightDeploy, addressed, true},
		"a literal name":                {&Authorization{Deploy: []string{"sub:Boss@example.com"}}, RightDeploy, addressed, true},
		"a literal name's other case":   {&Authorization{Deploy: []string{"sub:boss@example.com"}}, RightDeploy, addressed, false},
		"a pattern of a literal name":   {&Authorization{Deploy: []string{"sub:*"}}, RightDeploy, addressed, false},
		"part of a literal name":        {&Authorization{Deploy: []string{"*boss@example.com"}}, RightDeploy, addressed, false},
		"addresses, and a chosen name":  {&Authorization{Deploy: []string{"*@example.com"}}, RightDeploy, chosen, false},
		"aliases, and a chosen name":    {&Authorization{Deploy: []string{"all"}, People: map[string][]string{"all": {"*@example.com"}}}, RightDeploy, chosen, false},
		"a chosen name":                 {&Authorization{Deploy: []string{"Boss@example.com"}}, RightDeploy, chosen, true},
		"everybody, by a chosen name":   {&Authorization{Deploy: []string{"*"}}, RightDeploy, chosen, true},
		"nothing said":                  {nil, RightDeploy, ada, true},
		"nothing said, but override":    {nil, RightOverride, ada, false},
		"a right without a list":        {&Authorization{Approve: []string{"bob"}}, RightDeploy, ada, true},
		"an override without a list":    {&Authorization{}, RightOverride, ada, false},
		"a list of nobody":              {&Authorization{Deploy: []string{}}, RightDeploy, ada, false},
		"named":                         {&Authorization{Deploy: []string{"bob", "ada"}}, RightDeploy, ada, true},
		"not named":                     {&Authorization{Deploy: []string{"bob"}}, RightDeploy, ada, false},
		"part of a name":                {&Authorization{Deploy: []string{"ad"}}, RightDeploy, ada, false},
		"a longer name":                 {&Authorization{Deploy: []string{"adam"}}, RightDeploy, ada, false},
		"another case":                  {&Authorization{Deploy: []string{"Ada"}}, RightDeploy, ada, false},
		"everybody":                     {&Authorization{Deploy: []string{"*"}}, RightDeploy, ada, true},
		"who approves may reject":       {&Authorization{Approve: []string{"ada"}}, RightReject, ada, true},
		"who doesn't approve may not":   {&Authorization{Approve: []string{"bob"}}, RightReject, ada, false},
		"but where it is said":          {&Authorization{Approve: []string{"bob"}, Reject: []string{"ada"}}, RightReject, ada, true},
		"a group":                       {&Authorization{Launch: []string{"@qa"}, Groups: map[string][]string{"qa": {"bob", "ada"}}}, RightLaunch, ada, true},
		"a group of others":             {&Authorization{Launch: []string{"@qa"}, Groups: map[string][]string{"qa": {"bob"}}}, RightLaunch, ada, false},
		"a group of the system":         {&Authorization{Launch: []string{"@staff"}}, RightLaunch, ada, true},
		"a group that is said anew":     {&Authorization{Launch: []string{"@staff"}, Groups: map[string][]string{"staff": {"bob"}}}, RightLaunch, ada, false},
		"a group that is said empty":    {&Authorization{Launch: []string{"@staff"}, Groups: map[string][]string{"staff": {}}}, RightLaunch, ada, false},
		"a group that nobody knows":     {&Authorization{Launch: []string{"@qa"}}, RightLaunch, ada, false},
		"a group is no name":            {&Authorization{Launch: []string{"staff"}}, RightLaunch, ada, false},
		"a group has no group in it":    {&Authorization{Launch: []string{"@a"}, Groups: map[string][]string{"a": {"@a", "@staff"}}}, RightLaunch, ada, false},
		"a session":                     {&Authorization{Deploy: []string{"assumed-role/deployer/*"}}, RightDeploy, session, true},
		"a session of another role":     {&Authorization{Deploy: []string{"assumed-role/launcher/*"}}, RightDeploy, session, false},
		"an ARN":                        {&Authorization{Deploy: []string{"arn:aws:sts::*:assumed-role/deployer/ada"}}, RightDeploy, session, true},
		"a role":                        {&Authorization{Deploy: []string{"arn:aws:iam::123456789012:role/deployer"}}, RightDeploy, session, true},
		"a role of another account":     {&Authorization{Deploy: []string{"arn:aws:iam::210987654321:role/*"}}, RightDeploy, session, false},
		"a session's name is no person": {&Authorization{Deploy: []string{"ada"}}, RightDeploy, session, false},
		"unless it is said":             {&Authorization{Deploy: []string{"ada"}, People: map[string][]string{"ada": {"assumed-role/deployer/ada"}}}, RightDeploy, session, true},
		"a person in a group":           {&Authorization{Deploy: []string{"@ops"}, Groups: map[string][]string{"ops": {"ada"}}, People: map[string][]string{"ada": {"*/deployer/ada"}}}, RightDeploy, session, true},
		"a character":                   {&Authorization{Override: []string{"a?a"}}, RightOverride, ada, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			// A list of nobody must still be one after it was stored.
			data, err := json.Marshal(Pipeline{Name: "shop", Authorization: tt.is})
			if err != nil {
				t.Fatal(err)
			}
			var p Pipeline
			if err := json.Unmarshal(data, &p); err != nil {
				t.Fatal(err)
			}
			if got := p.Authorization.Allows(tt.right, tt.who); got != tt.want {
				t.Errorf("%s may %s: %v, want %v", tt.who.Name, tt.right, got, tt.want)
			}
			err = p.Authorize(tt.right, tt.who, "do it")
			if (err == nil) != tt.want || err != nil && (CodeOf(err) != CodeNotAllowed || hintOf(err) == "") {
				t.Errorf("error %v with hint %q", err, hintOf(err))
			}
		})
	}
}

// A refusal says who asked, what was needed, and who has the right.
func TestRefusalSaysWhoMay(t *testing.T) {
	p := Pipeline{Name: "shop", Authorization: &Authorization{
		Deploy: []string{"carol", "@ops"}, Launch: []string{}, Groups: map[string][]string{"ops": {"dave", "erin"}},
	}}
	who := Person{Name: "user/ada", Names: []string{"arn:aws:iam::123456789012:user/ada"}}
	err := p.Authorize(RightDeploy, who, "promote")
	for _, want := range []string{"user/ada", "arn:aws:iam::123456789012:user/ada", "deploy", `"shop"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %s", err, want)
		}
	}
	for _, want := range []string{"carol", "@ops (dave, erin)", "authorize.deploy"} {
		if !strings.Contains(hintOf(err), want) {
			t.Errorf("hint %q does not say %s", hintOf(err), want)
		}
	}
	if hint := hintOf(p.Authorize(RightLaunch, who, "launch")); !strings.Contains(hint, "Nobody may") {
		t.Errorf("hint %q", hint)
	}
}

func TestWrote(t *testing.T) {
	a := &Authorization{People: map[string][]string{"ada": {"al", "ada.l@example.com"}}}
	tests := map[string]struct {
		who    Person
		author string
		want   bool
	}{
		"by name":                     {Person{Name: "ada"}, "Ada <a@example.com>", true},
		"by the address":              {Person{Name: "a@example.com"}, "Ada Lovelace <A@example.com>", true},
		"by what is before the @":     {Person{Name: "ada"}, "A. Lovelace <ada@example.com>", true},
		"a session":                   {Person{Name: "assumed-role/approver/ada"}, "A. Lovelace <ada@example.com>", true},
		"an account of Windows":       {Person{Name: `ACME\ada`}, "Ada <x@example.com>", true},
		"by what people says":         {Person{Name: "al"}, "Countess <ada.l@example.com>", true},
		"somebody else":               {Person{Name: "bob"}, "Ada <ada@example.com>", false},
		"somebody else's other name":  {Person{Name: "bob"}, "Countess <ada.l@example.com>", false},
		"an author without a name":    {Person{Name: "ada"}, "<>", false},
		"an author without address":   {Person{Name: "ada"}, "ada", true},
		"part of the author's name":   {Person{Name: "ada"}, "Ada Lovelace <x@example.com>", false},
		"nobody is nobody's namesake": {Person{}, "<>", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := a.Wrote(tt.author, tt.who); got != tt.want {
				t.Errorf("%q wrote what %q did: %v, want %v", tt.who.Name, tt.author, got, tt.want)
			}
		})
	}
}

func TestIsAddress(t *testing.T) {
	for name, want := range map[string]bool{
		"ann@example.com": true, "a.b+c@example": true, "ann": false, "@qa": false, "ann@": false, "ann@b@c": false, "sub:ann@example.com": false,
		"arn:aws:sts::123456789012:assumed-role/qa/ann@example.com": false, "assumed-role/qa/ann@example.com": false, `CORP\ann@example.com`: false, "": false,
	} {
		if got := IsAddress(name); got != want {
			t.Errorf("IsAddress(%q) is %v", name, got)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"*", "", true}, {"*", "a/b", true}, {"a*", "a", true}, {"a*b*c", "aXbYc", true}, {"a*b*c", "aXbY", false},
		{"*a*b", "aab", true}, {"?", "", false}, {"?", "é", true}, {"a?c", "abc", true}, {"[a]", "a", false}, {"a", "ab", false}, {"**", "x", true},
		{"*b", "ababab", true}, {"*abc", "ababc", true},
	} {
		if got := Matches(tt.pattern, tt.s); got != tt.want {
			t.Errorf("%q matches %q: %v, want %v", tt.pattern, tt.s, got, tt.want)
		}
	}
}

func TestCheckAuthorization(t *testing.T) {
	for name, tt := range map[string]struct {
		is   *Authorization
		says string
	}{
		"nothing":               {nil, ""},
		"everybody":             {&Authorization{Approvals: 3}, ""},
		"enough":                {&Authorization{Approve: []string{"a", "b"}, Approvals: 2}, ""},
		"too few":               {&Authorization{Approve: []string{"a", "b", "a"}, Approvals: 3}, "only 2 people may approve: a, b"},
		"too few in a group":    {&Authorization{Approve: []string{"@qa", "a"}, Groups: map[string][]string{"qa": {"a"}}, Approvals: 2}, "only 1"},
		"a pattern":             {&Authorization{Approve: []string{"a*"}, Approvals: 2}, ""},
		"a group of the system": {&Authorization{Approve: []string{"@staff"}, Approvals: 2}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.is.Check()
			if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want one that says %q", err, tt.says)
			}
		})
	}
}
