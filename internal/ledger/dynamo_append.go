// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// maxItems is how many items DynamoDB takes in one transaction.
const maxItems = 100

// contention is how an append waits for others that append to the same pipeline.
var contention = poll.Schedule{First: 5 * time.Millisecond, Max: 500 * time.Millisecond, Factor: 1.6, Limit: 2 * time.Minute, What: "other writers of the pipeline"}

// dynamoAppender records what happens, under the leases that the batches name. It first puts
// pending decisions into the history, and finishes a purge whose process died.
type dynamoAppender struct {
	*table
	decisions   *dynamoDecisions
	leases      *dynamoLeaser
	maintenance *dynamoMaintainer
	turns       sync.Map // by pipeline: a chan struct{} that its appending caller has put something into
}

// Append implements pipeline.Ledger. It is one transaction, on the condition that the head is
// the one that the events were sealed after. If another writer was first, the events are
// sealed again. The decision of a caller who may write nothing else is left as pending, and
// no event is returned for it yet.
func (d *dynamoAppender) Append(ctx context.Context, b pipeline.Batch) (sealed []pipeline.Event, err error) {
	if b.Pipeline == "" {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, opAppend, "the batch names no pipeline")
	}
	if err := ctx.Err(); err != nil {
		return nil, &pipeline.Error{Code: pipeline.CodeCancelled, Op: opAppend, Err: err}
	}
	done, err := d.turn(ctx, b.Pipeline)
	if err != nil {
		return nil, err
	}
	defer done()
	// If it were cancelled in the middle, nobody would know whether it took effect.
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), contention.Limit)
	defer cancel()
	err = poll.Until(whole, contention, func(whole context.Context) (poll.Probe, error) {
		if err := ctx.Err(); err != nil { // nothing was written yet
			return poll.Probe{}, &pipeline.Error{Code: pipeline.CodeCancelled, Op: opAppend, Err: err}
		}
		t, err := d.prepare(whole, b)
		if err != nil || t == nil {
			return poll.Probe{State: "its history is being purged"}, err
		}
		done, err := d.commit(whole, t)
		sealed = t.sealed
		return poll.Probe{Done: done, State: "another was first"}, err
	})
	if denied(err) && isDecision(b) && !b.Sealed {
		return nil, d.fault(whole, opDecide, d.decisions.decide(whole, b))
	}
	if err != nil {
		return nil, d.fault(whole, opAppend, err)
	}
	return sealed, nil
}

// turn waits until no other caller of this process appends to the pipeline: they would only
// conflict. The caller must call done.
func (d *dynamoAppender) turn(ctx context.Context, name string) (done func(), err error) {
	v, _ := d.turns.LoadOrStore(name, make(chan struct{}, 1))
	turn := v.(chan struct{})
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, &pipeline.Error{Code: pipeline.CodeCancelled, Op: opAppend, Err: ctx.Err()}
	}
}

// transaction is an append that is about to be made.
type transaction struct {
	id     string // distinguishes its events from equal ones of another writer
	batch  pipeline.Batch
	writes []types.TransactWriteItem
	fence  int                  // index of the lease's check; -1 for none
	expect map[int]pipeline.Key // what the checks of versions are of
	sealed []pipeline.Event
	blobs  []string // that were stored for it
	inline int      // bytes of the documents that are in its items
	// absorbing: its events are those of pending decisions, whose items are there.
	absorbing bool
	absorbs   int64 // how many more pending decisions the history has with it
}

// write is the change of one item.
type write struct {
	item      item // nil: none is put
	gone      bool // the item is deleted
	key       item
	condition string
	values    item
}

// writes are the writes of a transaction, in the order in which they are begun.
type writes struct {
	byKey map[[2]string]*write
	order [][2]string
}

func newWrites() *writes { return &writes{byKey: map[[2]string]*write{}} }

// at returns the write of an item.
func (w *writes) at(pk, sk string) *write {
	k := [2]string{pk, sk}
	if w.byKey[k] == nil {
		w.byKey[k] = &write{key: keyOf(pk, sk)}
		w.order = append(w.order, k)
	}
	return w.byKey[k]
}

// transact returns the writes as DynamoDB takes them.
func (w *writes) transact(table string) []types.TransactWriteItem {
	var list []types.TransactWriteItem
	for _, k := range w.order {
		list = append(list, w.byKey[k].transact(table))
	}
	return list
}

// prepare seals the events after the present head, and returns the changes. It returns nil
// while an earlier history of the name is being purged, or if pending decisions come first.
func (d *dynamoAppender) prepare(ctx context.Context, b pipeline.Batch) (*transaction, error) {
	head, pending, err := d.heads(ctx, b.Pipeline)
	if err != nil {
		return nil, err
	}
	if pending > 0 {
		_, err := d.absorb(ctx, b.Pipeline, head, pending)
		return nil, err
	}
	if head == nil {
		if done, err := d.maintenance.finishPurge(ctx, b.Pipeline); err != nil || !done {
			return nil, err
		}
	}
	t := &transaction{id: rand.Text(), batch: b, fence: -1, expect: map[int]pipeline.Key{}}
	writes := newWrites()
	if err := d.seal(ctx, t, head, writes); err != nil {
		return nil, err
	}
	expected := map[[2]string]pipeline.Key{}
	for _, k := range slices.SortedFunc(maps.Keys(b.Expect), func(x, y pipeline.Key) int { return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.ID, y.ID)) }) {
		pk, sk := location(b.Pipeline, k)
		w := writes.at(pk, sk)
		expected[[2]string{pk, sk}] = k
		w.condition, w.values = "version = :expected", item{":expected": number(b.Expect[k])}
		if b.Expect[k] == 0 {
			w.condition, w.values = "attribute_not_exists(pk)", nil
		}
	}
	for n, k := range writes.order {
		if want, ok := expected[k]; ok {
			t.expect[n] = want
		}
	}
	t.writes = writes.transact(d.Table)
	if b.Fence != nil {
		t.fence = len(t.writes)
		t.writes = append(t.writes, types.TransactWriteItem{ConditionCheck: &types.ConditionCheck{
			TableName: aws.String(d.Table), Key: keyOf(pkLease, b.Fence.Key), ConditionExpression: aws.String("held = :true AND lease_token = :token"),
			ExpressionAttributeValues: item{":true": boolean(true), ":token": number(b.Fence.Token)},
		}})
	}
	if len(t.writes) > maxItems {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, opAppend, "%d events change %d items, and DynamoDB takes %d at once", len(b.Events), len(t.writes), maxItems)
	}
	return t, nil
}

// transact returns the write as DynamoDB takes it. A condition alone is a check.
func (w *write) transact(table string) types.TransactWriteItem {
	var condition *string
	if w.condition != "" {
		condition = aws.String(w.condition)
	}
	switch {
	case w.item != nil:
		return types.TransactWriteItem{Put: &types.Put{TableName: aws.String(table), Item: w.item, ConditionExpression: condition, ExpressionAttributeValues: w.values}}
	case w.gone:
		return types.TransactWriteItem{Delete: &types.Delete{TableName: aws.String(table), Key: w.key, ConditionExpression: condition, ExpressionAttributeValues: w.values}}
	default:
		return types.TransactWriteItem{ConditionCheck: &types.ConditionCheck{TableName: aws.String(table), Key: w.key, ConditionExpression: condition, ExpressionAttributeValues: w.values}}
	}
}

// location returns where a record is.
func location(name string, k pipeline.Key) (pk, sk string) {
	switch k.Kind {
	case pipeline.RecordRun:
		return pkRuns(name), k.ID
	case pipeline.RecordDecision:
		return pkDecisions(name), skRecord(k)
	default:
		return pkView(name), skRecord(k)
	}
}

// seal seals the batch's events and writes them, their records and the new head.
func (d *dynamoAppender) seal(ctx context.Context, t *transaction, head item, writes *writes) error {
	name := t.batch.Pipeline
	last := pipeline.Event{Seq: head.int("seq"), Hash: head.text("hash"), Builds: head.int("builds")}
	if head != nil {
		var err error
		if last.Time, err = time.Parse(time.RFC3339Nano, head.text("time")); err != nil {
			return d.damaged(opAppend, "the head of %q: %w", name, err)
		}
	}
	w := writes.at(pkView(name), skHead)
	w.condition = "attribute_not_exists(pk)"
	if head != nil {
		w.condition, w.values = "seq = :seq", item{":seq": number(last.Seq)}
	}
	now, defined := d.Now(), (*bool)(nil)
	for _, e := range t.batch.Events {
		e.Pipeline = name
		body, err := seal(&e, last, now, t.batch.Sealed)
		if err != nil {
			return err
		}
		stored, err := d.store(ctx, t, document{name, e.Seq, "event", body, 1})
		if err != nil {
			return err
		}
		stored["hash"], stored["tx"] = text(e.Hash), text(t.id)
		event := writes.at(pkEvents(name), skEvent(e.Seq))
		event.item, event.condition = stored.at(pkEvents(name), skEvent(e.Seq)), "attribute_not_exists(pk)"
		if err := d.change(ctx, t, e, writes); err != nil {
			return err
		}
		if e.Facts.Pipeline != nil {
			defined = aws.Bool(true)
		}
		for _, k := range e.Facts.Gone {
			if k.Kind == pipeline.RecordPipeline {
				defined = aws.Bool(false)
			}
		}
		t.sealed = append(t.sealed, e)
		last = e
	}
	w.item = item{
		"seq": number(last.Seq), "hash": text(last.Hash), "time": text(last.Time.Format(time.RFC3339Nano)), "builds": number(last.Builds), "absorbed": number(head.int("absorbed") + t.absorbs),
	}.at(pkView(name), skHead)
	if len(t.sealed) == 0 && t.absorbs == 0 { // only the conditions count
		w.item = nil
	}
	if defined == nil && head == nil && len(t.sealed) > 0 {
		defined = aws.Bool(false)
	}
	if defined != nil {
		writes.at(pkPipelines, name).item = item{"defined": boolean(*defined)}.at(pkPipelines, name)
	}
	return nil
}

// change writes what an event changes in the view and in the runs.
func (d *dynamoAppender) change(ctx context.Context, t *transaction, e pipeline.Event, writes *writes) error {
	name := t.batch.Pipeline
	records, err := e.Records()
	if err != nil {
		return pipeline.Errorf(pipeline.CodeInvalid, opAppend, "event %q: %w", e.Kind, err)
	}
	for _, r := range records {
		if r.Kind == pipeline.RecordRun {
			s := e.Facts.Run.Summary()
			summary, err := json.Marshal(s)
			if err != nil {
				return pipeline.Errorf(pipeline.CodeInvalid, opAppend, "event %q: %w", e.Kind, err)
			}
			for _, pk := range runPartitions(name, s) {
				writes.at(pk, s.ID).item = item{
					"version": number(r.Version), "stage": text(s.Stage), "build": text(s.Build), "run_status": text(string(s.Status)), "doc": text(string(summary)),
				}.at(pk, s.ID)
			}
			continue
		}
		partitions := recordPartitions(name, r.Key, t.absorbing)
		stored, err := d.store(ctx, t, document{name, e.Seq, skRecord(r.Key), r.Doc, len(partitions)})
		if err != nil {
			return err
		}
		stored["version"], stored["kind"], stored["id"] = number(r.Version), text(string(r.Kind)), text(r.ID)
		for _, pk := range partitions {
			writes.at(pk, skRecord(r.Key)).item = maps.Clone(stored).at(pk, skRecord(r.Key))
		}
	}
	for _, k := range e.Facts.Gone {
		if err := d.remove(ctx, name, k, writes); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a record, and the copies of a run.
func (d *dynamoAppender) remove(ctx context.Context, name string, k pipeline.Key, writes *writes) error {
	pk, sk := location(name, k)
	partitions := recordPartitions(name, k, false)
	if k.Kind == pipeline.RecordRun {
		run, err := d.get(ctx, pk, sk)
		if err != nil {
			return err
		}
		if w := writes.at(pk, sk); w.item != nil { // written by an event before in the batch
			run = w.item
		}
		partitions = runPartitions(name, pipeline.RunSummary{ID: k.ID, Stage: run.text("stage"), Build: run.text("build")})
	}
	for _, pk := range partitions {
		w := writes.at(pk, sk)
		w.item, w.gone = nil, true
	}
	return nil
}

// recordPartitions are the partitions that have a record; only the copy for a decision that
// is absorbed.
func recordPartitions(name string, k pipeline.Key, absorbed bool) []string {
	if k.Kind == pipeline.RecordDecision && !absorbed {
		return []string{pkDecisions(name), pkView(name)}
	}
	return []string{pkView(name)}
}

// runPartitions are the partitions that list a run.
func runPartitions(name string, s pipeline.RunSummary) []string {
	list := []string{pkRuns(name), pkRunsOfStage(name, s.Stage)}
	if s.Build != "" {
		list = append(list, pkRunsOfBuild(name, s.Build))
	}
	return list
}

// document is what an event brings into the table.
type document struct {
	pipeline string
	seq      int64 // of the event
	part     string
	text     []byte
	copies   int // items that have it
}

// store returns an item with a document, or with the name of the blob that has it: of one
// that no item can have, and of those that would make the transaction too large.
func (d *dynamoAppender) store(ctx context.Context, t *transaction, doc document) (item, error) {
	if all := t.inline + doc.copies*len(doc.text); len(doc.text) <= maxInline && all <= maxTogether {
		t.inline = all
		return item{"doc": text(string(doc.text))}, nil
	}
	if d.Blobs == nil {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, opAppend, "%s of %d bytes is too large", doc.part, len(doc.text))
	}
	blob := blobKey(doc.pipeline, doc.seq, pipeline.HashOf(doc.text))
	if err := d.Blobs.Put(ctx, blob, doc.text); err != nil {
		return nil, err
	}
	t.blobs = append(t.blobs, blob)
	return item{"blob": text(blob)}, nil
}

// commit makes the transaction. It returns false if another writer was first.
func (d *dynamoAppender) commit(ctx context.Context, t *transaction) (bool, error) {
	_, err := d.Client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: t.writes})
	if err == nil {
		return true, nil
	}
	// The request may have been made more than once, and its answers lost: then our events
	// are there.
	if len(t.sealed) > 0 {
		first := t.sealed[0]
		there, read := d.get(ctx, pkEvents(t.batch.Pipeline), skEvent(first.Seq))
		if read == nil && there.text("tx") == t.id {
			return true, nil
		}
	}
	d.discard(ctx, t)
	var cancelled *types.TransactionCanceledException
	if !errors.As(err, &cancelled) {
		return false, unlessBusy(err)
	}
	return false, d.check(ctx, t, cancelled)
}

// check returns why a transaction was cancelled; nil if it is worth another try.
func (d *dynamoAppender) check(ctx context.Context, t *transaction, cancelled *types.TransactionCanceledException) error {
	failed := func(n int) bool {
		return n >= 0 && n < len(cancelled.CancellationReasons) && aws.ToString(cancelled.CancellationReasons[n].Code) == "ConditionalCheckFailed"
	}
	if failed(t.fence) {
		row, err := d.leases.readLease(ctx, t.batch.Fence.Key)
		if err != nil {
			return err
		}
		return leaseLost(opAppend, *t.batch.Fence, row)
	}
	for _, n := range slices.Sorted(maps.Keys(t.expect)) {
		if !failed(n) {
			continue
		}
		k := t.expect[n]
		pk, sk := location(t.batch.Pipeline, k)
		found, err := d.get(ctx, pk, sk)
		if err != nil {
			return err
		}
		if version := found.int("version"); version != t.batch.Expect[k] {
			return conflict(k, t.batch.Expect[k], version)
		}
	}
	return refused(cancelled)
}

// refused returns why DynamoDB refused a transaction; nil if it is worth another try.
func refused(cancelled *types.TransactionCanceledException) error {
	for _, r := range cancelled.CancellationReasons {
		switch aws.ToString(r.Code) {
		case "", "None", "ConditionalCheckFailed", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded":
		default:
			return pipeline.Errorf(pipeline.CodeFailed, opAppend, "DynamoDB refuses an item: %s: %s", aws.ToString(r.Code), aws.ToString(r.Message))
		}
	}
	return nil
}

// unlessBusy returns the error, or nil if it is worth another try.
func unlessBusy(err error) error {
	if cloud.Is(err, "TransactionInProgressException", "ThrottlingException", "ProvisionedThroughputExceededException", "RequestLimitExceeded") {
		return nil
	}
	return err
}

// discard removes the blobs of a transaction that was not made.
func (d *dynamoAppender) discard(ctx context.Context, t *transaction) {
	for _, blob := range t.blobs {
		_ = d.Blobs.Delete(ctx, blob) // what stays costs a little, and is never read
	}
}
