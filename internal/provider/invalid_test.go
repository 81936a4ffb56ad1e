// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
)

// An error in a baked image names the argument.
func TestAccInvalidImage(t *testing.T) {
	for name, tt := range map[string]struct{ arguments, want string }{
		"published without AWS":       {`publish = { regions = ["eu-west-2"] }`, `publish has no meaning on the local platform`},
		"a builder without AWS":       {`instance_type = "c7g.large"`, `instance_type has no meaning on the local platform`},
		"a volume without AWS":        {`volume = { size = 20 }`, `volume has no meaning on the local platform`},
		"throughput of gp2":           {`volume = { type = "gp2", throughput = 200 }`, `A volume of type "gp2" takes no throughput. Set type to gp3`},
		"a key without AWS":           {`kms_key = "alias/penstock/images"`, `kms_key has no meaning on the local platform`},
		"a profile without AWS":       {`instance_profile = "builder"`, `instance_profile has no meaning on the local platform`},
		"groups without AWS":          {`security_groups = ["sg-12345678"]`, `security_groups has no meaning on the local platform`},
		"no region":                   {`publish = { regions = ["Ireland"] }`, `must be a region`},
		"no account":                  {`publish = { share_with = { accounts = ["me"] } }`, `12 digits`},
		"copies longer than an apply": {`publish = { regions = ["eu-west-2"], copy_within = "1h" }`, `ends\s+after\s+1h.\s+Set\s+timeouts.(create|update)`},
		"and with too short an apply": {`timeouts = { create = "2h", update = "30m" }
  publish = { regions = ["eu-west-2"], copy_within = "45m" }`, `ends\s+after\s+30m.\s+Set\s+timeouts.update`},
		"a key of a place without it": {`publish = { kms_keys = { eu-west-2 = "k" } }`, `Key of a region without a copy`},
		"no name of a parameter":      {`publish = { ssm_parameter = "base" }`, `must begin with a slash`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			walk(t, resource.TestStep{
				Config: fmt.Sprintf(`
provider "penstock" { data_dir = %q }
resource "penstock_pipeline" "p" { name = "p" }
resource "penstock_baked_image" "i" {
  pipeline = penstock_pipeline.p.name
  name     = "i"
  from     = { directory = "image" }
  source   = { repository = "nowhere", commit = "c", digest = "d" }
  %s
}`, t.TempDir(), tt.arguments),
				ExpectError: regexp.MustCompile(`(?s)` + strings.ReplaceAll(tt.want, " ", `\s+`)),
			})
		})
	}
}

// An error in a stage names the argument, in validate or in plan.
func TestAccInvalidStage(t *testing.T) {
	tests := map[string]struct {
		kind, arguments, want string
	}{
		"a shift that does not grow": {
			"production", `environment = { shift = [{ percent = 50, pause = "1m" }, { percent = 20, pause = "1m" }] }`,
			`Shift does not grow.*20 % of the traffic, and the previous one 50 %`,
		},
		"a share of nothing":         {"production", `environment = { shift = [{ percent = 0, pause = "1m" }] }`, `percent.*between 1 and 99`},
		"a pause that is no time":    {"production", `environment = { shift = [{ percent = 10, pause = "soon" }] }`, `soon`},
		"alarms of what ends":        {"capacity", `environment = { alarms = ["errors"] }`, `Environment is not persistent.*alarms`},
		"a certificate of what ends": {"capacity", `environment = { certificate = "arn:aws:acm:eu-west-1:123456789012:certificate/a" }`, `Environment is not persistent.*certificate`},
		"no certificate":             {"production", `environment = { certificate = "shop.example.com" }`, `must be the ARN of a certificate`},
		"a certificate without AWS":  {"production", `environment = { certificate = "arn:aws:acm:eu-west-1:123456789012:certificate/a" }`, `environment.certificate has no meaning`},
		"a listener of what ends":    {"capacity", `environment = { ` + listener + `, path = "/*", priority = 10 }`, `Environment is not persistent.*listener_arn`},
		"no listener":                {"production", `environment = { listener_arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener/net/a/0/0", path = "/*", priority = 10 }`, `must be the ARN of a listener of an application load balancer`},
		"a rule for all":             {"production", `environment = { ` + listener + `, priority = 10 }`, `Rule without a condition[\s\S]*Set host, path or both`},
		"a rule nowhere":             {"production", `environment = { ` + listener + `, host = "shop.example.com" }`, `Rule without a priority`},
		"a priority of nothing":      {"production", `environment = { priority = 10 }`, `environment.priority is about a rule[\s\S]*Set listener_arn`},
		"the first priority":         {"production", `environment = { ` + listener + `, path = "/*", priority = 1 }`, `between 2 and 50000`},
		"a priority too high":        {"production", `environment = { ` + listener + `, path = "/*", priority = 50001 }`, `between 2 and 50000`},
		"a port of a listener":       {"production", `environment = { ` + listener + `, path = "/*", priority = 10, port = 8000 }`, `environment.port 8000 has no meaning with listener_arn`},
		"no host":                    {"production", `environment = { ` + listener + `, host = "http://shop", priority = 10 }`, `must be a host name`},
		"no path":                    {"production", `environment = { ` + listener + `, path = "shop", priority = 10 }`, `must be a path`},
		"a listener without AWS":     {"production", `environment = { ` + listener + `, path = "/*", priority = 10 }`, `environment.listener_arn has no meaning on the local platform`},
		"a name without AWS":         {"production", `environment = { dns = { zone_id = "Z0123", name = "shop.example.com" } }`, `environment.dns has no meaning on the local platform`},
		"a name of what ends":        {"capacity", `environment = { dns = { zone_id = "Z0123", name = "shop.example.com" } }`, `Environment is not persistent.*dns`},
		"no name":                    {"production", `environment = { dns = { zone_id = "Z0123", name = "Shop.example.com." } }`, `no DNS name[\s\S]*lower case`},
		"no zone":                    {"production", `environment = { dns = { zone_id = "example.com", name = "shop.example.com" } }`, `must be the ID of a hosted zone`},
		"an alarm twice":             {"production", `environment = { alarms = ["errors", "errors"] }`, `(?i)duplicate`},
		"a volume without AWS":       {"production", `environment = { volume = { size = 20 } }`, `environment.volume has no meaning on the local platform`},
		"hops without AWS":           {"production", `environment = { metadata_hop_limit = 2 }`, `environment.metadata_hop_limit has no meaning on the local platform`},
		"spot without AWS":           {"capacity", `environment = { spot = true }`, `environment.spot has no meaning on the local platform`},
		"spot that lasts":            {"production", `environment = { spot = true }`, `Environment is persistent.*Remove spot`},
		"spot that is baked":         {"acceptance", `environment = { spot = true }`, `Stage bakes.*AWS does not stop a spot instance`},
		"io2 without iops":           {"production", `environment = { volume = { type = "io2" } }`, `A volume of type "io2" needs iops`},
		"iops of gp2":                {"production", `environment = { volume = { type = "gp2", iops = 3000 } }`, `A volume of type "gp2" takes no iops`},
		"few iops of gp3":            {"production", `environment = { volume = { type = "gp3", iops = 1000 } }`, `3000 to 80000 iops, and not 1000`},
		"no volume":                  {"production", `environment = { volume = { size = 0 } }`, `value must be between 1 and 65536`},
		"a shift without AWS":        {"production", `environment = { shift = [{ percent = 10, pause = "1m" }] }`, `environment.shift has no meaning on the local platform`},
		"a kept fleet without AWS":   {"production", `environment = { keep_previous = "1h" }`, `environment.keep_previous has no meaning`},
		"scaling without AWS":        {"production", `environment = { scaling = { max = 4 } }`, `environment.scaling has no meaning on the local platform`},
		"attributes without AWS":     {"production", `environment = { target_attributes = { "slow_start.duration_seconds" = "60" } }`, `environment.target_attributes has no meaning`},
		"an attribute of its own":    {"production", `environment = { target_attributes = { "deregistration_delay.timeout_seconds" = "60" } }`, `deregistration_delay`},
		"a ramp that is cut off":     {"capacity", `steps = [{ name = "x", timeout = "1m", load = { rate = 1, duration = "50s", ramp = "20s", path = "/" } }]`, `Time-out shorter than the load[\s\S]*1m10s`},
		"scaling of what ends":       {"capacity", `environment = { scaling = { max = 4 } }`, `Environment is not persistent.*scaling`},
		"scaling without an end":     {"production", `environment = { scaling = { min = 4 } }`, `"max" is required`},
		"a minimum above":            {"production", `environment = { scaling = { min = 4, max = 2 } }`, `contradict each other[\s\S]*min is 4, and max is 2`},
		"instances above":            {"production", `environment = { instances = 4, scaling = { max = 2 } }`, `contradict each other[\s\S]*instances is 4, and scaling.max is 2`},
		"two targets":                {"production", `environment = { scaling = { max = 2, target = { cpu = 50, requests_per_target = 10 } } }`, `Not one target[\s\S]*2 of cpu`},
		"no target":                  {"production", `environment = { scaling = { max = 2, target = {} } }`, `Not one target[\s\S]*0 of cpu`},
		"more than all of a CPU":     {"production", `environment = { scaling = { max = 2, target = { cpu = 120 } } }`, `cpu[\s\S]*between`},
		"no cron":                    {"production", `environment = { scaling = { max = 2, schedule = [{ name = "a", cron = "at noon", min = 1 }] } }`, `five fields`},
		"a time for nothing":         {"production", `environment = { scaling = { max = 2, schedule = [{ name = "a", cron = "0 8 * * *" }] } }`, `Time changes nothing`},
		"a time twice":               {"production", `environment = { scaling = { max = 2, schedule = [{ name = "a", cron = "0 8 * * *", min = 1 }, { name = "a", cron = "0 9 * * *", min = 1 }] } }`, `Time twice`},
		"no time zone":               {"production", `environment = { scaling = { max = 2, schedule = [{ name = "a", cron = "0 8 * * *", time_zone = "CET+1h", min = 1 }] } }`, `IANA`},
		"a pool of another state":    {"production", `environment = { scaling = { max = 2, warm_pool = { state = "Stopped" } } }`, `warm_pool.state`},
		"CodeBuild without AWS":      {"acceptance", `runner = "codebuild"`, `runner "codebuild" needs the provider's aws`},
		"a runner of another kind":   {"acceptance", `runner = "jenkins"`, `runner[\s\S]*"codebuild"`},
		"a shared load on one machine": {
			"capacity", `steps = [{ name = "x", load = { rate = 1, duration = "1s", path = "/", machines = 2 } }]`, `One machine[\s\S]*codebuild`,
		},
		"a report out of reach": {
			"acceptance", `steps = [{ name = "x", command = "true", on = "environment", report = "junit.xml" }]`, `Report out of reach[\s\S]*read from the checkout`,
		},
		"a report anywhere":      {"acceptance", `steps = [{ name = "x", command = "true", report = "/tmp/junit.xml" }]`, `leads out of the checkout`},
		"a report above":         {"acceptance", `steps = [{ name = "x", command = "true", report = "a/../../junit.xml" }]`, `leads out of the checkout`},
		"a report by no pattern": {"acceptance", `steps = [{ name = "x", command = "true", report = "{.xml" }]`, `not a valid pattern`},
		"no report to be empty":  {"acceptance", `steps = [{ name = "x", command = "true", allow_empty_report = true }]`, `Missing report[\s\S]*allow_empty_report without report`},
		"a check's empty report": {"acceptance", `steps = [{ name = "x", http = { url = "http://localhost/" }, allow_empty_report = true }]`, `Argument of a command[\s\S]*allow_empty_report`},
		"a load that is cut off": {
			"capacity", `steps = [{ name = "x", timeout = "10s", load = { rate = 1, duration = "30s", path = "/" } }]`, `Time-out shorter than the load[\s\S]*takes 30s`,
		},
		"a load of nothing":        {"capacity", `steps = [{ name = "x", load = { rate = 0, duration = "30s", path = "/" } }]`, `load.rate value must be between`},
		"a load backwards":         {"capacity", `steps = [{ name = "x", load = { rate = -5, duration = "30s", path = "/" } }]`, `load.rate value must be between`},
		"a load for no time":       {"capacity", `steps = [{ name = "x", load = { rate = 1, duration = "0s", path = "/" } }]`, `more than zero`},
		"no instances":             {"production", `environment = { instances = 0 }`, `environment.instances value must be between 1`},
		"fewer than no instances":  {"production", `environment = { instances = -1 }`, `environment.instances value must be between 1`},
		"a time-out of words":      {"acceptance", `steps = [{ name = "x", command = "true", timeout = "soon" }]`, `is not a duration`},
		"a time-out without unit":  {"acceptance", `steps = [{ name = "x", command = "true", timeout = "30" }]`, `is not a duration`},
		"a time-out before":        {"acceptance", `steps = [{ name = "x", command = "true", timeout = "-1s" }]`, `more than zero`},
		"an address by name":       {"production", `environment = { address = "shop.example.com" }`, `not an IP address`},
		"a proxy by name":          {"production", `environment = { trusted_proxies = ["proxy.example.com"] }`, `trusted_proxies\[0\][\s\S]*neither an IP address nor a network`},
		"a network that is none":   {"production", `environment = { trusted_proxies = ["10.0.0.0/33"] }`, `no network in CIDR notation`},
		"an address for a network": {"production", `environment = { trusted_proxies = ["10.0.0.7/8"] }`, `write 10.0.0.0/8 for the network`},
		"a stack without AWS":      {"production", `targets = [{ name = "eu" }, { name = "ireland", stack = "x" }]`, `targets.*stack "x" of target ireland has no meaning on the local platform`},
		"a region without AWS":     {"custom", "name = \"c\"\n aws = { region = \"eu-west-1\" }\n environment = { keep = true }", `region "eu-west-1" of aws has no meaning on the local platform`},
		"a place of nothing":       {"custom", "name = \"c\"\n aws = { region = \"eu-west-1\" }", `it says where its environments are, but has none`},
		"a port of two":            {"production", "targets = [{ name = \"eu\" }, { name = \"us\" }]\n environment = { port = 28555 }", `environment.port = 28555 is that of one endpoint, and all 2 targets are on this machine`},
		"production that ends":     {"production", `environment = { keep = false }`, `Production is persistent`},
		"a pinned commit stage":    {"commit", `build = "b-0123456789"`, `no build`},
		"a source of another type": {"acceptance", `base_image = "img-1"`, `no base_image`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			walk(t, resource.TestStep{
				Config: fmt.Sprintf(`
provider "penstock" { data_dir = %q }
resource "penstock_pipeline" "p" {
  name    = "p"
  service = { start = "exec sleep 60" }
}
resource "penstock_stage" "s" {
  pipeline = penstock_pipeline.p.name
  type     = %q
  %s
}`, t.TempDir(), tt.kind, tt.arguments),
				ExpectError: regexp.MustCompile(`(?s)` + strings.ReplaceAll(tt.want, " ", `\s+`)),
			})
		})
	}
}

// An error in a self-service environment, or in a pipeline's size, names the argument.
func TestAccInvalidNumbers(t *testing.T) {
	for name, tt := range map[string]struct{ resource, want string }{
		"a pipeline of no instances": {`"penstock_pipeline" "q" {
  name  = "q"
  scale = { instances = 0 }`, `scale.instances value must be`},
		"a ttl of nothing": {`"penstock_self_service_env" "e" {
  pipeline = "p"
  name     = "e"
  ttl      = "0s"`, `ttl = "0s": it must be more than zero`},
		"a ttl before": {`"penstock_self_service_env" "e" {
  pipeline = "p"
  name     = "e"
  ttl      = "-8h"`, `more than zero`},
		"a ttl of words": {`"penstock_self_service_env" "e" {
  pipeline = "p"
  name     = "e"
  ttl      = "until tonight"`, `is not a duration`},
		"an environment of no instances": {`"penstock_self_service_env" "e" {
  pipeline  = "p"
  name      = "e"
  instances = -2`, `instances value must be between 1`},
		"an environment at a name": {`"penstock_self_service_env" "e" {
  pipeline = "p"
  name     = "e"
  address  = "everywhere"`, `not an IP address`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			walk(t, resource.TestStep{
				Config:      fmt.Sprintf("provider \"penstock\" { data_dir = %q }\nresource %s\n}", t.TempDir(), tt.resource),
				ExpectError: regexp.MustCompile(`(?s)` + strings.ReplaceAll(tt.want, " ", `\s+`)),
			})
		})
	}
}

// An error in the service of a pipeline names the argument.
func TestAccInvalidService(t *testing.T) {
	for name, tt := range map[string]struct{ arguments, want string }{
		"a user without AWS": {`user = "shop"`, `service.user has no meaning on the local platform`},
		"root without AWS":   {`user = "root"`, `the service runs as the user that runs Terraform`},
		"no user's name":     {`user = "Shop Keeper"`, `begin with a letter or an underscore`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			walk(t, resource.TestStep{
				Config: fmt.Sprintf(`
provider "penstock" { data_dir = %q }
resource "penstock_pipeline" "p" {
  name    = "p"
  service = {
    start = "exec sleep 60"
    %s
  }
}`, t.TempDir(), tt.arguments),
				ExpectError: regexp.MustCompile(`(?s)` + strings.ReplaceAll(tt.want, " ", `\s+`)),
			})
		})
	}
}

// listener names a listener that exists, perhaps.
const listener = `listener_arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener/app/shop/0123456789abcdef/0123456789abcdef"`
