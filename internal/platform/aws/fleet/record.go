// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// records are the names of environments in Route 53. Beside the alias record of a name is a TXT
// record that says which environment's it is: both are made together, where neither was, and
// only what that one says is Penstock's is changed or removed.
type records struct {
	stack  *stack.Stack
	client *route53.Client
}

const (
	tagZone = "penstock:zone" // on a launch template: ID of the hosted zone of the environment's name
	tagName = "penstock:name" // on a launch template: that name

	// ownerPrefix begins the name of the record that says whose a name is.
	ownerPrefix = "_penstock."

	// recordTTL is how long others keep that record, in seconds. Alias records have none.
	recordTTL = 300

	// syncLimit is how long all of Route 53's servers may take to know a change: usually a
	// minute.
	syncLimit = 5 * time.Minute

	opRecord = "set name of environment"
)

// owner is what the record says whose a name is.
func (n *records) owner(environment string) string {
	return fmt.Sprintf("heritage=penstock,penstock/stack=%s,penstock/environment=%s", n.stack.Settings.Stack, environment)
}

// found is what there is of a name.
type found struct {
	owner   string                    // what the TXT record says; empty for none
	others  []types.ResourceRecordSet // that lead the name somewhere
	alias   *types.ResourceRecordSet  // the record that leads it to a load balancer; nil for none
	txt     *types.ResourceRecordSet
	leading string // in words, to where
}

// find reads what there is of a name.
func (n *records) find(ctx context.Context, a pipeline.AliasRecord) (f found, err error) {
	at, err := n.list(ctx, a, a.Name)
	if err != nil {
		return f, err
	}
	for _, r := range at {
		switch r.Type {
		case types.RRTypeA, types.RRTypeAaaa, types.RRTypeCname:
			f.others = append(f.others, r)
			f.leading = leadsTo(r)
			if r.Type == types.RRTypeA && r.AliasTarget != nil && r.SetIdentifier == nil {
				f.alias = &r
			}
		}
	}
	beside, err := n.list(ctx, a, ownerPrefix+a.Name)
	if err != nil {
		return f, err
	}
	for _, r := range beside {
		if r.Type == types.RRTypeTxt && len(r.ResourceRecords) > 0 {
			f.owner, f.txt = strings.Trim(aws.ToString(r.ResourceRecords[0].Value), `"`), &r
		}
	}
	return f, nil
}

// leadsTo says where a record leads.
func leadsTo(r types.ResourceRecordSet) string {
	if r.AliasTarget != nil {
		return bare(aws.ToString(r.AliasTarget.DNSName))
	}
	var values []string
	for _, v := range r.ResourceRecords {
		values = append(values, aws.ToString(v.Value))
	}
	return strings.Join(values, ", ")
}

// bare returns a name without what Route 53 and its console add to names of load balancers.
func bare(name string) string {
	return strings.TrimPrefix(strings.ToLower(strings.TrimSuffix(name, ".")), "dualstack.")
}

// list lists the records of one name.
func (n *records) list(ctx context.Context, a pipeline.AliasRecord, name string) (list []types.ResourceRecordSet, err error) {
	out, err := n.client.ListResourceRecordSets(ctx, &route53.ListResourceRecordSetsInput{HostedZoneId: aws.String(a.Zone), StartRecordName: aws.String(name), MaxItems: aws.Int32(100)})
	if err != nil {
		return nil, recordFault(ctx, a, err)
	}
	for _, r := range out.ResourceRecordSets {
		if strings.TrimSuffix(aws.ToString(r.Name), ".") == name {
			list = append(list, r)
		}
	}
	return list, nil
}

// check refuses a name that is somebody else's: CodeConflict.
func (n *records) check(ctx context.Context, environment string, a pipeline.AliasRecord) (found, error) {
	f, err := n.find(ctx, a)
	own := n.owner(environment)
	switch {
	case err != nil || f.owner == own:
		return f, err
	case f.owner != "":
		return f, pipeline.Errorf(pipeline.CodeConflict, opRecord, "environment.dns.name %q: the name belongs to another environment: the TXT record %s%s says %q", a.Name, ownerPrefix, a.Name, f.owner).
			WithHint("Choose another name, or remove it from that environment first.")
	case len(f.others) > 0:
		return f, pipeline.Errorf(pipeline.CodeConflict, opRecord, "environment.dns.name %q: hosted zone %s has a record of that name already, which leads to %s", a.Name, a.Zone, f.leading).
			WithHint("Choose another name, or remove that record. To hand it over to Penstock, create a TXT record %s%s with the value %q.", ownerPrefix, a.Name, own)
	}
	return f, nil
}

// ensure makes a name lead to a load balancer, and waits until all of Route 53's servers know.
func (n *records) ensure(ctx context.Context, log io.Writer, environment string, a pipeline.AliasRecord, lb balancer) error {
	for again := true; ; again = false {
		f, err := n.check(ctx, environment, a)
		if err != nil {
			return err
		}
		if f.owner != "" && f.alias != nil && bare(aws.ToString(f.alias.AliasTarget.DNSName)) == bare(lb.dns) {
			return nil
		}
		alias := types.ResourceRecordSet{Name: aws.String(a.Name), Type: types.RRTypeA, AliasTarget: &types.AliasTarget{DNSName: aws.String(lb.dns), HostedZoneId: aws.String(lb.zone)}}
		changes := []types.Change{{Action: types.ChangeActionUpsert, ResourceRecordSet: &alias}}
		if f.owner == "" { // both, or neither: what somebody else makes at the same time stays
			changes[0].Action = types.ChangeActionCreate
			changes = append(changes, types.Change{Action: types.ChangeActionCreate, ResourceRecordSet: &types.ResourceRecordSet{
				Name: aws.String(ownerPrefix + a.Name), Type: types.RRTypeTxt, TTL: aws.Int64(recordTTL), ResourceRecords: []types.ResourceRecord{{Value: aws.String(`"` + n.owner(environment) + `"`)}},
			}})
		}
		err = n.change(ctx, log, a, changes)
		var batch *types.InvalidChangeBatch
		if again && f.owner == "" && errors.As(err, &batch) { // the request before, whose answer was lost, has made them
			continue
		}
		if err == nil {
			stack.Logf(log, "%s leads to load balancer %s", a.Name, lb.dns)
		}
		return err
	}
}

// remove removes a name that is an environment's. A record that somebody has led elsewhere
// stays, without Penstock's own beside it.
func (n *records) remove(ctx context.Context, environment string, a pipeline.AliasRecord, own string) error {
	f, err := n.find(ctx, a)
	if pipeline.CodeOf(err) == pipeline.CodeNotFound { // the zone is gone, with its records
		return nil
	}
	if err != nil || f.owner != n.owner(environment) {
		return err
	}
	changes := []types.Change{{Action: types.ChangeActionDelete, ResourceRecordSet: f.txt}}
	if f.alias != nil && (own == "" || bare(aws.ToString(f.alias.AliasTarget.DNSName)) == bare(own)) {
		changes = append(changes, types.Change{Action: types.ChangeActionDelete, ResourceRecordSet: f.alias})
	}
	err = n.change(ctx, nil, a, changes)
	var batch *types.InvalidChangeBatch
	if errors.As(err, &batch) {
		if f, again := n.find(ctx, a); again == nil && f.owner == "" { // the request before has removed them
			return nil
		}
	}
	return err
}

// change changes records together, and waits until all of Route 53's servers know. That they
// take long is no error: each of them knows in the end.
func (n *records) change(ctx context.Context, log io.Writer, a pipeline.AliasRecord, changes []types.Change) error {
	out, err := n.client.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{
		HostedZoneId: aws.String(a.Zone), ChangeBatch: &types.ChangeBatch{Comment: aws.String("Penstock"), Changes: changes},
	})
	if err != nil {
		return recordFault(ctx, a, err)
	}
	info := *out.ChangeInfo
	err = n.stack.Wait(ctx, "Route 53 to know "+a.Name, syncLimit, func(ctx context.Context) (poll.Probe, error) {
		if info.Status == types.ChangeStatusInsync {
			return poll.Probe{Done: true}, nil
		}
		got, err := n.client.GetChange(ctx, &route53.GetChangeInput{Id: info.Id})
		if err != nil {
			return poll.Probe{}, err
		}
		info = *got.ChangeInfo
		return poll.Probe{Done: info.Status == types.ChangeStatusInsync, State: string(info.Status)}, nil
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		stack.Logf(log, "not all servers of Route 53 know %s yet: %v", a.Name, err)
		return nil
	}
	return recordFault(ctx, a, err)
}

// recordFault explains what Route 53 refuses.
func recordFault(ctx context.Context, a pipeline.AliasRecord, err error) error {
	if err == nil {
		return nil
	}
	fault := cloud.Fault(ctx, opRecord, err)
	what := fmt.Sprintf("environment.dns.name %q in hosted zone %s", a.Name, a.Zone)
	switch {
	case pipeline.CodeOf(fault) == pipeline.CodeCancelled:
		return fault
	case pipeline.CodeOf(fault) == pipeline.CodeNotAllowed:
		return pipeline.Errorf(pipeline.CodeNotAllowed, opRecord, "%s: %w", what, err).
			WithHint("Give the stack the zone, and the names that it may set there: the guide to AWS says how.")
	case cloud.Is(err, "NoSuchHostedZone"):
		return pipeline.Errorf(pipeline.CodeNotFound, opRecord, "%s: %w", what, err).WithHint("Set environment.dns.zone_id to the ID of the zone that has the name.")
	case cloud.Is(err, "InvalidChangeBatch", "InvalidInput"):
		return pipeline.Errorf(pipeline.CodeInvalid, opRecord, "%s: %w", what, err).WithHint("Set environment.dns.name to a name in that zone.")
	}
	return fault
}
