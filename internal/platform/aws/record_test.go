// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// zone makes a hosted zone for example.com, and lets deployers set names below it.
func (b *bed) zone() string {
	b.Helper()
	out, err := route53.NewFromConfig(b.cloud.Own()).CreateHostedZone(b.Context(), &route53.CreateHostedZoneInput{Name: aws.String("example.com"), CallerReference: aws.String("test")})
	b.must(err)
	id := strings.TrimPrefix(aws.ToString(out.HostedZone.Id), "/hostedzone/")
	b.cloud.Given(map[string]string{"HostedZones": "arn:aws:route53:::hostedzone/" + id, "RecordNames": "*.shop.example.com,_penstock.*.shop.example.com"})
	return id
}

// record sets a record as somebody else does.
func (b *bed) record(zone string, action types.ChangeAction, name string, kind types.RRType, value string) {
	b.Helper()
	_, err := route53.NewFromConfig(b.cloud.Own()).ChangeResourceRecordSets(b.Context(), &route53.ChangeResourceRecordSetsInput{HostedZoneId: aws.String(zone), ChangeBatch: &types.ChangeBatch{Changes: []types.Change{{
		Action: action, ResourceRecordSet: &types.ResourceRecordSet{Name: aws.String(name), Type: kind, TTL: aws.Int64(60), ResourceRecords: []types.ResourceRecord{{Value: aws.String(value)}}},
	}}}})
	b.must(err)
}

// names lists the records of a zone that are not its own, as "NAME TYPE to where".
func (b *bed) names(zone string) (list []string) {
	b.Helper()
	out, err := route53.NewFromConfig(b.cloud.Own()).ListResourceRecordSets(b.Context(), &route53.ListResourceRecordSetsInput{HostedZoneId: aws.String(zone)})
	b.must(err)
	for _, r := range out.ResourceRecordSets {
		if r.Type == types.RRTypeNs || r.Type == types.RRTypeSoa {
			continue
		}
		text := strings.TrimSuffix(aws.ToString(r.Name), ".") + " " + string(r.Type)
		if r.AliasTarget != nil {
			text += " " + strings.TrimSuffix(aws.ToString(r.AliasTarget.DNSName), ".")
		} else {
			text += " " + aws.ToString(r.ResourceRecords[0].Value)
		}
		list = append(list, text)
	}
	slices.Sort(list)
	return list
}

const ownerOfOne = `"heritage=penstock,penstock/stack=penstock,penstock/environment=e-1"`

// named asks for a fleet of an environment that has a name.
func (b *bed) named(zone, name, fleet, image string) pipeline.FleetRequest {
	r := b.persistent(fleet, image)
	r.Instances, r.DNS = 1, &pipeline.AliasRecord{Zone: zone, Name: name}
	return r
}

// An environment has a name where nobody else had it. Another name takes its place, and at the
// end nothing of it is left, but for what others have made of it.
func TestName(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image, zone := b.app(), b.zone()
	b.record(zone, types.ChangeActionCreate, "old.shop.example.com", types.RRTypeCname, "legacy.example.com")
	_, err := b.Prepare(t.Context(), b.named(zone, "old.shop.example.com", "f-0", image))
	b.wantError(err, pipeline.CodeConflict, `environment.dns.name "old.shop.example.com"`, "leads to legacy.example.com", "_penstock.old.shop.example.com")
	_, err = b.Prepare(t.Context(), b.named(zone, "www.example.com", "f-0", image))
	b.wantError(err, pipeline.CodeNotAllowed, "environment.dns.name", "www.example.com", "Give the stack the zone")
	_, err = b.Prepare(t.Context(), b.named("Z0NONE", "one.shop.example.com", "f-0", image))
	b.wantError(err, pipeline.CodeNotAllowed, "Z0NONE")
	if len(b.cloud.Running()) != 0 {
		t.Errorf("after refusals %v run", b.cloud.Running())
	}
	r := b.named(zone, "one.shop.example.com", "f-1", image)
	b.must(b.release(r))
	reports, err := b.Describe(t.Context(), "e-1")
	b.must(err)
	if got := reports["e-1"].Endpoint; !strings.HasPrefix(got, "http://one.shop.example.com:") {
		t.Errorf("the endpoint is %s", got)
	}
	legacy := "old.shop.example.com CNAME legacy.example.com"
	want := func(names ...string) {
		t.Helper()
		dns := strings.TrimPrefix(strings.TrimSuffix(b.front("e-1").endpoint, ":8000"), "http://")
		list := []string{legacy}
		for _, n := range names {
			list = append(list, n+" A "+dns, "_penstock."+n+" TXT "+ownerOfOne)
		}
		slices.Sort(list)
		if got := b.names(zone); !slices.Equal(got, list) {
			t.Errorf("the zone has\n%q, want\n%q", got, list)
		}
	}
	want("one.shop.example.com")

	// Another environment does not get it, and another name takes its place.
	other := b.named(zone, "one.shop.example.com", "g-1", image)
	other.Environment = "e-2"
	_, err = b.Prepare(t.Context(), other)
	b.wantError(err, pipeline.CodeConflict, "belongs to another environment", "penstock/environment=e-1")
	b.must(b.release(b.named(zone, "two.shop.example.com", "f-2", image)))
	want("two.shop.example.com")

	// What somebody has led elsewhere stays at the end.
	b.record(zone, types.ChangeActionDelete, "old.shop.example.com", types.RRTypeCname, "legacy.example.com")
	out, err := route53.NewFromConfig(b.cloud.Own()).ListResourceRecordSets(t.Context(), &route53.ListResourceRecordSetsInput{HostedZoneId: aws.String(zone), StartRecordName: aws.String("two.shop.example.com"), MaxItems: aws.Int32(1)})
	b.must(err)
	alias := out.ResourceRecordSets[0]
	alias.AliasTarget.DNSName = aws.String("maintenance.example.com")
	_, err = route53.NewFromConfig(b.cloud.Own()).ChangeResourceRecordSets(t.Context(), &route53.ChangeResourceRecordSetsInput{HostedZoneId: aws.String(zone), ChangeBatch: &types.ChangeBatch{Changes: []types.Change{{Action: types.ChangeActionUpsert, ResourceRecordSet: &alias}}}})
	b.must(err)
	b.must(b.Destroy(t.Context(), "e-1"))
	if got := b.names(zone); !slices.Equal(got, []string{"two.shop.example.com A maintenance.example.com"}) {
		t.Errorf("after the end the zone has %q", got)
	}
	b.wantNothing()
}

// Whichever request of deployments with a name fails or loses its answer: the next one has the
// name, and after the end nothing of it is left.
func TestNameFaults(t *testing.T) {
	inTrouble(t, func(t *testing.T, fault trouble) {
		b := newBed(t)
		image, zone := b.app(), b.zone()
		b.trouble(fault)
		for _, action := range []string{"ListResourceRecordSets", "ChangeResourceRecordSets", "GetChange"} {
			first, step := sample(3)
			for k := first; k <= 3; k += step {
				faults := fault.at(k)
				for i := range faults {
					faults[i].Action = action
					if faults[i].Times > 1 { // killed: nothing more of anything
						faults = append(faults, cloudtest.Fault{Action: "CreateAutoScalingGroup", Code: faults[i].Code, Times: faults[i].Times})
						break
					}
				}
				b.cloud.Fail(faults...)
				_ = b.release(b.named(zone, "one.shop.example.com", "f-a", image))
				_ = b.release(b.named(zone, "two.shop.example.com", "f-b", image))
				b.cloud.Mend()
				b.must(b.Discard(t.Context(), "e-1", "f-a"))
				b.must(b.Discard(t.Context(), "e-1", "f-b"))
				b.must(b.release(b.named(zone, "two.shop.example.com", "f-c", image)))
				if got := b.names(zone); len(got) != 2 || !strings.HasPrefix(got[1], "two.shop.example.com A ") || got[0] != "_penstock.two.shop.example.com TXT "+ownerOfOne {
					t.Errorf("%s %d fails: then the zone has %q", action, k, got)
				}
				b.must(b.Destroy(t.Context(), "e-1"))
				if got := b.names(zone); len(got) != 0 {
					t.Errorf("%s %d fails: at the end the zone has %q", action, k, got)
				}
				b.wantNothing()
			}
		}
	})
}
