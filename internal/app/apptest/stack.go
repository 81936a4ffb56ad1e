// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package apptest

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/penstock-io/terraform-provider-penstock/internal/artifact"
	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Stack bootstraps an account of AWS, or brings its stack up to date.
func Stack(t testing.TB, cfg aws.Config, p bootstrap.Parameters) {
	t.Helper()
	changes, err := bootstrap.New(cfg, bootstrap.DefaultName).Plan(t.Context(), p)
	if err == nil {
		err = changes.Apply(t.Context(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Table opens the ledger of such a stack, and returns the name of its table.
func Table(t testing.TB, cfg aws.Config) (pipeline.Ledger, string) {
	t.Helper()
	made, err := bootstrap.Find(t.Context(), cloudformation.NewFromConfig(cfg), bootstrap.DefaultName)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.OpenDynamo(t.Context(), ledger.DynamoOptions{
		Client: dynamodb.NewFromConfig(cfg), Table: made.Table, Blobs: artifact.NewBlobs(s3.NewFromConfig(cfg, cloud.Objects), made.Bucket),
	})
	if err != nil {
		t.Fatal(err)
	}
	return l, made.Table
}
