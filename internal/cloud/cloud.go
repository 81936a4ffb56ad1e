// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package cloud is the way to AWS: it loads credentials as other Terraform providers
// do, and says in the project's own error codes what AWS refused. It knows no
// resource; packages that do take its configuration.
//
//	c, err := cloud.Load(ctx, cloud.Options{Region: "eu-west-1"})
//	if err != nil {
//		return err
//	}
//	ec2.NewFromConfig(c.Config)
package cloud

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// maxAttempts is how often the SDK tries a request that was throttled or lost.
// With its back-off of up to 20 s that bridges more than a minute.
const maxAttempts = 8

// patience is how long an answer may take until its request counts as lost, and is made again:
// as long as AWS's own command waits. A region that accepts requests and answers none would be
// waited for without an end.
const patience = time.Minute

// identityTimeout bounds the one request that checks the credentials. The chain may
// ask an instance's metadata service first, which does not answer everywhere.
const identityTimeout = 30 * time.Second

// Options say how to reach AWS. Zero fields take what the environment and the
// shared configuration say, AWS_ENDPOINT_URL and its kin included.
type Options struct {
	Region      string
	Profile     string
	AssumeRoles []Role        // one after another, each with the credentials of the one before
	MaxAttempts int           // 0 means 8
	Patience    time.Duration // with an answer to an attempt; 0 means a minute
	Logger      hclog.Logger  // gets what AWS's library has to say of connections; nil means nobody does
}

// Role is a role to assume.
type Role struct {
	ARN         string
	SessionName string // empty means "penstock"
	ExternalID  string
	Duration    time.Duration // 0 means an hour
}

// Cloud is a checked way to an account in a region.
type Cloud struct {
	Config  aws.Config
	Account string        // its ID, 12 digits
	ARN     string        // of the caller
	Skew    time.Duration // by which AWS's clock is ahead of this machine's; about a second is not known

	attempts int // at a request
}

// Load finds credentials and checks them with one request. Errors are CodeInvalid
// for a configuration that can't work, CodeNotAllowed for credentials that AWS refuses.
func Load(ctx context.Context, o Options) (*Cloud, error) {
	const op = "configure AWS"
	if o.MaxAttempts == 0 {
		o.MaxAttempts = maxAttempts
	}
	if o.Patience == 0 {
		o.Patience = patience
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	limits := newRetryer(o.MaxAttempts) // of all clients together
	load := []func(*config.LoadOptions) error{
		config.WithRetryer(func() aws.Retryer { return limits }),
		config.WithAppID("penstock"), // CloudTrail shows it
		config.WithLogger(logging.LoggerFunc(func(_ logging.Classification, format string, v ...any) { // by default it writes to standard error
			o.Logger.Debug(fmt.Sprintf(format, v...))
		})),
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.ResponseHeaderTimeout = o.Patience })),
		config.WithAssumeRoleCredentialOptions(func(a *stscreds.AssumeRoleOptions) { a.TokenProvider = askCode }),
	}
	if o.Region != "" {
		load = append(load, config.WithRegion(o.Region))
	}
	if o.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(o.Profile))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, op, "%w", err).
			WithHint("Correct profile in the aws block, or AWS_PROFILE and the shared configuration files.")
	}
	if cfg.Region == "" {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, op, "no region is set").
			WithHint("Set region in the aws block, or AWS_REGION.")
	}
	if cfg.BaseEndpoint == nil && !IsRegion(cfg.Region) { // an emulator may have other regions
		return nil, pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not a region", cfg.Region).
			WithHint("Correct region in the aws block, or AWS_REGION: a region is like eu-west-1.")
	}
	if err := recorded(&cfg); err != nil {
		return nil, err
	}
	way := []aws.Config{cfg} // as who assumes each role
	for _, r := range o.AssumeRoles {
		cfg.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), r.ARN, r.options))
		way = append(way, cfg)
	}
	ctx, cancel := context.WithTimeout(ctx, identityTimeout)
	defer cancel()
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if own := (*pipeline.Error)(nil); errors.As(err, &own) {
		return nil, own
	}
	if err != nil {
		if refused := refusedRole(ctx, way, o.AssumeRoles); refused != nil {
			return nil, refused
		}
	}
	if err != nil {
		return nil, pipeline.Errorf(pipeline.CodeNotAllowed, op, "check the credentials: %w", err).
			WithHint("`aws sts get-caller-identity` with the same profile and region shows what AWS sees. Log in again if a session has ended.")
	}
	skew, _ := awsmiddleware.GetAttemptSkew(who.ResultMetadata)
	return &Cloud{Config: cfg, Account: aws.ToString(who.Account), ARN: aws.ToString(who.Arn), Skew: skew, attempts: o.MaxAttempts}, nil
}

// Emulated reports whether AWS is an emulator on this machine: its endpoint, as that of
// AWS_ENDPOINT_URL, is plain HTTP to a loopback address. A tunnel to AWS speaks HTTPS.
func (c *Cloud) Emulated() bool {
	at, err := url.Parse(aws.ToString(c.Config.BaseEndpoint))
	if err != nil || at.Scheme != "http" {
		return false
	}
	ip := net.ParseIP(at.Hostname())
	return at.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// Objects makes a client of S3 name buckets in the path, not in the host, where its endpoint
// is not AWS's own: few others have a name for each bucket.
func Objects(o *s3.Options) { o.UsePathStyle = o.BaseEndpoint != nil }

func (r Role) options(o *stscreds.AssumeRoleOptions) {
	o.RoleSessionName = "penstock"
	if r.SessionName != "" {
		o.RoleSessionName = r.SessionName
	}
	if r.ExternalID != "" {
		o.ExternalID = aws.String(r.ExternalID)
	}
	o.Duration = time.Hour
	if r.Duration != 0 {
		o.Duration = r.Duration
	}
}
