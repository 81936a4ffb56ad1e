// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/artifact"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger/ledgertest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

// newTable makes a table and a bucket as the bootstrap stack does.
func newTable(t testing.TB) (*cloudtest.Cloud, ledger.DynamoOptions) {
	t.Helper()
	c := cloudtest.New(t)
	c.Given(map[string]string{"TableName": "ledger", "BucketName": "ledger-" + c.ID})
	client := dynamodb.NewFromConfig(c.Own())
	attribute := func(name string) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: aws.String(name), AttributeType: types.ScalarAttributeTypeS}
	}
	_, err := client.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: aws.String("ledger"), BillingMode: types.BillingModePayPerRequest, AttributeDefinitions: []types.AttributeDefinition{attribute("pk"), attribute("sk")},
		KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash}, {AttributeName: aws.String("sk"), KeyType: types.KeyTypeRange}},
	})
	if err != nil {
		t.Fatal(err)
	}
	objects := s3.NewFromConfig(c.Own(), func(o *s3.Options) { o.UsePathStyle = true })
	bucket := "ledger-" + c.ID
	_, err = objects.CreateBucket(t.Context(), &s3.CreateBucketInput{
		Bucket: aws.String(bucket), CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: cloudtest.Region},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, ledger.DynamoOptions{
		Client: dynamodb.NewFromConfig(c.Own()), Table: "ledger", Blobs: artifact.NewBlobs(s3.NewFromConfig(c.Own(), func(o *s3.Options) { o.UsePathStyle = true }), bucket),
	}
}

func openTable(t testing.TB, o ledger.DynamoOptions) *ledger.Dynamo {
	t.Helper()
	d, err := ledger.OpenDynamo(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDynamoConformance(t *testing.T) {
	t.Parallel()
	ledgertest.Run(t, ledgertest.Backend{MaxBatch: 10, MaxRuns: 300, New: func(t testing.TB) ledgertest.Opener {
		_, options := newTable(t)
		return func(t testing.TB, o ledgertest.Options) (pipeline.Ledger, error) {
			own := options
			own.Now, own.Dead = o.Now, o.Dead
			return ledger.OpenDynamo(t.Context(), own)
		}
	}})
}

func build(id string) pipeline.Event {
	return pipeline.Event{Kind: pipeline.BuildOffered, Actor: "ada", Facts: pipeline.Facts{Build: &pipeline.Build{ID: id, Pipeline: "shop"}}}
}

// Whichever request of an append fails or loses its answer, the events are there
// once or not at all, and the ledger goes on.
func TestDynamoFaults(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		c, o := newTable(t)
		cfg := c.Own()
		for _, attempts := range []int{1, 3} {
			cfg.RetryMaxAttempts = attempts
			o.Client = dynamodb.NewFromConfig(cfg)
			d := openTable(t, o)
			for k := 1; k <= 3; k++ {
				before, err := d.Head(t.Context(), "shop")
				if err != nil {
					t.Fatal(err)
				}
				c.Fail(cloudtest.Fault{Service: "dynamodb", Nth: k, Code: "InternalServerError", Status: 500, After: after})
				sealed, err := d.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{build("b-1"), build("b-2")}})
				c.Mend()
				head, headErr := d.Head(t.Context(), "shop")
				if headErr != nil {
					t.Fatal(headErr)
				}
				if err == nil && (head != before+2 || sealed[1].Seq != head) || err != nil && head != before {
					t.Errorf("request %d (after %v, %d attempts) fails: append gave %v, and the head went from %d to %d", k, after, attempts, err, before, head)
				}
				if _, err := d.Verify(t.Context(), "shop"); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// A table that is throttled is asked again, also where a transaction says so of one of its
// items, and nothing is written twice.
func TestDynamoThrottled(t *testing.T) {
	t.Parallel()
	c, o := newTable(t)
	d := openTable(t, o)
	for n, f := range []cloudtest.Fault{
		{Action: "TransactWriteItems", Code: "ThrottlingException", Times: 4},
		{Action: "TransactWriteItems", Code: "ProvisionedThroughputExceededException", Times: 4},
		{Action: "TransactWriteItems", Code: "TransactionCanceledException", Message: "Transaction cancelled, please refer cancellation reasons for specific reasons [None, ThrottlingError]", Reasons: []string{"None", "ThrottlingError"}, Times: 4},
		{Action: "TransactWriteItems", Code: "ThrottlingException", Times: 2, After: true},
		{Action: "BatchGetItem", Code: "ThrottlingException", Times: 2},
	} {
		f.Service = "dynamodb"
		c.Fail(f)
		if _, err := d.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{build(fmt.Sprintf("b-%d", n))}}); err != nil {
			t.Errorf("%s of %s: %v", f.Code, f.Action, err)
		}
		c.Mend()
		if got, err := d.Verify(t.Context(), "shop"); err != nil || got != int64(n)+1 {
			t.Errorf("after %s of %s there are %d events, %v", f.Code, f.Action, got, err)
		}
	}
}

func TestDynamoLargeDocument(t *testing.T) {
	t.Parallel()
	c, o := newTable(t)
	d := openTable(t, o)
	large := build("b-1")
	large.Facts.Build.Revision.Message = strings.Repeat("x", 500_000)
	if _, err := d.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{large, build("b-2")}}); err != nil {
		t.Fatal(err)
	}
	st, err := d.State(t.Context(), "shop")
	if err != nil || len(st.Builds["b-1"].Revision.Message) != 500_000 {
		t.Errorf("read %d builds, %v", len(st.Builds), err)
	}
	if n, err := d.Verify(t.Context(), ""); err != nil || n != 2 {
		t.Errorf("verified %d events, %v", n, err)
	}
	objects, bucket := s3.NewFromConfig(c.Own(), func(o *s3.Options) { o.UsePathStyle = true }), aws.String("ledger-"+c.ID)
	listed, err := objects.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: bucket})
	if err != nil || len(listed.Contents) == 0 {
		t.Fatalf("the bucket has %v, %v", listed, err)
	}
	for _, o := range listed.Contents {
		if _, err := objects.PutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: o.Key, Body: strings.NewReader("{}")}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := openTable(t, o).State(t.Context(), "shop"); pipeline.CodeOf(err) != pipeline.CodeCorrupt || !strings.Contains(err.Error(), "not what was recorded") {
		t.Errorf("documents were replaced: %v", err)
	}
	if err := d.Purge(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	listed, err = objects.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: bucket})
	if err != nil || len(listed.Contents) != 0 {
		t.Errorf("after the purge the bucket has %v, %v", listed, err)
	}
}

// A transaction has no more than DynamoDB takes, however much its events bring: what is
// beyond that is kept beside the table, a decision among it.
func TestDynamoLargeTransaction(t *testing.T) {
	t.Parallel()
	_, o := newTable(t)
	d := openTable(t, o)
	var events []pipeline.Event
	for n := range 12 { // each twice: in its event, and in its record
		e := build(fmt.Sprintf("b-%d", n))
		e.Facts.Build.Revision.Message = strings.Repeat("x", 300_000)
		events = append(events, e)
	}
	decided := pipeline.Event{Kind: pipeline.BuildDecided, Facts: pipeline.Facts{Decision: &pipeline.Decision{
		Pipeline: "shop", Stage: "exploratory", Build: "b-1", Result: pipeline.Approved, Reason: strings.Repeat("y", 300_000), Actor: "alice",
	}}}
	if _, err := d.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: append(events, decided)}); err != nil {
		t.Fatal(err)
	}
	st, err := d.State(t.Context(), "shop")
	if err != nil || len(st.Builds) != 12 || len(st.Builds["b-11"].Revision.Message) != 300_000 || len(st.Decisions) != 1 {
		t.Errorf("read %d builds, %d decisions, %v", len(st.Builds), len(st.Decisions), err)
	}
	for _, got := range st.Decisions {
		if len(got.Reason) != 300_000 {
			t.Errorf("the decision has a reason of %d characters", len(got.Reason))
		}
	}
	if n, err := d.Verify(t.Context(), ""); err != nil || n != 13 {
		t.Errorf("verified %d events, %v", n, err)
	}
}

// A purge that ends after any of its requests is finished by the next append.
func TestDynamoPurgeInterrupted(t *testing.T) {
	t.Parallel()
	c, o := newTable(t)
	cfg := c.Own()
	cfg.RetryMaxAttempts = 1
	o.Client = dynamodb.NewFromConfig(cfg)
	d := openTable(t, o)
	run := pipeline.Event{Kind: pipeline.RunEnded, Facts: pipeline.Facts{Run: &pipeline.Run{ID: "r-1", Pipeline: "shop", Stage: "commit", Build: "b-1", Status: pipeline.RunPassed, Kind: pipeline.KindStage}}}
	for k := 1; ; k++ {
		if _, err := d.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{build("b-1"), run}}); err != nil {
			t.Fatal(err)
		}
		c.Fail(cloudtest.Fault{Service: "dynamodb", Nth: k, Code: "AccessDeniedException"})
		err := d.Purge(t.Context(), "shop")
		c.Mend()
		if err == nil {
			break
		}
		if k == 1 {
			continue // nothing was purged
		}
		st, err := d.State(t.Context(), "shop")
		if err != nil || len(st.Builds) > 0 {
			t.Errorf("request %d: the state still has %v, %v", k, st.Builds, err)
		}
		if _, err := d.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{build("b-2")}}); err != nil {
			t.Fatal(err)
		}
		if n, err := d.Verify(t.Context(), "shop"); err != nil || n != 1 {
			t.Errorf("request %d: then %d events, %v", k, n, err)
		}
		if err := d.Purge(t.Context(), "shop"); err != nil {
			t.Fatal(err)
		}
	}
}

// Reading is cheap, and tampering shows.
func TestDynamoRequestsAndTampering(t *testing.T) {
	t.Parallel()
	c, o := newTable(t)
	d := openTable(t, o)
	for range 3 {
		if _, err := d.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: []pipeline.Event{build("b-1"), build("b-2")}}); err != nil {
			t.Fatal(err)
		}
	}
	c.ResetCalls()
	if _, err := d.State(t.Context(), "shop"); err != nil || len(c.Calls()) != 2 {
		t.Errorf("a state took %v, %v", c.Calls(), err)
	}
	key := func(pk, sk string) map[string]types.AttributeValue {
		return map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: pk}, "sk": &types.AttributeValueMemberS{Value: sk}}
	}
	for name, k := range map[string]map[string]types.AttributeValue{"event 3": key("events#shop", "0000000000000003"), `build "b-1"`: key("view#shop", "build#b-1")} {
		out, err := o.Client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String("ledger"), Key: k})
		if err != nil || out.Item == nil {
			t.Fatal(name, err)
		}
		forged := map[string]types.AttributeValue{}
		for attribute, v := range out.Item {
			forged[attribute] = v
		}
		forged["doc"] = &types.AttributeValueMemberS{Value: strings.Replace(out.Item["doc"].(*types.AttributeValueMemberS).Value, "b-1", "b-9", 1)}
		put := func(item map[string]types.AttributeValue) {
			if _, err := o.Client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("ledger"), Item: item}); err != nil {
				t.Fatal(err)
			}
		}
		put(forged)
		if _, err := d.Verify(t.Context(), ""); pipeline.CodeOf(err) != pipeline.CodeCorrupt || !strings.Contains(err.Error(), name) {
			t.Errorf("a forged %s: %v", name, err)
		}
		put(out.Item)
	}
	if n, err := d.Verify(t.Context(), ""); err != nil || n != 6 {
		t.Errorf("restored: %d, %v", n, err)
	}
	o.Table = "nowhere"
	if _, err := ledger.OpenDynamo(t.Context(), o); pipeline.CodeOf(err) != pipeline.CodeNotFound || !strings.Contains(reason.Hint(err), "bootstrap") {
		t.Errorf("no table: %v", err)
	}
	o.Table = "ledger"
	_, err := o.Client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("ledger"), Item: map[string]types.AttributeValue{
		"pk": &types.AttributeValueMemberS{Value: "meta"}, "sk": &types.AttributeValueMemberS{Value: "schema"}, "version": &types.AttributeValueMemberN{Value: "99"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.OpenDynamo(t.Context(), o); pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), "99") {
		t.Errorf("a newer layout: %v", err)
	}
}
