// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package simulation_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger/ledgertest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestMain(m *testing.M) { os.Exit(cloudtest.Main(m)) }

func TestMemory(t *testing.T) { many(t, 600, inMemory) }

// TestSQLite has each process open the file, as processes do.
func TestSQLite(t *testing.T) {
	many(t, 40, func(t *testing.T) func(ledgertest.Options) pipeline.Ledger {
		path := filepath.Join(t.TempDir(), "ledger.db")
		return func(o ledgertest.Options) pipeline.Ledger {
			l, err := ledger.Open(t.Context(), path, ledger.Options{Now: o.Now, Dead: o.Dead})
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
	})
}

// TestDynamo has one seed, as each call is several requests to another process. Requests
// take no virtual time.
func TestDynamo(t *testing.T) {
	c := cloudtest.New(t)
	cfg, own := c.Config(), c.Own()
	cfg.HTTPClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // a connection that is kept never rests
	own.HTTPClient = cfg.HTTPClient
	table := 0
	many(t, 1, func(t *testing.T) func(ledgertest.Options) pipeline.Ledger {
		table++
		client, name := dynamodb.NewFromConfig(cfg), "ledger-"+string(rune('a'+table))
		c.Given(map[string]string{"TableName": name})
		attribute := func(name string) types.AttributeDefinition {
			return types.AttributeDefinition{AttributeName: aws.String(name), AttributeType: types.ScalarAttributeTypeS}
		}
		_, err := dynamodb.NewFromConfig(own).CreateTable(t.Context(), &dynamodb.CreateTableInput{
			TableName: aws.String(name), BillingMode: types.BillingModePayPerRequest, AttributeDefinitions: []types.AttributeDefinition{attribute("pk"), attribute("sk")},
			KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash}, {AttributeName: aws.String("sk"), KeyType: types.KeyTypeRange}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return func(o ledgertest.Options) pipeline.Ledger {
			l, err := ledger.OpenDynamo(t.Context(), ledger.DynamoOptions{Client: client, Table: name, Now: o.Now, Dead: o.Dead})
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
	})
}
