// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package acceptance_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// limit bounds the route on an account. What is left then is swept.
const limit = 4 * time.Hour

// What an hour costs on AWS, in US dollars: list prices of us-east-1, about, of November
// 2026. Those of other regions are up to half as much again.
const (
	priceInstance = 0.0168 // t4g.small
	priceAddress  = 0.005  // public, IPv4
	priceBalancer = 0.0225 // Application Load Balancer
	priceUnit     = 0.008  // a capacity unit of one
	priceVolume   = 8 * 0.08 / 730
	priceRest     = 0.50 // of the whole: snapshots, requests, transfer, logs
	dearest       = 1.5
)

// What there may be at a time; the route ends where there is more. It needs four instances and
// two load balancers: production, exploratory, and two in capacity. AWS replaces some that fail.
const (
	mostInstances = 6
	mostBalancers = 3
)

// price returns what instances and load balancers cost in hours of one of them, in US dollars.
func price(instances, balancers float64) float64 {
	return instances*(priceInstance+priceAddress+priceVolume) + balancers*(priceBalancer+priceUnit+2*priceAddress)
}

// ceiling returns what the route may cost at most, in US dollars: as if everything were
// there until the time is up.
func ceiling() float64 {
	return dearest * (price(mostInstances*limit.Hours(), mostBalancers*limit.Hours()) + priceRest)
}

// proposal says what the route does to an account, in which there is something of a run before.
func proposal(a *account, before []string) string {
	text := fmt.Sprintf("%sTime:      %s at most; then everything is removed\nCosts:     US$ %.2f at most, at approximate list prices of November 2026\n", a.describe(), limit, ceiling())
	if len(before) > 0 {
		text += "Before, it removes what a run has left, or is using now:\n  " + strings.Join(before, "\n  ") + "\n"
	}
	return text
}

// TestProposal: who is asked sees which account it is, what is done there, and what it costs.
func TestProposal(t *testing.T) {
	a := &account{id: "123456789012", alias: "acme", caller: "arn:aws:iam::123456789012:user/ada", stack: defaultStack, region: "eu-west-1", second: "us-east-1"}
	got := proposal(a, []string{"instance i-1"})
	for _, want := range []string{"123456789012 (acme)", a.caller, a.stack, a.region, a.second, "4h", fmt.Sprintf("US$ %.2f at most", ceiling()), "November 2026", "instance i-1"} {
		if !strings.Contains(got, want) {
			t.Errorf("the question lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(proposal(a, nil), "Before") {
		t.Error("the question speaks of a run before, and there was none")
	}
}

// TestGuideNamesTheCosts: what the guide says it costs is what somebody is asked for.
func TestGuideNamesTheCosts(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "guides", "aws.md"))
	if err != nil {
		t.Fatal(err)
	}
	guide := strings.Join(strings.Fields(string(text)), " ")
	for _, want := range []string{
		fmt.Sprintf("The ceiling is US$ %.2f", ceiling()), fmt.Sprintf("more than %d instances or %d load balancers", mostInstances, mostBalancers),
		fmt.Sprintf("An hour of a `t4g.small` costs US$ %.4f", priceInstance), fmt.Sprintf("of a load balancer US$ %.4f", priceBalancer),
		fmt.Sprintf("of a public address US$ %.3f", priceAddress), "November 2026",
	} {
		if !strings.Contains(guide, want) {
			t.Errorf("docs/guides/aws.md does not say %q", want)
		}
	}
}

// meter adds up what there was.
type meter struct {
	mu                   sync.Mutex
	instances, balancers int     // at a time, at most
	hours                float64 // of instances
	balancerHours        float64
}

// saw takes down what there was for some time.
func (m *meter) saw(instances, balancers int, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.instances, m.balancers = max(m.instances, instances), max(m.balancers, balancers)
	m.hours += float64(instances) * d.Hours()
	m.balancerHours += float64(balancers) * d.Hours()
}

func (m *meter) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprintf("%d instances and %d load balancer(s) at most; for %.1f and %.1f hours in all, which cost about US$ %.2f",
		m.instances, m.balancers, m.hours, m.balancerHours, price(m.hours, m.balancerHours))
}

// watch looks at what there is until ctx ends, and calls stop when there is more than may be.
// What it can't see it passes over: the time of the route is limited.
func (s *site) watch(ctx context.Context, stop context.CancelCauseFunc) {
	for before := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(s.look):
		}
		instances, err := s.running(ctx)
		if err != nil {
			continue
		}
		balancers, err := s.traffic()[0].list(ctx)
		if err != nil {
			continue
		}
		s.meter.saw(instances, len(balancers), time.Since(before))
		before = time.Now()
		if instances > mostInstances || len(balancers) > mostBalancers {
			stop(fmt.Errorf("there are %d instances and %d load balancers, and %d and %d at most were agreed to", instances, len(balancers), mostInstances, mostBalancers))
			return
		}
	}
}

// running returns how many instances cost money.
func (a *account) running(ctx context.Context) (int, error) {
	in := &ec2.DescribeInstancesInput{Filters: append(a.tagged(), stack.Filter("instance-state-name", "pending", "running"))}
	all, err := collect(ctx, ec2.NewDescribeInstancesPaginator(ec2.NewFromConfig(a.own), in), instancesOf)
	return len(all), err
}
