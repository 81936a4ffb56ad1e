// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// purgeLease is how long a purge keeps a pipeline's place in the list without a sign of life.
// It writes one before each batch of deletions.
const purgeLease = time.Minute

// Purge implements pipeline.Ledger. It removes the head first, so that from then on there is
// no history; then all that belonged to it; and last its place in the list, which says
// meanwhile who purges. The next append or purge of the name finishes a purge whose process
// died.
func (d *dynamoMaintainer) Purge(ctx context.Context, name string) error {
	const op = "purge pipeline"
	token := rand.Text()
	defined := skRecord(pipeline.Key{Kind: pipeline.RecordPipeline, ID: name})
	_, err := d.Client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
		{ConditionCheck: &types.ConditionCheck{TableName: aws.String(d.Table), Key: keyOf(pkView(name), defined), ConditionExpression: aws.String("attribute_not_exists(pk)")}},
		{Delete: &types.Delete{TableName: aws.String(d.Table), Key: keyOf(pkView(name), skHead)}},
		{Put: &types.Put{TableName: aws.String(d.Table), Item: item{
			"defined": boolean(false), "purger": text(token), "until": number(d.Now().Add(purgeLease).UnixNano()),
		}.at(pkPipelines, name)}},
	}})
	var cancelled *types.TransactionCanceledException
	if errors.As(err, &cancelled) && aws.ToString(cancelled.CancellationReasons[0].Code) == "ConditionalCheckFailed" {
		return pipeline.Errorf(pipeline.CodeConflict, op, "pipeline %q is still defined", name).WithHint("Destroy the pipeline first.")
	}
	if err == nil {
		err = d.purge(ctx, name, token)
	}
	return d.fault(ctx, op, err)
}

// finishPurge takes over a purge whose process died. It returns false while a purge is under
// way.
func (d *dynamoMaintainer) finishPurge(ctx context.Context, name string) (bool, error) {
	listed, err := d.get(ctx, pkPipelines, name)
	if err != nil || listed.text("purger") == "" {
		return err == nil, err
	}
	now := d.Now()
	if now.UnixNano() < listed.int("until") {
		return false, nil
	}
	token := rand.Text()
	if err := d.holdPurge(ctx, name, listed.text("purger"), token, now.Add(purgeLease)); err != nil {
		if errors.Is(err, errOtherPurger) {
			return false, nil
		}
		return false, err
	}
	return true, d.purge(ctx, name, token)
}

var errOtherPurger = errors.New("another process has taken over the purge")

// holdPurge writes a sign of life, or moves the purge from one token to another.
func (d *dynamoMaintainer) holdPurge(ctx context.Context, name, from, to string, until time.Time) error {
	_, err := d.Client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: aws.String(d.Table), Key: keyOf(pkPipelines, name), ConditionExpression: aws.String("purger = :from"),
		UpdateExpression: aws.String("SET purger = :to, #until = :until"), ExpressionAttributeNames: map[string]string{"#until": "until"},
		ExpressionAttributeValues: item{":from": text(from), ":to": text(to), ":until": number(until.UnixNano())},
	})
	if cloud.Is(err, "ConditionalCheckFailedException") {
		return errOtherPurger
	}
	return err
}

// purge removes what is left of a history whose head is gone. If it fails, the next purge
// removes the rest.
func (d *dynamoMaintainer) purge(ctx context.Context, name, token string) (err error) {
	defer func() {
		if err != nil {
			_ = d.holdPurge(context.WithoutCancel(ctx), name, token, token, d.Now().Add(-time.Second)) // else it expires
		}
	}()
	partitions := map[string]bool{pkView(name): true, pkEvents(name): true}
	err = d.each(ctx, query{pk: pkRuns(name)}, func(i item) (bool, error) {
		partitions[pkRunsOfStage(name, i.text("stage"))] = true
		if b := i.text("build"); b != "" {
			partitions[pkRunsOfBuild(name, b)] = true
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	if err := d.decisions.forget(ctx, name); err != nil {
		return err
	}
	for pk := range partitions {
		if err := d.empty(ctx, name, token, pk); err != nil {
			return err
		}
	}
	if err := d.empty(ctx, name, token, pkRuns(name)); err != nil { // last: they say where their copies are
		return err
	}
	_, err = d.Client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
		TableName: aws.String(d.Table), Key: keyOf(pkPipelines, name), ConditionExpression: aws.String("purger = :token"), ExpressionAttributeValues: item{":token": text(token)},
	})
	if cloud.Is(err, "ConditionalCheckFailedException") {
		return nil // done, and its answer was lost; or another went on from here
	}
	return err
}

// forget removes decisions one by one: a caller who may remove them may not write them, and
// batch writes need that right.
func (d *dynamoDecisions) forget(ctx context.Context, name string) error {
	return d.each(ctx, query{pk: pkDecisions(name)}, func(i item) (bool, error) {
		_, err := d.Client.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: aws.String(d.Table), Key: keyOf(pkDecisions(name), i.text("sk"))})
		return true, err
	})
}

// maxDeletes is how many items DynamoDB deletes in one request.
const maxDeletes = 25

// empty removes all items of a partition, with the blobs that they name.
func (d *dynamoMaintainer) empty(ctx context.Context, name, token, pk string) error {
	var batch []types.WriteRequest
	flush := func() error {
		for len(batch) > 0 {
			if err := d.holdPurge(ctx, name, token, token, d.Now().Add(purgeLease)); err != nil {
				return err
			}
			out, err := d.Client.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{d.Table: batch}})
			if err != nil {
				return err
			}
			batch = out.UnprocessedItems[d.Table]
		}
		return nil
	}
	err := d.each(ctx, query{pk: pk}, func(i item) (bool, error) {
		if blob := i.text("blob"); blob != "" {
			if err := d.Blobs.Delete(ctx, blob); err != nil {
				return false, err
			}
		}
		batch = append(batch, types.WriteRequest{DeleteRequest: &types.DeleteRequest{Key: keyOf(pk, i.text("sk"))}})
		if len(batch) < maxDeletes {
			return true, nil
		}
		return true, flush()
	})
	if err != nil {
		return err
	}
	return flush()
}
