// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// maxBody is the size of a template that a request takes, in bytes. A larger one, of up to
// 1 MB, is read from a bucket.
const maxBody = 51200

// Uploader puts a template where CloudFormation reads it.
type Uploader interface {
	// Upload returns the URL of the text, and what removes it again.
	Upload(ctx context.Context, stack, text string) (url string, remove func(context.Context) error, err error)
}

// attach puts the template into a request. What it returns is called when the change set is
// made: CloudFormation doesn't read the template again.
func (s *Stack) attach(ctx context.Context, input *cloudformation.CreateChangeSetInput) (remove func(context.Context) error, err error) {
	if len(s.template) <= maxBody {
		input.TemplateBody = aws.String(s.template)
		return func(context.Context) error { return nil }, nil
	}
	url, remove, err := s.uploader.Upload(ctx, s.name, s.template)
	input.TemplateURL = aws.String(url)
	return remove, err
}

// bucketUploader puts templates into a bucket of the account that exists for as long as it
// takes to make a change set. No other bucket is there before the stack is.
type bucketUploader struct {
	objects *s3.Client
	who     *sts.Client
}

func uploaderOf(cfg aws.Config) Uploader {
	return bucketUploader{s3.NewFromConfig(cfg, cloud.Objects), sts.NewFromConfig(cfg)}
}

const templateKey = "template.yaml"

// Upload implements Uploader. A bucket that a killed process left is used, and removed.
func (u bucketUploader) Upload(ctx context.Context, stack, text string) (string, func(context.Context) error, error) {
	const op = "upload template"
	region := u.objects.Options().Region
	who, err := u.who.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", nil, cloud.Fault(ctx, op, err)
	}
	name := TemplateBucket(stack, aws.ToString(who.Account), region)
	bucket, key := aws.String(name), aws.String(templateKey)
	create := &s3.CreateBucketInput{Bucket: bucket}
	if region != "us-east-1" {
		create.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(region)}
	}
	_, err = u.objects.CreateBucket(ctx, create)
	if cloud.Is(err, "BucketAlreadyExists") {
		return "", nil, pipeline.Errorf(pipeline.CodeConflict, op, "bucket %s belongs to another account: %w", name, err).
			WithHint("Choose another name for the stack with --stack.")
	}
	if err != nil && !cloud.Is(err, "BucketAlreadyOwnedByYou") {
		return "", nil, cloud.Fault(ctx, op, err)
	}
	remove := func(ctx context.Context) error {
		_, err := u.objects.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key, ExpectedBucketOwner: who.Account})
		if err == nil {
			_, err = u.objects.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: bucket, ExpectedBucketOwner: who.Account})
		}
		if cloud.Is(err, "NoSuchBucket") || cloud.Is(err, "BucketNotEmpty") { // another bootstrap works with it
			return nil
		}
		return cloud.Fault(ctx, "remove bucket "+name, err)
	}
	_, err = u.objects.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader(text), ExpectedBucketOwner: who.Account})
	if err != nil {
		return "", nil, errors.Join(cloud.Fault(ctx, op, err), remove(context.WithoutCancel(ctx)))
	}
	// CloudFormation knows AWS's own hosts, wherever this program's requests go.
	at, err := s3.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, s3.EndpointParameters{Region: aws.String(region), Bucket: bucket})
	if err != nil {
		return "", nil, errors.Join(cloud.Fault(ctx, op, err), remove(context.WithoutCancel(ctx)))
	}
	return at.URI.JoinPath(templateKey).String(), remove, nil
}

// TemplateBucket returns the name of the bucket that holds the template of a stack in an account
// and region while a change set is made. A name of a stack is shortened to what a bucket's takes.
func TemplateBucket(stack, account, region string) string {
	rest := "-template-" + account + "-" + region
	stack = strings.ToLower(stack)
	if most := 63 - len(rest); len(stack) > most {
		stack = strings.TrimRight(stack[:most-9], "-") + "-" + digest(stack)[:8]
	}
	return stack + rest
}
