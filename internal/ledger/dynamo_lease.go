// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// dynamoLeaser keeps the leases.
type dynamoLeaser struct{ *table }

// Acquire implements pipeline.Ledger, by the rules of SQLite.Acquire. The write has the
// condition that the row is still as it was read.
func (d *dynamoLeaser) Acquire(ctx context.Context, key string, h pipeline.Holder, ttl time.Duration) (pipeline.Lease, error) {
	const op = "take lease"
	if key == "" || ttl <= 0 {
		return pipeline.Lease{}, pipeline.Errorf(pipeline.CodeInvalid, op, "key %q with a time to live of %s: both must be set", key, ttl)
	}
	now := d.Now().UTC().Round(0)
	if h.Since.IsZero() {
		h.Since = now
	}
	var taken pipeline.Lease
	claim := rand.Text()
	err := poll.Until(ctx, contention, func(ctx context.Context) (poll.Probe, error) {
		row, err := d.readLease(ctx, key)
		if err != nil {
			return poll.Probe{}, err
		}
		if row.locked && row.claim == claim {
			return poll.Probe{Done: true}, nil // our own write, whose answer was lost
		}
		if row.locked && now.Before(row.Expires) && !d.Dead(row.Holder.Process) {
			return d.refuse(ctx, op, row, now)
		}
		taken = pipeline.Lease{Key: key, Token: nextToken(row.Token, now), Holder: h, Expires: now.Add(ttl)}
		done, err := d.writeLease(ctx, leaseRow{Lease: taken, claim: claim, ttl: ttl}, row)
		return poll.Probe{Done: done, State: "another was first"}, err
	})
	if err != nil {
		return pipeline.Lease{}, d.fault(ctx, op, err)
	}
	return taken, nil
}

// refuse returns the error that names the lease's holder. If the lease would last longer than
// anyone asked for, by this clock, its end is brought forward first.
func (d *dynamoLeaser) refuse(ctx context.Context, op string, row leaseRow, now time.Time) (poll.Probe, error) {
	if latest := now.Add(row.ttl); row.Expires.After(latest) {
		before := row
		row.Expires = latest
		if done, err := d.writeLease(ctx, row, before); err != nil || !done {
			return poll.Probe{}, err
		}
	}
	return poll.Probe{}, pipeline.Errorf(pipeline.CodeLocked, op, "%w", &pipeline.LockedError{Lease: row.Lease})
}

// readLease returns the row of a key; the zero row, not locked, if there is none.
func (d *dynamoLeaser) readLease(ctx context.Context, key string) (leaseRow, error) {
	i, err := d.get(ctx, pkLease, key)
	if err != nil || i == nil {
		return leaseRow{Lease: pipeline.Lease{Key: key}}, err
	}
	return d.decodeLease(i)
}

func (d *dynamoLeaser) decodeLease(i item) (leaseRow, error) {
	row := leaseRow{Lease: pipeline.Lease{Key: i.text("sk"), Token: i.int("lease_token")}, locked: i.bool("held"), ttl: time.Duration(i.int("lease_ttl"))}
	if !row.locked {
		return row, nil
	}
	row.claim, row.Expires = i.text("claim"), time.Unix(0, i.int("expires")).UTC()
	if err := json.Unmarshal([]byte(i.text("holder")), &row.Holder); err != nil {
		return row, d.damaged("read lease", "table %s: lease %q: %w", d.Table, row.Key, err)
	}
	return row, nil
}

// writeLease writes a row in place of the one that was read. It returns false if that row has
// changed.
func (d *dynamoLeaser) writeLease(ctx context.Context, row, before leaseRow) (bool, error) {
	holder, err := json.Marshal(row.Holder)
	if err != nil {
		return false, pipeline.Errorf(pipeline.CodeInternal, "write lease", "%w", err)
	}
	in := &dynamodb.PutItemInput{
		TableName: aws.String(d.Table), ConditionExpression: aws.String("attribute_not_exists(pk)"),
		Item: item{
			"lease_token": number(row.Token), "held": boolean(true), "holder": text(string(holder)), "claim": text(row.claim),
			"expires": number(row.Expires.UnixNano()), "lease_ttl": number(int64(row.ttl)),
		}.at(pkLease, row.Key),
	}
	if before.Token > 0 {
		in.ConditionExpression = aws.String("lease_token = :token AND held = :held AND expires = :expires")
		expires := int64(0)
		if before.locked {
			expires = before.Expires.UnixNano()
		} else {
			in.ConditionExpression = aws.String("lease_token = :token AND held = :held")
		}
		in.ExpressionAttributeValues = item{":token": number(before.Token), ":held": boolean(before.locked)}
		if before.locked {
			in.ExpressionAttributeValues[":expires"] = number(expires)
		}
	}
	_, err = d.Client.PutItem(ctx, in)
	if cloud.Is(err, "ConditionalCheckFailedException") {
		return false, nil
	}
	return err == nil, err
}

// Renew implements pipeline.Ledger.
func (d *dynamoLeaser) Renew(ctx context.Context, lease pipeline.Lease, ttl time.Duration) (pipeline.Lease, error) {
	const op = "renew lease"
	if ttl <= 0 {
		return pipeline.Lease{}, pipeline.Errorf(pipeline.CodeInvalid, op, "a time to live of %s must be positive", ttl)
	}
	row, err := d.readLease(ctx, lease.Key)
	if err != nil {
		return pipeline.Lease{}, d.fault(ctx, op, err)
	}
	if !row.locked || row.Token != lease.Token {
		return pipeline.Lease{}, leaseLost(op, lease, row)
	}
	row.Holder.Activity = lease.Holder.Activity
	holder, err := json.Marshal(row.Holder)
	if err != nil {
		return pipeline.Lease{}, pipeline.Errorf(pipeline.CodeInternal, op, "%w", err)
	}
	expires := d.Now().UTC().Round(0).Add(ttl)
	_, err = d.Client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: aws.String(d.Table), Key: keyOf(pkLease, lease.Key), ConditionExpression: aws.String("lease_token = :token AND held = :true"),
		UpdateExpression:          aws.String("SET expires = :expires, lease_ttl = :ttl, holder = :holder"),
		ExpressionAttributeValues: item{":token": number(lease.Token), ":true": boolean(true), ":expires": number(expires.UnixNano()), ":ttl": number(int64(ttl)), ":holder": text(string(holder))},
	})
	if cloud.Is(err, "ConditionalCheckFailedException") {
		if row, err = d.readLease(ctx, lease.Key); err == nil {
			return pipeline.Lease{}, leaseLost(op, lease, row)
		}
	}
	if err != nil {
		return pipeline.Lease{}, d.fault(ctx, op, err)
	}
	row.Expires = expires
	return row.Lease, nil
}

// Release implements pipeline.Ledger.
func (d *dynamoLeaser) Release(ctx context.Context, lease pipeline.Lease) error {
	_, err := d.Client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: aws.String(d.Table), Key: keyOf(pkLease, lease.Key), ConditionExpression: aws.String("lease_token = :token"),
		UpdateExpression:          aws.String("SET held = :false REMOVE holder, claim, expires, lease_ttl"),
		ExpressionAttributeValues: item{":token": number(lease.Token), ":false": boolean(false)},
	})
	if cloud.Is(err, "ConditionalCheckFailedException") {
		return nil
	}
	return d.fault(ctx, "release lease", err)
}

// Current refuses, with CodeLeaseLost, a change under leases if one of them was taken over or
// released. It reads consistently, in one request for a hundred leases, and changes nothing.
func (d *dynamoLeaser) Current(ctx context.Context, by ...pipeline.Fence) error {
	const op = "look at lease"
	for some := range slices.Chunk(by, maxGets) {
		rows, err := d.readLeases(ctx, some)
		if err != nil {
			return d.fault(ctx, op, err)
		}
		for _, b := range some {
			if row := rows[b.Key]; !row.locked || row.Token != b.Token {
				return leaseLost(op, pipeline.Lease{Key: b.Key, Token: b.Token}, row)
			}
		}
	}
	return nil
}

// maxGets is how many items DynamoDB reads in one request.
const maxGets = 100

// readLeases returns the rows of fences' keys, at most maxGets; the zero row for a key
// without one.
func (d *dynamoLeaser) readLeases(ctx context.Context, fences []pipeline.Fence) (map[string]leaseRow, error) {
	rows := map[string]leaseRow{}
	if len(fences) == 1 {
		row, err := d.readLease(ctx, fences[0].Key)
		rows[fences[0].Key] = row
		return rows, err
	}
	var keys []map[string]types.AttributeValue
	for _, f := range fences {
		if _, twice := rows[f.Key]; !twice { // which DynamoDB refuses
			rows[f.Key] = leaseRow{Lease: pipeline.Lease{Key: f.Key}}
			keys = append(keys, keyOf(pkLease, f.Key))
		}
	}
	for len(keys) > 0 {
		out, err := d.Client.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{
			d.Table: {Keys: keys, ConsistentRead: aws.Bool(true)},
		}})
		if err != nil {
			return nil, err
		}
		for _, found := range out.Responses[d.Table] {
			row, err := d.decodeLease(found)
			if err != nil {
				return nil, err
			}
			rows[row.Key] = row
		}
		keys = out.UnprocessedKeys[d.Table].Keys
	}
	return rows, nil
}

// Leases implements pipeline.Ledger.
func (d *dynamoLeaser) Leases(ctx context.Context) ([]pipeline.Lease, error) {
	var leases []pipeline.Lease
	err := d.each(ctx, query{pk: pkLease}, func(i item) (bool, error) {
		row, err := d.decodeLease(i)
		if row.locked {
			leases = append(leases, row.Lease)
		}
		return true, err
	})
	return leases, d.fault(ctx, "list leases", err)
}
