// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledger

import (
	"context"
	"crypto/rand"
	"fmt"
	"path"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// tableSchema is the version of the layout below.
const tableSchema = 1

// The layout of the table. Everything has a partition key pk and a sort key sk.
//
//	pk           sk                 is
//	meta         schema             the version of the layout, and the ledger's ID
//	pipelines    NAME               a pipeline that has a history: whether it is defined, who purges it
//	lease        KEY                a lease, for ever, so that its tokens grow
//	view#NAME    #head              number, hash and time of the newest event; how many builds there were
//	view#NAME    KIND#ID            a record of the state
//	decisions#NAME                  decisions; see dynamo_decision.go
//	events#NAME  16-digit number    an event
//	runs#NAME    ID                 a run's summary; copies are in
//	runs#NAME#stage#STAGE and runs#NAME#build#BUILD
//
// A state is thus two queries. Names of pipelines have no '#'.
const (
	pkMeta      = "meta"
	pkPipelines = "pipelines"
	pkLease     = "lease"
	skSchema    = "schema"
	skHead      = "#head"
)

func pkView(name string) string   { return "view#" + name }
func pkEvents(name string) string { return "events#" + name }
func pkRuns(name string) string   { return "runs#" + name }

func pkRunsOfStage(name, stage string) string { return pkRuns(name) + "#stage#" + stage }
func pkRunsOfBuild(name, build string) string { return pkRuns(name) + "#build#" + build }

func skEvent(seq int64) string         { return fmt.Sprintf("%016d", seq) }
func skRecord(key pipeline.Key) string { return string(key.Kind) + "#" + key.ID }
func blobKey(name string, seq int64, part string) string {
	return name + "/" + skEvent(seq) + "/" + part
}

// What DynamoDB takes is counted in bytes, with all names and keys.
const (
	// maxInline is the size of a document that is kept in its item, of 400 KB.
	maxInline = 350_000
	// maxTogether is that of all documents in a transaction, of 4 MB.
	maxTogether = 3_500_000
)

// Blobs keeps documents that are too large for the table, by key, which ends in the hash of
// the document.
type Blobs interface {
	Put(ctx context.Context, key string, data []byte) error
	Get(ctx context.Context, key string) ([]byte, error)
	Delete(ctx context.Context, key string) error
}

// DynamoOptions configure a Dynamo.
type DynamoOptions struct {
	Client *dynamodb.Client
	Table  string
	Blobs  Blobs
	Now    func() time.Time            // nil means time.Now
	Dead   func(pipeline.Process) bool // reports that a lease's holder has ended; nil: never
}

// Dynamo is the ledger of a team, in a DynamoDB table. It is safe for concurrent use. Each
// port of the ledger is a part of its own; the parts share the table.
type Dynamo struct {
	*table
	*dynamoReader
	*dynamoAppender
	*dynamoLeaser
	*dynamoMaintainer
	id string
}

var (
	_ pipeline.Ledger     = (*Dynamo)(nil)
	_ pipeline.Reader     = (*dynamoReader)(nil)
	_ pipeline.Appender   = (*dynamoAppender)(nil)
	_ pipeline.Leaser     = (*dynamoLeaser)(nil)
	_ pipeline.Maintainer = (*dynamoMaintainer)(nil)
)

// OpenDynamo opens the ledger in a table. It returns CodeNotFound if there is no such table,
// and CodeInvalid for a layout that this program does not know.
func OpenDynamo(ctx context.Context, o DynamoOptions) (*Dynamo, error) {
	const op = "open ledger"
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Dead == nil {
		o.Dead = func(pipeline.Process) bool { return false }
	}
	d := &table{o}
	meta, err := d.get(ctx, pkMeta, skSchema)
	if err == nil && meta == nil {
		meta = item{"version": number(tableSchema), "id": text(rand.Text())}.at(pkMeta, skSchema)
		_, err = d.Client.PutItem(ctx, &dynamodb.PutItemInput{
			TableName: aws.String(d.Table), ConditionExpression: aws.String("attribute_not_exists(pk)"), Item: meta,
		})
		if cloud.Is(err, "ConditionalCheckFailedException") || denied(err) { // another was first; or a reader finds an empty ledger
			meta, err = d.get(ctx, pkMeta, skSchema)
		}
	}
	if err != nil {
		return nil, d.fault(ctx, op, err)
	}
	if err := d.checkLayout(op, meta); err != nil {
		return nil, err
	}
	decisions, leases := &dynamoDecisions{d}, &dynamoLeaser{d}
	maintenance := &dynamoMaintainer{d, decisions}
	return &Dynamo{
		table: d, dynamoReader: &dynamoReader{d, decisions}, dynamoLeaser: leases, dynamoMaintainer: maintenance,
		dynamoAppender: &dynamoAppender{table: d, decisions: decisions, leases: leases, maintenance: maintenance}, id: meta.text("id"),
	}, nil
}

// checkLayout refuses a table of a layout that this program does not know.
func (d *table) checkLayout(op string, meta item) error {
	v := meta.int("version")
	if v <= tableSchema {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeInvalid, op, "table %s has schema version %d, and this version of Penstock knows up to %d", d.Table, v, tableSchema).
		WithHint("A newer Penstock has used this ledger. Upgrade this one to the same version or a later one.")
}

// Identity returns the ID of the ledger, which a table keeps when it is restored or moved to
// another stack; empty for a ledger that nobody has written to.
func (d *Dynamo) Identity() string { return d.id }

// table is the DynamoDB table, with what all parts of a ledger read of it.
type table struct{ DynamoOptions }

// item is an item of the table.
type item map[string]types.AttributeValue

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

func boolean(b bool) types.AttributeValue { return &types.AttributeValueMemberBOOL{Value: b} }

func (i item) at(pk, sk string) item {
	i["pk"], i["sk"] = text(pk), text(sk)
	return i
}

func (i item) text(name string) string {
	if s, ok := i[name].(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

func (i item) int(name string) int64 {
	if n, ok := i[name].(*types.AttributeValueMemberN); ok {
		v, _ := strconv.ParseInt(n.Value, 10, 64)
		return v
	}
	return 0
}

func (i item) bool(name string) bool {
	b, ok := i[name].(*types.AttributeValueMemberBOOL)
	return ok && b.Value
}

func keyOf(pk, sk string) item { return item{}.at(pk, sk) }

// get reads an item, consistently; nil if it does not exist.
func (d *table) get(ctx context.Context, pk, sk string) (item, error) {
	out, err := d.Client.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String(d.Table), Key: keyOf(pk, sk), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return nil, err
	}
	return out.Item, nil
}

// query is a range of a partition.
type query struct {
	pk       string
	after    string // sort keys above it; before, below it. At most one of them
	before   string
	backward bool
	limit    int // items to read at once; 0 means as many as fit
	filter   string
	names    map[string]string
	values   item
}

// each calls f for the items of a range, until f returns false.
func (d *table) each(ctx context.Context, q query, f func(item) (bool, error)) error {
	in := &dynamodb.QueryInput{
		TableName: aws.String(d.Table), ConsistentRead: aws.Bool(true), ScanIndexForward: aws.Bool(!q.backward),
		KeyConditionExpression: aws.String("pk = :pk"), ExpressionAttributeValues: item{":pk": text(q.pk)},
	}
	switch {
	case q.after != "":
		in.KeyConditionExpression, in.ExpressionAttributeValues[":sk"] = aws.String("pk = :pk AND sk > :sk"), text(q.after)
	case q.before != "":
		in.KeyConditionExpression, in.ExpressionAttributeValues[":sk"] = aws.String("pk = :pk AND sk < :sk"), text(q.before)
	}
	if q.filter != "" {
		in.FilterExpression, in.ExpressionAttributeNames = aws.String(q.filter), q.names
		for k, v := range q.values {
			in.ExpressionAttributeValues[k] = v
		}
	}
	if q.limit > 0 {
		in.Limit = aws.Int32(int32(q.limit))
	}
	pages := dynamodb.NewQueryPaginator(d.Client, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, i := range page.Items {
			if more, err := f(i); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

// doc returns the document of an item: its own, or that in the blob it names.
func (d *table) doc(ctx context.Context, i item) ([]byte, error) {
	if blob := i.text("blob"); blob != "" {
		data, err := d.Blobs.Get(ctx, blob)
		if err == nil && pipeline.HashOf(data) != path.Base(blob) {
			err = d.damaged("read "+blob, "it is not what was recorded")
		}
		return data, err
	}
	return []byte(i.text("doc")), nil
}

// fault adds a code and a remedy to an error.
func (d *table) fault(ctx context.Context, op string, err error) error {
	if cloud.Is(err, "ResourceNotFoundException") {
		return pipeline.Errorf(pipeline.CodeNotFound, op, "there is no table %s: %w", d.Table, err).
			WithHint("If it existed before, restore it from its point-in-time backup.").WithAdvice(pipeline.Advice{Verb: pipeline.VerbCreateStack})
	}
	return cloud.Fault(ctx, op, err)
}

// damaged makes the error for stored data that is not what was written.
func (d *table) damaged(op, format string, args ...any) error {
	return pipeline.Errorf(pipeline.CodeCorrupt, op, format, args...).
		WithHint("Restore table %s from its point-in-time backup.", d.Table)
}
