// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package notice

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	bus "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	topic "github.com/aws/aws-sdk-go-v2/service/sns/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Topics publishes to topics of SNS.
type Topics struct{ Client *sns.Client }

var _ Publisher = Topics{}

// Publish implements Publisher. The message is the notice in JSON; its attributes kind,
// pipeline and stage are for filter policies. In a FIFO topic the notices of a stage
// keep their order.
func (t Topics) Publish(ctx context.Context, to string, n pipeline.Notice) error {
	body, err := json.Marshal(n)
	if err != nil {
		return err
	}
	in := &sns.PublishInput{
		TopicArn: aws.String(to), Message: aws.String(string(body)), Subject: aws.String(subject(n)),
		MessageAttributes: map[string]topic.MessageAttributeValue{},
	}
	for name, value := range map[string]string{"kind": string(n.Kind), "pipeline": n.Pipeline, "stage": n.Stage} {
		if value != "" {
			in.MessageAttributes[name] = topic.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String(value)}
		}
	}
	if strings.HasSuffix(to, ".fifo") {
		in.MessageGroupId, in.MessageDeduplicationId = aws.String(n.Pipeline+"/"+n.Stage), aws.String(n.ID)
	}
	_, err = t.Client.Publish(ctx, in)
	return cloud.Fault(ctx, "publish notice", err)
}

// subject is at most 100 characters of ASCII, as SNS wants it.
func subject(n pipeline.Notice) string {
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, fmt.Sprintf("%s: %s %s %s", n.Pipeline, n.Stage, n.Kind, n.Build))
	text = strings.Join(strings.Fields(text), " ")
	return text[:min(len(text), 100)]
}

// Buses puts events on buses of EventBridge.
type Buses struct{ Client *eventbridge.Client }

var _ Publisher = Buses{}

// Publish implements Publisher: source "penstock", the kind as detail type, the notice
// as detail.
func (b Buses) Publish(ctx context.Context, to string, n pipeline.Notice) error {
	body, err := json.Marshal(n)
	if err != nil {
		return err
	}
	out, err := b.Client.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: []bus.PutEventsRequestEntry{{
		EventBusName: aws.String(to), Source: aws.String("penstock"), DetailType: aws.String(string(n.Kind)),
		Detail: aws.String(string(body)), Time: aws.Time(n.Time),
	}}})
	if err != nil {
		return cloud.Fault(ctx, "put event", err)
	}
	for _, e := range out.Entries {
		if e.ErrorCode != nil {
			return fmt.Errorf("put event: %s: %s", aws.ToString(e.ErrorCode), aws.ToString(e.ErrorMessage))
		}
	}
	return nil
}
