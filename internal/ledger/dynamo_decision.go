// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Decisions have a partition of their own, so that AWS can say who may decide: a
// role that may write decisions#NAME, and one that may write all else. Only what is
// in there counts as a decision. The view has a copy of those that are in the
// history.
//
// Who may write nothing else leaves a decision there with its event. It is pending,
// and counts at once. The next append of somebody who may write the history puts the
// event there first.
//
//	decisions#NAME  #head        n: how many decisions were left as pending, ever
//	decisions#NAME  decision#ID  a decision; of a pending one, event: its event
const skPending = skHead

func pkDecisions(name string) string { return "decisions#" + name }

const opDecide = "record decision"

// isDecision tells whether a batch is one decision and nothing else.
func isDecision(b pipeline.Batch) bool {
	if len(b.Events) != 1 || b.Fence != nil {
		return false
	}
	_, ok := soleDecision(b.Events[0])
	return ok
}

// soleDecision gives the decision of an event that changes nothing else.
func soleDecision(e pipeline.Event) (pipeline.Record, bool) {
	records, err := e.Records()
	if err != nil || len(records) != 1 || records[0].Kind != pipeline.RecordDecision || len(e.Facts.Gone) > 0 {
		return pipeline.Record{}, false
	}
	return records[0], true
}

// pendingEvent gives the event of a pending decision. It is false for one that is not
// that decision and nothing else: who may decide could leave any event there, and the
// history must not take it.
func pendingEvent(name string, i item) (pipeline.Event, bool) {
	var e pipeline.Event
	if err := json.Unmarshal([]byte(i.text("event")), &e); err != nil || e.Pipeline != name || e.Kind != pipeline.BuildDecided {
		return pipeline.Event{}, false
	}
	r, ok := soleDecision(e)
	return e, ok && skRecord(r.Key) == i.text("sk") && string(r.Doc) == i.text("doc")
}

func denied(err error) bool {
	return pipeline.CodeOf(err) == pipeline.CodeNotAllowed || cloud.Is(err, "AccessDeniedException")
}

// decide leaves a decision as pending.
func (d *Dynamo) decide(ctx context.Context, b pipeline.Batch) error {
	e := b.Events[0]
	e.Pipeline = b.Pipeline
	body, err := json.Marshal(e)
	if err == nil {
		e = pipeline.Event{}
		err = json.Unmarshal(body, &e) // what is not UTF-8 is replaced, as when it will be read
	}
	if err != nil {
		return pipeline.Errorf(pipeline.CodeInvalid, opDecide, "%w", err)
	}
	r, ok := soleDecision(e)
	if !ok {
		return pipeline.Errorf(pipeline.CodeInvalid, opDecide, "event %q is no decision", e.Kind)
	}
	id, pk, sk := rand.Text(), pkDecisions(b.Pipeline), skRecord(r.Key)
	put := &types.Put{TableName: aws.String(d.Table), Item: item{
		"doc": text(string(r.Doc)), "version": number(d.Now().UnixNano()), "kind": text(string(r.Kind)), "id": text(r.ID), "event": text(string(body)), "tx": text(id),
	}.at(pk, sk)}
	if want, ok := b.Expect[r.Key]; ok {
		put.ConditionExpression, put.ExpressionAttributeValues = aws.String("version = :expected"), item{":expected": number(want)}
		if want == 0 {
			put.ConditionExpression, put.ExpressionAttributeValues = aws.String("attribute_not_exists(pk)"), nil
		}
	}
	_, err = d.Client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
		{Put: put},
		{Update: &types.Update{TableName: aws.String(d.Table), Key: keyOf(pk, skPending), UpdateExpression: aws.String("ADD n :one"), ExpressionAttributeValues: item{":one": number(1)}}},
	}})
	if err == nil {
		return nil
	}
	if denied(err) {
		return pipeline.Errorf(pipeline.CodeNotAllowed, opDecide, "AWS does not let you decide: %w", err).
			WithHint("Take the role that may: the output ApproverRole of the stack that `penstock bootstrap` made.")
	}
	found, read := d.get(ctx, pk, sk)
	if read == nil && found.text("tx") == id { // the answer alone was lost
		return nil
	}
	var cancelled *types.TransactionCanceledException
	if want := b.Expect[r.Key]; read == nil && errors.As(err, &cancelled) && found.int("version") != want {
		return conflict(r.Key, want, found.int("version"))
	}
	return err
}

// decisions reads a pipeline's decisions, in the order of their versions.
func (d *Dynamo) decisions(ctx context.Context, name string) (list []item, err error) {
	err = d.each(ctx, query{pk: pkDecisions(name)}, func(i item) (bool, error) {
		if i.text("sk") != skPending {
			list = append(list, i)
		}
		return true, nil
	})
	slices.SortStableFunc(list, func(a, b item) int { return cmp.Compare(a.int("version"), b.int("version")) })
	return list, err
}

// heads reads a pipeline's head, and how many pending decisions the history does not
// have yet.
func (d *Dynamo) heads(ctx context.Context, name string) (head item, pending int64, err error) {
	keys := []map[string]types.AttributeValue{keyOf(pkView(name), skHead), keyOf(pkDecisions(name), skPending)}
	for len(keys) > 0 {
		out, err := d.Client.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{
			d.Table: {Keys: keys, ConsistentRead: aws.Bool(true)},
		}})
		if err != nil {
			return nil, 0, err
		}
		for _, found := range out.Responses[d.Table] {
			if i := item(found); i.text("pk") == pkView(name) {
				head = i
			} else {
				pending = i.int("n")
			}
		}
		keys = out.UnprocessedKeys[d.Table].Keys
	}
	if head == nil {
		return nil, 0, nil
	}
	return head, pending - head.int("absorbed"), nil
}

// absorb puts the events of pending decisions into the history. It gives false where
// another writer was first.
func (d *Dynamo) absorb(ctx context.Context, name string, head item, pending int64) (bool, error) {
	list, err := d.decisions(ctx, name)
	if err != nil {
		return false, err
	}
	view, _, err := d.view(ctx, name)
	if err != nil {
		return false, err
	}
	known := map[pipeline.Key]string{}
	for _, r := range view {
		known[r.Key] = string(r.Doc)
	}
	t := &transaction{id: rand.Text(), batch: pipeline.Batch{Pipeline: name}, fence: -1, absorbing: true, absorbs: pending}
	for _, i := range list {
		key := pipeline.Key{Kind: pipeline.RecordKind(i.text("kind")), ID: i.text("id")}
		if i.text("event") == "" || known[key] == i.text("doc") {
			continue
		}
		if len(t.batch.Events) == maxAbsorbed {
			t.absorbs = 0 // there are more
			break
		}
		if e, ok := pendingEvent(name, i); ok { // Verify names what is none
			t.batch.Events = append(t.batch.Events, e)
		}
	}
	w := newWrites()
	if err := d.seal(ctx, t, head, w); err != nil {
		return false, err
	}
	t.writes = w.transact(d.Table)
	return d.commit(ctx, t)
}

// maxAbsorbed is how many pending decisions are absorbed at once: each takes two
// items of a transaction.
const maxAbsorbed = 30

// deciding gives the records of a state: those of the view, but for decisions, which
// count only where they are in their partition.
func deciding(view []pipeline.Record, decisions []item) []pipeline.Record {
	records := slices.DeleteFunc(slices.Clone(view), func(r pipeline.Record) bool { return r.Kind == pipeline.RecordDecision })
	for _, i := range decisions {
		records = append(records, pipeline.Record{Key: pipeline.Key{Kind: pipeline.RecordDecision, ID: i.text("id")}, Version: i.int("version"), Doc: []byte(i.text("doc"))})
	}
	return records
}

// verifyDecisions checks that the history has the decisions that count, but for
// pending ones, and no other.
func (d *Dynamo) verifyDecisions(ctx context.Context, name string, view []pipeline.Record) error {
	list, err := d.decisions(ctx, name)
	if err != nil {
		return err
	}
	known := map[string]string{}
	for _, r := range view {
		if r.Kind == pipeline.RecordDecision {
			known[r.ID] = string(r.Doc)
		}
	}
	for _, i := range list {
		doc, ok := known[i.text("id")]
		if _, pending := pendingEvent(name, i); doc != i.text("doc") && !pending {
			return d.damaged(opVerify, "%q: the decision on %q is not what the events say", name, i.text("id"))
		}
		if ok {
			delete(known, i.text("id"))
		}
	}
	for id := range known {
		return d.damaged(opVerify, "%q: the events have a decision on %q that nobody took who may decide", name, id)
	}
	return nil
}
