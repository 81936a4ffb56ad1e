// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// Decisions have a partition of their own, so that AWS can say who may decide: one role may
// write decisions#NAME, another may write all else. Only what is in that partition counts as
// a decision. The view has a copy of those that are in the history.
//
// A caller who may write nothing else leaves a decision there with its event. It is pending,
// and counts at once. The next append by a caller who may write the history puts all pending
// events there first, in the order in which they were left.
//
//	decisions#NAME  #head        n: how many events were left, ever
//	decisions#NAME  decision#ID  a decision, as it was taken last
//	decisions#NAME  pending#N    the event that was left as number N
const skPending = skHead

func skLeft(n int64) string { return fmt.Sprintf("pending#%016d", n) }

func pkDecisions(name string) string { return "decisions#" + name }

const opDecide = "record decision"

// dynamoDecisions are the decisions, in partitions of their own.
type dynamoDecisions struct{ *table }

// isDecision reports whether a batch is one decision and nothing else.
func isDecision(b pipeline.Batch) bool {
	if len(b.Events) != 1 || b.Fence != nil {
		return false
	}
	_, ok := soleDecision(b.Events[0])
	return ok
}

// soleDecision returns the decision of an event that changes nothing else.
func soleDecision(e pipeline.Event) (pipeline.Record, bool) {
	records, err := e.Records()
	if err != nil || len(records) != 1 || records[0].Kind != pipeline.RecordDecision || len(e.Facts.Gone) > 0 {
		return pipeline.Record{}, false
	}
	return records[0], true
}

// leftEvent returns the event that was left with a pending decision. It returns false for an
// event that is more than a decision: a caller who may decide could leave any event there,
// and the history must not take it.
func leftEvent(name string, i item) (pipeline.Event, pipeline.Record, bool) {
	var e pipeline.Event
	if err := json.Unmarshal([]byte(i.text("event")), &e); err != nil || e.Pipeline != name || e.Kind != pipeline.BuildDecided {
		return pipeline.Event{}, pipeline.Record{}, false
	}
	r, ok := soleDecision(e)
	return e, r, ok
}

func denied(err error) bool {
	return pipeline.CodeOf(err) == pipeline.CodeNotAllowed || cloud.Is(err, "AccessDeniedException")
}

// decide leaves a decision as pending.
func (d *dynamoDecisions) decide(ctx context.Context, b pipeline.Batch) error {
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
	id := rand.Text()
	return poll.Until(ctx, contention, func(ctx context.Context) (poll.Probe, error) {
		head, err := d.get(ctx, pkDecisions(b.Pipeline), skPending)
		if err != nil {
			return poll.Probe{}, err
		}
		done, err := d.leave(ctx, b, r, body, head.int("n"), id)
		return poll.Probe{Done: done, State: "another was first"}, err
	})
}

// leave writes a decision and its event, after n others. It returns false if another was
// first. The ID distinguishes it from that of another writer.
func (d *dynamoDecisions) leave(ctx context.Context, b pipeline.Batch, r pipeline.Record, event []byte, n int64, id string) (bool, error) {
	pk, sk, w := pkDecisions(b.Pipeline), skRecord(r.Key), newWrites()
	left := w.at(pk, skLeft(n+1))
	left.item, left.condition = item{"event": text(string(event)), "tx": text(id)}.at(pk, skLeft(n+1)), "attribute_not_exists(pk)"
	taken := w.at(pk, sk)
	taken.item = item{"doc": text(string(r.Doc)), "version": number(d.Now().UnixNano()), "kind": text(string(r.Kind)), "id": text(r.ID)}.at(pk, sk)
	want, expected := b.Expect[r.Key]
	if expected {
		taken.condition, taken.values = "version = :expected", item{":expected": number(want)}
		if want == 0 {
			taken.condition, taken.values = "attribute_not_exists(pk)", nil
		}
	}
	// Its condition is that of the event, whose number no other can have.
	w.at(pk, skPending).item = item{"n": number(n + 1)}.at(pk, skPending)
	_, err := d.Client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: w.transact(d.Table)})
	var cancelled *types.TransactionCanceledException
	switch {
	case err == nil:
		return true, nil
	case denied(err):
		return false, pipeline.Errorf(pipeline.CodeNotAllowed, opDecide, "AWS does not let you decide: %w", err).
			WithAdvice(pipeline.Advice{Verb: pipeline.VerbDecideRole})
	}
	if there, read := d.get(ctx, pk, skLeft(n+1)); read == nil && there.text("tx") == id { // the answer alone was lost
		return true, nil
	}
	if !errors.As(err, &cancelled) {
		return false, unlessBusy(err)
	}
	if found, read := d.get(ctx, pk, sk); expected && read == nil && found.int("version") != want {
		return false, conflict(r.Key, want, found.int("version"))
	}
	return false, refused(cancelled)
}

// list reads a pipeline's decisions, in the order of their versions.
func (d *dynamoDecisions) list(ctx context.Context, name string) (list []item, err error) {
	err = d.each(ctx, query{pk: pkDecisions(name), before: skLeft(0)}, func(i item) (bool, error) {
		if i.text("sk") == skPending {
			return true, nil
		}
		doc, err := d.doc(ctx, i)
		i["doc"] = text(string(doc))
		list = append(list, i)
		return err == nil, err
	})
	slices.SortStableFunc(list, func(a, b item) int { return cmp.Compare(a.int("version"), b.int("version")) })
	return list, err
}

// heads reads a pipeline's head, and how many pending decisions the history does not
// have yet.
func (d *table) heads(ctx context.Context, name string) (head item, pending int64, err error) {
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

// Left returns the events of pending decisions, with the sequence numbers that they get in the
// history: the next append puts them there first, in this order. It is empty for none.
func (d *dynamoReader) Left(ctx context.Context, name string) (events []pipeline.Event, err error) {
	head, pending, err := d.heads(ctx, name)
	if err != nil || pending <= 0 {
		return nil, d.fault(ctx, "read pending decisions", err)
	}
	err = d.each(ctx, query{pk: pkDecisions(name), after: skLeft(head.int("absorbed"))}, func(i item) (bool, error) {
		if e, _, ok := leftEvent(name, i); ok {
			e.Seq = head.int("seq") + int64(len(events)) + 1
			events = append(events, e)
		}
		pending--
		return pending > 0, nil
	})
	return events, d.fault(ctx, "read pending decisions", err)
}

// absorb puts the events of pending decisions into the history. It returns false if another
// writer was first.
func (d *dynamoAppender) absorb(ctx context.Context, name string, head item, pending int64) (bool, error) {
	t := &transaction{id: rand.Text(), batch: pipeline.Batch{Pipeline: name}, fence: -1, absorbing: true}
	err := d.each(ctx, query{pk: pkDecisions(name), after: skLeft(head.int("absorbed"))}, func(i item) (bool, error) {
		if e, _, ok := leftEvent(name, i); ok { // Verify names what is no decision
			t.batch.Events = append(t.batch.Events, e)
		}
		t.absorbs++
		return t.absorbs < maxAbsorbed, nil
	})
	if err != nil {
		return false, err
	}
	if t.absorbs == 0 { // counted, and not there
		t.absorbs = pending
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

// deciding returns the records of a state: those of the view, except for decisions, which
// count only if they are in their partition.
func deciding(view []pipeline.Record, decisions []item) []pipeline.Record {
	records := slices.DeleteFunc(slices.Clone(view), func(r pipeline.Record) bool { return r.Kind == pipeline.RecordDecision })
	for _, i := range decisions {
		records = append(records, pipeline.Record{Key: pipeline.Key{Kind: pipeline.RecordDecision, ID: i.text("id")}, Version: i.int("version"), Doc: []byte(i.text("doc"))})
	}
	return records
}

// verify checks that the history has the decisions that count, except for pending ones, and
// no others. It returns those that count.
func (d *dynamoDecisions) verify(ctx context.Context, name string, view []pipeline.Record, head item) (list []item, err error) {
	if list, err = d.list(ctx, name); err != nil {
		return nil, err
	}
	said := map[string]string{} // what the events say, and those that are pending
	for _, r := range view {
		if r.Kind == pipeline.RecordDecision {
			said[r.ID] = string(r.Doc)
		}
	}
	err = d.each(ctx, query{pk: pkDecisions(name), after: skLeft(0)}, func(i item) (bool, error) {
		_, r, ok := leftEvent(name, i)
		if !ok {
			return false, d.damaged(opVerify, "%q: %s was left as a decision, and is none", name, i.text("sk"))
		}
		if i.text("sk") > skLeft(head.int("absorbed")) {
			said[r.ID] = string(r.Doc)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	for _, i := range list {
		if id := i.text("id"); said[id] != i.text("doc") {
			return nil, d.damaged(opVerify, "%q: the decision on %q is not what the events say", name, id)
		}
		delete(said, i.text("id"))
	}
	for id := range said {
		return nil, d.damaged(opVerify, "%q: the events have a decision on %q that no authorized person took", name, id)
	}
	return list, nil
}
