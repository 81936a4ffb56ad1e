// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
)

// TestAccEndpoint changes the trusted proxies of a persistent stage and of a person's
// environment: no run is repeated and no instance started. A change of the protocol deploys
// again. HTTP checks and loads reach a service over HTTP/2 as any other.
func TestAccEndpoint(t *testing.T) {
	b := newBench(t)
	const alice = "penstock_self_service_env.alice"
	config := func(trust, protocol string) string {
		return b.config(map[string]string{"PROTOCOL": protocol, "MORE": fmt.Sprintf(`
resource "penstock_stage" "edge" {
  pipeline    = penstock_pipeline.shop.name
  name        = "edge"
  type        = "custom"
  after       = [penstock_stage.acceptance.passed]
  steps       = [{ name = "load", load = { rate = 20, duration = "500ms", path = "/" } }, { name = "check", http = { path = "/" } }]
  environment = { keep = true, %[1]s }
}
resource "penstock_self_service_env" "alice" {
  pipeline   = penstock_pipeline.shop.name
  name       = "alice"
  depends_on = [penstock_stage.acceptance]
  %[1]s
}`, trust)})
	}
	seen := map[string]string{} // the previous run and expiry
	same := func(name, attribute string) resource.TestCheckFunc {
		return func(s *terraform.State) error {
			got := s.RootModule().Resources[name].Primary.Attributes[attribute]
			if was, ok := seen[name+attribute]; ok && was != got {
				return fmt.Errorf("%s of %s is %s, was %s", attribute, name, got, was)
			}
			seen[name+attribute] = got
			return nil
		}
	}
	stays := []resource.TestCheckFunc{
		same(stageAddress("edge"), "run"), same(stageAddress("edge"), "endpoint"), same(alice, "endpoint"), same(alice, "expires_at"),
	}
	check := func(want string) resource.TestCheckFunc {
		return resource.ComposeAggregateTestCheckFunc(append(stays[:4:4], proxied(stageAddress("edge"), want), proxied(alice, want))...)
	}
	both := plan(plancheck.ExpectResourceAction(stageAddress("edge"), plancheck.ResourceActionUpdate), plancheck.ExpectResourceAction(alice, plancheck.ResourceActionUpdate))
	walk(t,
		resource.TestStep{Config: config("", "null"), Check: check("HTTP/1.1 https")},
		resource.TestStep{Config: config("trusted_proxies = []", "null"), ConfigPlanChecks: both, Check: check("HTTP/1.1 http")},
		resource.TestStep{Config: config(`trusted_proxies = ["127.0.0.1", "10.0.0.0/8"]`, "null"), ConfigPlanChecks: both, Check: check("HTTP/1.1 https")},
		resource.TestStep{Config: config("trusted_proxies = []", `"h2c"`), Check: proxied(stageAddress("edge"), "HTTP/2.0 http")},
	)
}

// proxied asks at a resource's endpoint as a proxy that speaks HTTPS does.
func proxied(address, want string) resource.TestCheckFunc {
	return func(s *terraform.State) error {
		req, err := http.NewRequest(http.MethodGet, s.RootModule().Resources[address].Primary.Attributes["endpoint"]+"/proto", nil)
		if err != nil {
			return err
		}
		req.Header.Set("X-Forwarded-Proto", "https")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && string(body) != want {
			return fmt.Errorf("the service of %s saw %q, want %q", address, body, want)
		}
		return err
	}
}
