// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
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
// takes to make a change set. No other bucket is there before the stack is. Each template is
// an object of its own, so that several uploaders do not meet there.
type bucketUploader struct {
	objects *s3.Client
	who     *sts.Client
	now     func() time.Time
}

func uploaderOf(cfg aws.Config) Uploader {
	return bucketUploader{s3.NewFromConfig(cfg, cloud.Objects), sts.NewFromConfig(cfg), time.Now}
}

// abandoned is the age of an object that a killed process left: longer than a change set may
// take.
const abandoned = time.Hour + deployLimit

// bucketRivalry is how an upload waits for another uploader that removes the bucket.
var bucketRivalry = poll.Schedule{First: 200 * time.Millisecond, Max: 5 * time.Second, Factor: 2, Limit: 2 * time.Minute, What: "the bucket of the template"}

// Upload implements Uploader. A bucket that a killed process left is used, and removed.
func (u bucketUploader) Upload(ctx context.Context, stack, text string) (string, func(context.Context) error, error) {
	const op = "upload template"
	region := u.objects.Options().Region
	who, err := u.who.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", nil, cloud.Fault(ctx, op, err)
	}
	b := templates{u.objects, TemplateBucket(stack, aws.ToString(who.Account), region), aws.ToString(who.Account), u.now}
	key := "template-" + rand.Text() + ".yaml"
	remove := func(ctx context.Context) error { return b.remove(ctx, key) }
	err = poll.Until(ctx, bucketRivalry, func(ctx context.Context) (poll.Probe, error) {
		err := b.create(ctx, region)
		if err == nil {
			err = b.put(ctx, key, text)
		}
		if cloud.Is(err, "NoSuchBucket", "OperationAborted") {
			return poll.Probe{State: "another removes it"}, poll.Retryable(err)
		}
		return poll.Probe{Done: true}, err
	})
	if cloud.Is(err, "BucketAlreadyExists") {
		return "", nil, pipeline.Errorf(pipeline.CodeConflict, op, "bucket %s belongs to another account: %w", b.name, err).
			WithHint("Choose another name for the stack with --stack.")
	}
	if err != nil {
		return "", nil, errors.Join(cloud.Fault(ctx, op, err), remove(context.WithoutCancel(ctx)))
	}
	// CloudFormation knows AWS's own hosts, wherever this program's requests go.
	at, err := s3.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, s3.EndpointParameters{Region: aws.String(region), Bucket: aws.String(b.name)})
	if err != nil {
		return "", nil, errors.Join(cloud.Fault(ctx, op, err), remove(context.WithoutCancel(ctx)))
	}
	return at.URI.JoinPath(key).String(), remove, nil
}

// templates is the bucket.
type templates struct {
	objects       *s3.Client
	name, account string
	now           func() time.Time
}

// create makes the bucket, unless it is there.
func (b templates) create(ctx context.Context, region string) error {
	in := &s3.CreateBucketInput{Bucket: aws.String(b.name)}
	if region != "us-east-1" {
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(region)}
	}
	_, err := b.objects.CreateBucket(ctx, in)
	if cloud.Is(err, "BucketAlreadyOwnedByYou") {
		return nil
	}
	return err
}

func (b templates) put(ctx context.Context, key, text string) error {
	_, err := b.objects.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(b.name), Key: aws.String(key), Body: strings.NewReader(text), ExpectedBucketOwner: aws.String(b.account)})
	return err
}

// remove removes an object, with what was abandoned, and the bucket where nothing else is in it.
func (b templates) remove(ctx context.Context, key string) error {
	op := "remove bucket " + b.name
	bucket, account := aws.String(b.name), aws.String(b.account)
	if _, err := b.objects.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: aws.String(key), ExpectedBucketOwner: account}); err != nil {
		return cloud.Fault(ctx, op, unlessGone(err))
	}
	left, err := b.objects.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, ExpectedBucketOwner: account})
	if err != nil {
		return cloud.Fault(ctx, op, unlessGone(err))
	}
	for _, o := range left.Contents {
		if b.now().Sub(aws.ToTime(o.LastModified)) < abandoned {
			return nil // another bootstrap works with it
		}
		if _, err := b.objects.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: o.Key, ExpectedBucketOwner: account}); err != nil {
			return cloud.Fault(ctx, op, unlessGone(err))
		}
	}
	_, err = b.objects.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: bucket, ExpectedBucketOwner: account})
	return cloud.Fault(ctx, op, unlessGone(err))
}

// unlessGone returns an error, or nil where another bootstrap has removed the bucket, or
// works with it.
func unlessGone(err error) error {
	if cloud.Is(err, "NoSuchBucket", "BucketNotEmpty") {
		return nil
	}
	return err
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
