// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
)

// What AWS's models say nothing of is refused, too.
func TestBeyondLimits(t *testing.T) {
	t.Parallel()
	cfg, ctx := cloudtest.New(t).Own(), t.Context()
	table, stacks, machines := dynamodb.NewFromConfig(cfg), cloudformation.NewFromConfig(cfg), ec2.NewFromConfig(cfg)
	if _, err := table.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: aws.String("items"), BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}},
	}); err != nil {
		t.Fatal(err)
	}
	item := func(id, bytes int) map[string]types.AttributeValue {
		return map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: fmt.Sprint(id)}, "v": &types.AttributeValueMemberL{
			Value: []types.AttributeValue{&types.AttributeValueMemberS{Value: strings.Repeat("x", bytes)}}}}
	}
	put := func(bytes int) error {
		_, err := table.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("items"), Item: item(0, bytes)})
		return err
	}
	transact := func(n, bytes int) error {
		in := &dynamodb.TransactWriteItemsInput{}
		for i := range n {
			in.TransactItems = append(in.TransactItems, types.TransactWriteItem{Put: &types.Put{TableName: aws.String("items"), Item: item(i, bytes)}})
		}
		_, err := table.TransactWriteItems(ctx, in)
		return err
	}
	template := func(outputs, comment int) error {
		text := "Resources: {Topic: {Type: AWS::SNS::Topic}}\nOutputs:\n" + strings.Repeat("#", comment) + "\n"
		for i := range outputs {
			text += fmt.Sprintf("  O%d: {Value: a}\n", i)
		}
		_, err := stacks.ValidateTemplate(ctx, &cloudformation.ValidateTemplateInput{TemplateBody: &text})
		return err
	}
	tag := func(key, value string) error {
		_, err := machines.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{"vpc-1"}, Tags: []ec2types.Tag{{Key: &key, Value: &value}}})
		return err
	}
	for name, tt := range map[string]struct {
		err         error
		code, wants string // "" for none
	}{
		"an item":                {put(400 << 10), "ValidationException", "Item size"},
		"an item that may be":    {put(390 << 10), "", ""},
		"one of a transaction":   {transact(1, 400<<10), "ValidationException", "Item size"},
		"all of a transaction":   {transact(11, 390<<10), "ValidationException", "4 MB"},
		"a transaction that may": {transact(10, 390<<10), "", ""},
		"a template":             {template(1, 51200), "ValidationError", "51200"},
		"its outputs":            {template(201, 0), "ValidationError", "Outputs"},
		"a template that may be": {template(200, 20000), "", ""},
		"a tag's name":           {tag(strings.Repeat("k", 129), "v"), "InvalidParameterValue", "128"},
		"a tag's value":          {tag("k", strings.Repeat("v", 257)), "InvalidParameterValue", "256"},
		"a tag of AWS":           {tag("aws:k", "v"), "InvalidParameterValue", "reserved"},
		"an image's name":        {second(machines.CreateImage(ctx, &ec2.CreateImageInput{InstanceId: aws.String("i-1"), Name: aws.String("a#b")})), "InvalidAMIName.Malformed", "a#b"},
		"a target group's name":  {second(elasticloadbalancingv2.NewFromConfig(cfg).CreateTargetGroup(ctx, &elasticloadbalancingv2.CreateTargetGroupInput{Name: aws.String("a_b")})), "ValidationError", "a_b"},
		"a message":              {second(sns.NewFromConfig(cfg).Publish(ctx, &sns.PublishInput{TopicArn: aws.String("arn:aws:sns:eu-west-1:1:t"), Message: aws.String(strings.Repeat("m", 262145))})), "InvalidParameter", "too long"},
		"the detail of an event": {second(eventbridge.NewFromConfig(cfg).PutEvents(ctx, &eventbridge.PutEventsInput{Entries: []eventtypes.PutEventsRequestEntry{{Source: aws.String("s"), DetailType: aws.String("d"), Detail: aws.String(`"` + strings.Repeat("m", 262144) + `"`)}}})), "ValidationException", "over the limit"},
	} {
		if tt.code == "" && tt.err != nil || tt.code != "" && (!cloud.Is(tt.err, tt.code) || !strings.Contains(tt.err.Error(), tt.wants)) {
			t.Errorf("%s: %.300v, want %s %s", name, tt.err, tt.code, tt.wants)
		}
	}
}

func second[T any](_ T, err error) error { return err }
