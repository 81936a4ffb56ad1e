// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/checkpoint"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// TestKMSKey signs a checkpoint with a key of KMS, and checks it with the public key that
// anybody may have.
func TestKMSKey(t *testing.T) {
	c := cloudtest.New(t)
	for _, variable := range c.EnvironAs(cloudtest.Owner) {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	client := kms.NewFromConfig(c.Own())
	newKey := func(spec types.KeySpec, usage types.KeyUsageType) string {
		t.Helper()
		out, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage})
		if err != nil {
			t.Fatal(err)
		}
		return aws.ToString(out.KeyMetadata.Arn)
	}
	key, err := app.KMSKey(t.Context(), newKey(types.KeySpecEccNistP256, types.KeyUsageTypeSignVerify), "")
	if err != nil {
		t.Fatal(err)
	}
	anchor := pipeline.Anchor{Sequence: 41, Hash: pipeline.HashOf([]byte("event 41"))}
	signed, err := checkpoint.Sign("shop", anchor, key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := checkpoint.MarshalPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public, err := checkpoint.ParsePublicKey(text)
	if err != nil {
		t.Fatal(err)
	}
	if name, got, err := checkpoint.Open(signed, public); err != nil || name != "shop" || got != anchor {
		t.Errorf("opened %q, %v, %v", name, got, err)
	}
	if count := c.Count(); count["Sign"] != 1 {
		t.Errorf("the calls are %v", count)
	}

	rsa, err := app.KMSKey(t.Context(), newKey(types.KeySpecRsa2048, types.KeyUsageTypeSignVerify), "")
	if err == nil {
		_, err = checkpoint.Sign("shop", anchor, rsa)
	}
	if pipeline.CodeOf(err) != pipeline.CodeInvalid {
		t.Errorf("an RSA key: %v", err)
	}
	for arn, code := range map[string]pipeline.Code{
		"alias/key": pipeline.CodeInvalid, "arn:aws:s3:::bucket": pipeline.CodeInvalid,
		"arn:aws:kms:" + cloudtest.Region + ":123456789012:key/00000000-0000-0000-0000-000000000000": pipeline.CodeNotFound,
	} {
		if _, err := app.KMSKey(t.Context(), arn, ""); pipeline.CodeOf(err) != code {
			t.Errorf("%s: %v has code %q, want %q", arn, err, pipeline.CodeOf(err), code)
		}
	}
}
