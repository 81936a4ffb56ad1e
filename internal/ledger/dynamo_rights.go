// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
)

// MayRecord reports whether AWS lets the caller write history. Callers that run stages or
// launch environments must.
func (d *Dynamo) MayRecord(ctx context.Context) (bool, error) { return d.may(ctx, pkView("")) }

// MayDecide reports whether AWS lets the caller write decisions.
func (d *Dynamo) MayDecide(ctx context.Context) (bool, error) { return d.may(ctx, pkDecisions("")) }

// may reports whether the caller may write items of a partition. It asks for a write under a
// condition that is never met: AWS checks the permission first.
func (d *Dynamo) may(ctx context.Context, pk string) (bool, error) {
	_, err := d.Client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: aws.String(d.Table), Item: item{}.at(pk, "probe"),
		ConditionExpression: aws.String("attribute_exists(pk) AND attribute_not_exists(pk)"),
	})
	switch {
	case cloud.Is(err, "ConditionalCheckFailedException"):
		return true, nil
	case denied(err):
		return false, nil
	default:
		return false, d.fault(ctx, "examine rights", err)
	}
}
