// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger_test

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// A verification of a table that goes on from an earlier one reads what has come since, in a
// few requests however long the history is. What it goes on from is believed only where the
// ledger agrees: a forgery shows, whether it is in the table or in what was kept, and after a
// day the whole is verified again.
func TestVerifiedGoesOn(t *testing.T) {
	t.Parallel()
	c, o := newTable(t)
	clock := time.Now()
	o.Now = func() time.Time { return clock }
	d := openTable(t, o)
	add := func(events ...pipeline.Event) {
		t.Helper()
		if _, err := d.Append(t.Context(), pipeline.Batch{Pipeline: "shop", Events: events}); err != nil {
			t.Fatal(err)
		}
	}
	large := func(id string) pipeline.Event {
		e := build(id)
		e.Facts.Build.Revision.Message = strings.Repeat("long ", 60_000)
		return e
	}
	add(pipeline.Event{Kind: pipeline.PipelineDefined, Facts: pipeline.Facts{Pipeline: &pipeline.Pipeline{Name: "shop"}}}, build("b-1"))
	for n := range 8 { // of which one build is left
		add(large("b-large"), build(fmt.Sprint("b-small-", n)))
	}
	add(build("b-large"))
	v, err := ledger.ViewDynamo(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(known ledger.Checked) (ledger.Checked, int) {
		t.Helper()
		c.ResetCalls()
		st, now, err := v.Verified(t.Context(), "shop", known)
		if err != nil {
			t.Fatal(err)
		}
		want, err := d.State(t.Context(), "shop")
		if err != nil || !reflect.DeepEqual(st, want) {
			t.Fatalf("the state is another than that of the ledger: %v", err)
		}
		head, err := d.Newest(t.Context(), "shop")
		if err != nil || now.Head != head {
			t.Fatalf("it was verified up to %v, and the head is %v: %v", now.Head, head, err)
		}
		return now, len(c.Calls()) - 3
	}
	whole, all := verify(ledger.Checked{})
	known, few := verify(whole)
	if !reflect.DeepEqual(known, whole) || few > 4 || all < few+4 {
		t.Errorf("the whole takes %d requests, and going on %d", all, few)
	}
	t.Logf("the whole of %d events takes %d requests, and going on %d", whole.Head.Sequence, all, few)

	add(build("b-2"), decides("b-1", pipeline.Rejected, "olga"), pipeline.Event{Kind: pipeline.BuildCollected, Facts: pipeline.Facts{Gone: []pipeline.Key{{Kind: pipeline.RecordBuild, ID: "b-small-1"}}}})
	known, few = verify(known)
	again, _ := verify(ledger.Checked{})
	if again.Whole = known.Whole; !reflect.DeepEqual(known, again) || few > 4 {
		t.Errorf("with new events it takes %d requests, and verifies %+v, not %+v", few, known, again)
	}

	for what, change := range map[string]func(*ledger.Checked){
		"another record":         func(k *ledger.Checked) { k.Records["build b-1"] = "0" },
		"a record less":          func(k *ledger.Checked) { delete(k.Records, "build b-1") },
		"another head":           func(k *ledger.Checked) { k.Head.Hash = strings.Repeat("0", 64) },
		"a head that is to come": func(k *ledger.Checked) { k.Head.Sequence += 10 },
		"from yesterday":         func(k *ledger.Checked) { k.Whole = clock.Add(-25 * time.Hour) },
		"from tomorrow":          func(k *ledger.Checked) { k.Whole = clock.Add(time.Hour) },
	} {
		lie := known
		lie.Records = maps.Clone(known.Records)
		change(&lie)
		now, n := verify(lie)
		if now.Whole = known.Whole; !reflect.DeepEqual(now, known) || n < all {
			t.Errorf("from %s, it takes %d requests, and verifies %+v", what, n, now)
		}
	}

	forge := func(pk, sk, old, new string) {
		t.Helper()
		key := map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: pk}, "sk": &types.AttributeValueMemberS{Value: sk}}
		out, err := o.Client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String("ledger"), Key: key})
		if err != nil || out.Item == nil {
			t.Fatal(sk, err)
		}
		out.Item["doc"] = &types.AttributeValueMemberS{Value: strings.Replace(out.Item["doc"].(*types.AttributeValueMemberS).Value, old, new, 1)}
		if _, err := o.Client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("ledger"), Item: out.Item}); err != nil {
			t.Fatal(err)
		}
	}
	event := func(seq int64) string { return fmt.Sprintf("%016d", seq) }
	for what, item := range map[string][2]string{
		"a record":         {"view#shop", "build#b-1"},
		"the newest event": {"events#shop", event(known.Head.Sequence)},
	} {
		forge(item[0], item[1], "b-", "x-")
		if _, _, err := v.Verified(t.Context(), "shop", known); pipeline.CodeOf(err) != pipeline.CodeCorrupt {
			t.Errorf("%s was forged: %v", what, err)
		}
		forge(item[0], item[1], "x-", "b-")
	}
	add(build("b-3"))
	forge("events#shop", event(known.Head.Sequence+1), "b-3", "x-3")
	if _, _, err := v.Verified(t.Context(), "shop", known); pipeline.CodeOf(err) != pipeline.CodeCorrupt {
		t.Errorf("a new event was forged: %v", err)
	}
	forge("events#shop", event(known.Head.Sequence+1), "x-3", "b-3")
	known, _ = verify(known)

	forge("events#shop", event(2), "b-1", "x-1") // which nothing reads any more
	if _, _, err := v.Verified(t.Context(), "shop", known); err != nil {
		t.Errorf("an old event was forged: %v", err)
	}
	clock = clock.Add(25 * time.Hour)
	if _, _, err := v.Verified(t.Context(), "shop", known); pipeline.CodeOf(err) != pipeline.CodeCorrupt {
		t.Errorf("an old event was forged, a day later: %v", err)
	}
}
