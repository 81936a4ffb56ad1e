// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package notice

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

var example = pipeline.Notice{
	ID: "shop-7-0", Kind: pipeline.NoticeDeployed, Pipeline: "shop", Stage: "production", Build: "b-1",
	Text: "production runs b-1.", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
}

func TestTopics(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	client, own := sns.NewFromConfig(c.Config()), sns.NewFromConfig(c.Own())
	topic, err := own.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("shop")})
	if err != nil {
		t.Fatal(err)
	}
	c.Given(map[string]string{"Topic": aws.ToString(topic.TopicArn)})
	got := make(chan string, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- string(body)
	}))
	defer receiver.Close()
	if _, err := own.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: topic.TopicArn, Protocol: aws.String("http"), Endpoint: aws.String(receiver.URL)}); err != nil {
		t.Fatal(err)
	}
	if err := (Topics{client}).Publish(t.Context(), aws.ToString(topic.TopicArn), example); err != nil {
		t.Fatal(err)
	}
	var envelope struct{ Subject, Message string }
	if err := json.Unmarshal([]byte(<-got), &envelope); err != nil {
		t.Fatal(err)
	}
	var n pipeline.Notice
	if err := json.Unmarshal([]byte(envelope.Message), &n); err != nil || n != example {
		t.Errorf("message %s: %v", envelope.Message, err)
	}
	if envelope.Subject != "shop: production deployed b-1" {
		t.Errorf("envelope %+v", envelope)
	}
	if err := (Topics{client}).Publish(t.Context(), aws.ToString(topic.TopicArn)+"x", example); err == nil {
		t.Error("a topic that does not exist took it")
	}
}

func TestSubject(t *testing.T) {
	n := pipeline.Notice{Pipeline: "shöp\n", Kind: pipeline.NoticeBaked, Stage: strings.Repeat("long ", 40)}
	if got := subject(n); len(got) != 100 || strings.ContainsAny(got, "ö\n") || !strings.HasPrefix(got, "sh?p?: long") {
		t.Errorf("%q", got)
	}
}

func TestBuses(t *testing.T) {
	t.Parallel()
	c := cloudtest.New(t)
	client, own := eventbridge.NewFromConfig(c.Config()), eventbridge.NewFromConfig(c.Own())
	made, err := own.DescribeEventBus(t.Context(), &eventbridge.DescribeEventBusInput{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = own.CreateArchive(t.Context(), &eventbridge.CreateArchiveInput{
		ArchiveName: aws.String("deployed"), EventSourceArn: made.Arn, EventPattern: aws.String(`{"source": ["penstock"], "detail-type": ["deployed"]}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	other := example
	other.Kind = pipeline.NoticeFailed
	for _, n := range []pipeline.Notice{example, other} {
		if err := (Buses{client}).Publish(t.Context(), "default", n); err != nil {
			t.Fatal(err)
		}
	}
	archive, err := own.DescribeArchive(t.Context(), &eventbridge.DescribeArchiveInput{ArchiveName: aws.String("deployed")})
	if err != nil || archive.EventCount != 1 {
		t.Errorf("who listens for what was deployed got %+v, %v", archive, err)
	}
}
