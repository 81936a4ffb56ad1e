// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/penstock-io/terraform-provider-penstock/internal/artifact"
	"github.com/penstock-io/terraform-provider-penstock/internal/audit"
	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/codebuild"
	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/ledger"
	"github.com/penstock-io/terraform-provider-penstock/internal/module"
	"github.com/penstock-io/terraform-provider-penstock/internal/notice"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws"
)

// AWS says where in AWS the ledger, the images and the environments are.
type AWS struct {
	Region               string            `json:"region,omitempty"`
	Profile              string            `json:"profile,omitempty"`
	Stack                string            `json:"stack,omitempty"` // that `penstock bootstrap` made; empty means "penstock"
	AssumeRoles          []cloud.Role      `json:"-"`
	InstanceType         string            `json:"instance_type,omitempty"`
	PublicEndpoints      bool              `json:"public_endpoints,omitempty"`
	InternalLoadBalancer bool              `json:"internal_load_balancer,omitempty"`
	Tags                 map[string]string `json:"tags,omitempty"`

	attempts int           // at each request; 0: as many as usual
	patience time.Duration // with an answer to each; 0: as much as usual
}

// emulatorPause is the shortest pause between looks at what is waited for where AWS is an
// emulator on this machine, which limits no rate and is done at once.
const emulatorPause = 20 * time.Millisecond

// maxTree limits the size of a tree that comes back from a runner's machine, in bytes.
// It is the disk size of CodeBuild's smallest machine.
const maxTree = 64 << 30

// headAge spares a plan of many stages one request for each. Whoever decides in the
// same seconds is seen by the next.
const headAge = 3 * time.Second

// contextFile is in the data directory of a pipeline on AWS. It lets the command
// find the pipeline where the provider was configured with it. Roles are no part of it:
// who calls the command need not be allowed what Terraform is.
const contextFile = "context.json"

// openAWS opens the ledger and everything else that is in AWS. What is on this
// machine is copies and work in progress.
func openAWS(ctx context.Context, a *App, o Options) (pipeline.Ledger, engine.Config, error) {
	at := *o.AWS
	if at.Stack == "" {
		at.Stack = bootstrap.DefaultName
	}
	c, err := cloud.Load(ctx, cloud.Options{Region: at.Region, Profile: at.Profile, AssumeRoles: at.AssumeRoles, MaxAttempts: at.attempts, Patience: at.patience, Logger: o.Logger.Named("sdk")})
	if err != nil {
		return nil, engine.Config{}, err
	}
	pause := time.Duration(0) // what each part has by itself
	if c.Emulated() {
		pause = emulatorPause
	}
	made, err := bootstrap.Find(ctx, cloudformation.NewFromConfig(c.Config), at.Stack)
	if err != nil {
		return nil, engine.Config{}, err
	}
	objects := s3.NewFromConfig(c.Config, cloud.Objects)
	record, err := ledger.OpenDynamo(ctx, ledger.DynamoOptions{
		Client: dynamodb.NewFromConfig(c.Config), Table: made.Table, Dead: deadOn(a.holder.Host), Blobs: artifact.NewBlobs(objects, made.Bucket),
	})
	if err != nil {
		return nil, engine.Config{}, err
	}
	a.Owner = owner(sharedDir(workingDir()))
	a.Identity, a.Place = record.Identity(), fmt.Sprintf("stack %q of account %s in region %s on AWS", made.Stack, account(c.ARN), c.Config.Region)
	a.person, a.stack = caller(c.ARN), &made
	a.skew, a.audit = c.Skew, audit.New(c.Config, made)
	a.topics, a.buses = notice.Topics{Client: sns.NewFromConfig(c.Config)}, notice.Buses{Client: eventbridge.NewFromConfig(c.Config)}
	if made.ApplyProject != "" {
		a.ends = &ends{objects: objects, bucket: made.Bucket, now: time.Now, logger: o.Logger, known: map[string]string{}}
	}
	a.worker = codebuild.New(codebuild.Options{
		Config: c.Config, Project: made.RunnerProject, Stack: made.Stack, Bucket: made.Bucket, Pack: artifact.Pack, Unpack: unpack,
		Logger: o.Logger.Named("codebuild"), Pause: pause,
	})
	platform := func(c *cloud.Cloud, made bootstrap.Resources) *aws.Platform {
		return aws.New(aws.Options{Config: c.Config, Settings: settings(at, made), Tags: at.Tags, Logger: o.Logger.Named("aws"), Pause: pause, Current: record.Current, Instances: o.Instances})
	}
	a.targets = newTargets(c, made, platform, o.Logger.Named("lend"))
	return record, engine.Config{
		Archives:  artifact.NewS3Archives(objects, made.Bucket, filepath.Join(a.Dir, "artifacts")),
		HeadAge:   headAge,
		Platform:  a.targets.opened[pipeline.Target{}].platform,
		Targets:   a.targets,
		Modules:   a.modules(module.NewS3Store(objects, made.Bucket), o),
		Artifacts: artifact.NewS3Store(objects, made.Bucket, filepath.Join(a.Dir, "artifacts")),
		Logs:      artifact.NewS3Logs(objects, made.Bucket, filepath.Join(a.Dir, "logs"), o.Logger.Named("logs")),
	}, writeContext(a.Dir, at)
}

// unpack writes a tree that comes back from a runner's machine to a directory.
func unpack(ctx context.Context, r io.Reader, dir string, seen func(name string, modified time.Time)) error {
	return artifact.Unpack(ctx, r, dir, artifact.Seen(seen), artifact.MaxBytes(maxTree))
}

func settings(at AWS, made bootstrap.Resources) aws.Settings {
	access := func(profile, group string) aws.Access {
		if group == "" {
			return aws.Access{Profile: profile}
		}
		return aws.Access{Profile: profile, Groups: []string{group}}
	}
	lasting := access(made.InstanceProfile, made.InstanceSecurityGroup)
	return aws.Settings{
		Stack: made.Stack, VPC: made.VPC, Subnets: made.InstanceSubnets(), PublicSubnets: made.PublicSubnets, Bucket: made.Bucket,
		Lasting: lasting, Test: access(made.TestInstanceProfile, made.TestSecurityGroup).Or(lasting), LoadBalancerGroup: made.LoadBalancerSecurityGroup,
		Builder:       access(cmp.Or(made.BuilderInstanceProfile, made.InstanceProfile), made.BuilderSecurityGroup),
		SchedulerRole: made.SchedulerRole, LauncherSchedulerRole: cmp.Or(made.LauncherSchedulerRole, made.SchedulerRole), LauncherScheduleGroup: made.LauncherScheduleGroup, InstanceType: at.InstanceType, AssignPublicAddress: !made.PrivateAccess,
		PublicEndpoints: at.PublicEndpoints, InternalLoadBalancer: at.InternalLoadBalancer,
	}
}

// caller is who an ARN stands for: named by the part after the account, as in
// "user/ada" or "assumed-role/deployer/ada", and also by the ARN; a user by the user's
// name, and who has assumed a role by the ARN of the role, which shows no path. The name
// of a session is no name of a person, as who assumes a role may choose it.
func caller(arn string) pipeline.Person {
	parts := strings.SplitN(arn, ":", 6)
	name := parts[len(parts)-1]
	who := pipeline.Person{Name: name, Names: []string{arn}}
	if len(parts) < 6 {
		return who
	}
	kind, rest, _ := strings.Cut(name, "/")
	switch kind {
	case "user":
		who.Names = append(who.Names, rest[strings.LastIndex(rest, "/")+1:])
	case "assumed-role":
		role, _, _ := strings.Cut(rest, "/")
		who.Names = append(who.Names, fmt.Sprintf("arn:%s:iam::%s:role/%s", parts[1], parts[4], role))
	}
	return who
}

// account is the account of an ARN.
func account(arn string) string {
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 {
		return parts[4]
	}
	return "unknown"
}

// writeContext keeps where the pipelines of this directory are.
func writeContext(dir string, at AWS) error {
	data, err := json.MarshalIndent(at, "", "  ")
	if err != nil {
		return pipeline.Errorf(pipeline.CodeInternal, "write context", "%w", err)
	}
	path := filepath.Join(dir, contextFile)
	if before, err := os.ReadFile(path); err == nil && string(before) == string(data) {
		return nil
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, "write context", "%w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, "write context", "%w", err)
	}
	return nil
}

// ReadContext returns where in AWS the pipelines of a data directory are; nil for
// those that are in the directory itself.
func ReadContext(dir string) (*AWS, error) {
	data, err := os.ReadFile(filepath.Join(dir, contextFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var at AWS
	if err == nil {
		err = json.Unmarshal(data, &at)
	}
	if err != nil {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, "read context", "%s: %w", filepath.Join(dir, contextFile), err).
			WithHint("Remove the file; the next plan or apply writes it again.")
	}
	for _, own := range []string{"AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"} {
		if os.Getenv(own) != "" { // the caller has credentials of another origin
			at.Profile = ""
		}
	}
	return &at, nil
}
