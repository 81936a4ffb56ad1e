// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestOutputs(t *testing.T) {
	t.Parallel()
	o, err := expandOutputs(map[string]output{
		"env":      {Value: json.RawMessage(`{"A": "text", "B": 1.5, "C": true, "D": null, "LARGE": 12345678901234567890}`)},
		"endpoint": {Value: json.RawMessage(`"https://shop.example.com/path"`)},
		"instance": {Value: json.RawMessage(`{"security_group_ids": ["sg-1"], "instance_profile": "shop"}`)},
		"data":     {Value: json.RawMessage(`{"snapshot": "s-1"}`)},
		"queue":    {Value: json.RawMessage(`["a"]`)},
		"password": {Value: json.RawMessage(`"hidden"`), Sensitive: true},
		"nothing":  {Value: json.RawMessage(`null`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Env) != 4 || o.Env["A"] != "text" || o.Env["B"] != "1.5" || o.Env["C"] != "true" || o.Env["LARGE"] != "12345678901234567890" {
		t.Errorf("env: %v", o.Env)
	}
	if o.Endpoint != "https://shop.example.com/path" || o.Instance.SecurityGroups[0] != "sg-1" || o.Instance.Profile != "shop" || string(o.Data) != `{"snapshot":"s-1"}` {
		t.Errorf("%+v", o)
	}
	if len(o.Others) != 1 || string(o.Others["queue"]) != `["a"]` {
		t.Errorf("others: %v", o.Others)
	}
	o, err = expandOutputs(map[string]output{"env": {Value: json.RawMessage(`{"A": "hidden"}`), Sensitive: true}})
	if err != nil || len(o.Env) > 0 || o.SecretEnv["A"].Reveal() != "hidden" {
		t.Errorf("a sensitive env: %+v, %v", o, err)
	}
	for _, sensitive := range []bool{false, true} { // beside an env that is secret, too
		o, err = expandOutputs(map[string]output{
			"env":        {Value: json.RawMessage(`{"A": "text", "C": null}`), Sensitive: sensitive},
			"secret_env": {Value: json.RawMessage(`{"B": "hidden", "C": 7, "D": null}`), Sensitive: true},
		})
		if err != nil || o.SecretEnv["B"].Reveal() != "hidden" || o.SecretEnv["C"].Reveal() != "7" || o.Env["A"]+o.SecretEnv["A"].Reveal() != "text" || len(o.Env)+len(o.SecretEnv) != 3 || len(o.Others) > 0 {
			t.Errorf("with a secret_env, and an env that is sensitive %t: %+v, %v", sensitive, o, err)
		}
	}
}

// A variable has one value.
func TestTwiceInOutputs(t *testing.T) {
	t.Parallel()
	for _, sensitive := range []bool{false, true} {
		_, err := expandOutputs(map[string]output{
			"env":        {Value: json.RawMessage(`{"A": "a", "B": "b"}`), Sensitive: sensitive},
			"secret_env": {Value: json.RawMessage(`{"B": "hidden"}`), Sensitive: true},
		})
		if pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), `output "secret_env" has "B", and so has the output "env"`) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%v", err)
		}
	}
}

func TestWrongOutputs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		output, value string
		sensitive     bool
		want          string
	}{
		"env is a list":           {"env", `["a"]`, false, `output "env" is a list, but must be a map of strings`},
		"env is a text":           {"env", `"a"`, false, `output "env" is a string, but must be a map`},
		"env has a list":          {"env", `{"A": ["a"]}`, false, `output "env" has a list as "A"`},
		"env has a bad name":      {"env", `{"A=B": "a"}`, false, `has "A=B", which can't be the name`},
		"env has ours":            {"env", `{"PENSTOCK_BUILD": "b"}`, false, `has "PENSTOCK_BUILD", but Penstock itself sets`},
		"secrets are a list":      {"secret_env", `["a"]`, true, `output "secret_env" is a list, but must be a map of strings`},
		"secrets are shown":       {"secret_env", `{"A": "a"}`, false, `output "secret_env" is not sensitive`},
		"secrets have a bad name": {"secret_env", `{"A=B": "a"}`, true, `output "secret_env" has "A=B", which can't be the name`},
		"endpoint is no URL":      {"endpoint", `"shop.example.com"`, false, `output "endpoint" is "shop.example.com", but must be a URL`},
		"endpoint is an object":   {"endpoint", `{}`, false, `output "endpoint" is an object`},
		"endpoint is secret":      {"endpoint", `"http://a"`, true, `is sensitive`},
		"instance is a text":      {"instance", `"sg-1"`, false, `output "instance" must be an object of security_group_ids`},
		"instance has others":     {"instance", `{"security_groups": []}`, false, `unknown field "security_groups"`},
		"data is a text":          {"data", `"snapshot-1"`, false, `output "data" is a string, but must be an object`},
	} {
		_, err := expandOutputs(map[string]output{c.output: {Value: json.RawMessage(c.value), Sensitive: c.sensitive}})
		if pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	m := New(Config{Dir: t.TempDir()})
	good := []pipeline.Module{
		{Directory: "env"}, {Directory: "."}, {Directory: "infra/env", Variables: map[string]json.RawMessage{"size": json.RawMessage(`1`)}, Stateful: []string{"acme_*", `module.db["a"].acme_thing.main`}},
		{Source: "terraform-aws-modules/vpc/aws", Version: "~> 5.0"}, {Source: "git::https://example.com/env.git//modules/env?ref=v1"},
	}
	for _, g := range good {
		if err := m.Check(g); err != nil {
			t.Errorf("%+v: %v", g, err)
		}
	}
	for want, bad := range map[string]pipeline.Module{
		"neither a directory nor a source":                                           {},
		`both a directory, "a", and a source`:                                        {Directory: "a", Source: "b"},
		`directory "../a" is not a plain path`:                                       {Directory: "../a"},
		`directory "/a" is not a plain path`:                                         {Directory: "/a"},
		`directory "a/" is not a plain path`:                                         {Directory: "a/"},
		`source "./a" is a directory`:                                                {Source: "./a"},
		`source "/a" is a directory`:                                                 {Source: "/a"},
		`version "1" is for a source`:                                                {Directory: "a", Version: "1"},
		"timeout -1ns is negative":                                                   {Directory: "a", Timeout: -1},
		`variable "penstock" can't be set`:                                           {Directory: "a", Variables: map[string]json.RawMessage{"penstock": json.RawMessage(`1`)}},
		`variable "size" is no JSON`:                                                 {Directory: "a", Variables: map[string]json.RawMessage{"size": json.RawMessage(`{`)}},
		`"" in stateful is no pattern`:                                               {Directory: "a", Stateful: []string{""}},
		`"/nowhere/terraform", which the module's "terraform" names, does not exist`: {Directory: "a", Program: "/nowhere/terraform"},
	} {
		if err := m.Check(bad); pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", bad, err, want)
		}
	}
}

func TestKeepsData(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"aws_db_instance.main": true, "module.db.aws_rds_cluster.main[0]": true, "aws_instance.web": false, "azurerm_postgresql_flexible_server.main": true,
		"acme_thing.a": false, "acme_store.main": true, `module.x["a/b"].acme_box.main`: true, "acme_box.other": false, "google_bigtable_instance.x": true,
	} {
		parts := strings.Split(address, ".")
		kind := parts[len(parts)-2]
		if got := keepsData(kind, address, []string{"acme_st*", `module.x["a/b"].acme_box.main`}); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

// Of what a killed Terraform left, a part of a state is none.
func TestReadState(t *testing.T) {
	t.Parallel()
	whole := `{"version": 4, "serial": 3, "lineage": "x", "resources": [{"mode": "managed", "module": "module.a", "type": "t", "name": "n", "instances": [{"index_key": "k", "attributes": {"id": "1"}}, {"index_key": 2, "attributes": {"id": "2"}}]}, {"mode": "data", "type": "d", "name": "n", "instances": [{}]}]}`
	s, ok := readState([]byte(whole))
	if r := s.resources(); !ok || len(r) != 2 || r[`module.a.t.n["k"]`] != "1" || r[`module.a.t.n[2]`] != "2" {
		t.Errorf("%+v, %v", r, ok)
	}
	for _, part := range []string{"", whole[:20], whole[:len(whole)-1], `{}`, `{"version": 5, "lineage": "x"}`} {
		if _, ok := readState([]byte(part)); ok {
			t.Errorf("%q is a state", part)
		}
	}
	if !s.newer(nil) || !s.newer([]byte(`{"version": 4, "serial": 2, "lineage": "x"}`)) || s.newer([]byte(`{"version": 4, "serial": 2, "lineage": "y"}`)) || s.newer([]byte(whole)) {
		t.Error("newer")
	}
}
