// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"io"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Head is how far the history of a pipeline has come.
type Head struct {
	Pipeline string `json:"pipeline"`
	pipeline.Anchor
}

// Heads returns how far the histories have come: that of a pipeline, or with "" of all,
// those of removed pipelines included, sorted by name. CodeNotFound for one without a history.
func (a *App) Heads(ctx context.Context, name string) ([]Head, error) {
	names := []string{name}
	if name == "" {
		there, err := a.ledger.Pipelines(ctx)
		if err != nil {
			return nil, err
		}
		removed, err := a.ledger.Removed(ctx)
		if err != nil {
			return nil, err
		}
		names = slices.Sorted(slices.Values(append(there, removed...)))
	}
	heads := make([]Head, 0, len(names))
	for _, n := range names {
		anchor, err := a.Anchor(ctx, n)
		if err != nil {
			return nil, err
		}
		if anchor.Sequence > 0 {
			heads = append(heads, Head{n, anchor})
		}
	}
	if name != "" && len(heads) == 0 {
		return nil, pipeline.Errorf(pipeline.CodeNotFound, "read ledger", "pipeline %q has no history", name).
			WithAdvice(pipeline.Advice{Verb: pipeline.VerbListPipelines})
	}
	return heads, nil
}

// Anchor returns the newest event of a pipeline's history; one with sequence 0 if there is no
// history.
func (a *App) Anchor(ctx context.Context, name string) (pipeline.Anchor, error) {
	return a.ledger.Newest(ctx, name)
}

// CheckAnchor reports, with CodeCorrupt, that a pipeline's history has not the event that
// an anchor names.
func (a *App) CheckAnchor(ctx context.Context, name string, anchor pipeline.Anchor) error {
	return pipeline.CheckAnchor(ctx, a.ledger, name, anchor)
}

// KMSKey returns the signing key of AWS KMS with an ARN, which may be an alias's: of type
// ECC_NIST_P256 or ECC_NIST_EDWARDS25519. Its Sign calls KMS with ctx.
func KMSKey(ctx context.Context, keyARN, profile string) (crypto.Signer, error) {
	const op = "find key"
	at, err := arn.Parse(keyARN)
	if err != nil || at.Service != "kms" {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not the ARN of a KMS key", keyARN).
			WithHint("Write it like arn:aws:kms:eu-west-1:123456789012:key/… or …:alias/….")
	}
	c, err := cloud.Load(ctx, cloud.Options{Region: at.Region, Profile: profile})
	if err != nil {
		return nil, err
	}
	client := kms.NewFromConfig(c.Config)
	out, err := client.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: aws.String(keyARN)})
	if err != nil {
		return nil, cloud.Fault(ctx, op, err)
	}
	public, err := x509.ParsePKIXPublicKey(out.PublicKey)
	if err != nil {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, op, "%s: %w", keyARN, err)
	}
	return &kmsKey{ctx, client, keyARN, public}, nil
}

// kmsKey signs with KMS.
type kmsKey struct {
	ctx    context.Context // crypto.Signer has no other place for it
	client *kms.Client
	arn    string
	public crypto.PublicKey
}

var _ crypto.MessageSigner = (*kmsKey)(nil)

// Public implements crypto.Signer.
func (k *kmsKey) Public() crypto.PublicKey { return k.public }

// Sign implements crypto.Signer, for what has been hashed.
func (k *kmsKey) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	return k.sign(types.MessageTypeDigest, digest)
}

// SignMessage implements crypto.MessageSigner: KMS hashes the message, of at most 4096 bytes.
func (k *kmsKey) SignMessage(_ io.Reader, message []byte, _ crypto.SignerOpts) ([]byte, error) {
	return k.sign(types.MessageTypeRaw, message)
}

func (k *kmsKey) sign(kind types.MessageType, message []byte) ([]byte, error) {
	algorithm := types.SigningAlgorithmSpecEcdsaSha256
	if _, ok := k.public.(ed25519.PublicKey); ok {
		algorithm = types.SigningAlgorithmSpecEd25519Sha512
	}
	out, err := k.client.Sign(k.ctx, &kms.SignInput{KeyId: aws.String(k.arn), Message: message, MessageType: kind, SigningAlgorithm: algorithm})
	if err != nil {
		return nil, cloud.Fault(k.ctx, "sign", err)
	}
	return out.Signature, nil
}
