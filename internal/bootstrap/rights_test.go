// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	autoscalingtypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	schedulertypes "github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
)

func mapKeys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

// refused reports whether an error is that AWS does not allow a call.
func refused(err error) bool {
	var coded smithy.APIError
	return errors.As(err, &coded) && slices.Contains([]string{"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"}, coded.ErrorCode())
}

// rightsBed is an account in which there is something to have rights on.
type rightsBed struct {
	testing.TB
	cloud  *cloudtest.Cloud
	bucket string

	free, staged, expiring, stagedExpiring, foreign string // instances
	image, foreignImage                             string
	subnet, group, lastingGroup                     string
	listener, stagedListener                        string
	expiringListener, stagedExpiringListener        string
	key, otherKey                                   string
}

// The tags of what the stack's people make.
var (
	stackTag = map[string]string{"penstock:stack": "penstock"}
	stageTag = map[string]string{"penstock:stack": "penstock", "penstock:stage": "production"}
)

func with(tags map[string]string, more ...string) map[string]string {
	tags = maps.Clone(tags)
	for i := 0; i < len(more); i += 2 {
		tags[more[i]] = more[i+1]
	}
	return tags
}

func ec2Tags(kind ec2types.ResourceType, tags map[string]string) ec2types.TagSpecification {
	spec := ec2types.TagSpecification{ResourceType: kind}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		spec.Tags = append(spec.Tags, ec2types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return spec
}

func newRightsBed(t testing.TB) *rightsBed {
	t.Helper()
	c := cloudtest.New(t)
	b := &rightsBed{TB: t, cloud: c, bucket: c.Stack().Outputs["Bucket"]}
	c.Given(map[string]string{"TableName": "Table"})
	machines := ec2.NewFromConfig(c.Own())
	subnets, err := machines.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{})
	b.must(err)
	b.subnet = aws.ToString(subnets.Subnets[0].SubnetId)
	groups, err := machines.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{})
	b.must(err)
	b.group = aws.ToString(groups.SecurityGroups[0].GroupId)
	for _, kind := range []string{"", "Test", "Builder"} {
		_, err = iam.NewFromConfig(c.Own()).CreateInstanceProfile(t.Context(), &iam.CreateInstanceProfileInput{InstanceProfileName: aws.String(c.Stack().Outputs[kind+"InstanceProfile"])})
		b.must(err)
	}
	made, err := machines.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String("production"), Description: aws.String("production"), VpcId: subnets.Subnets[0].VpcId})
	b.must(err)
	b.lastingGroup = aws.ToString(made.GroupId)
	c.Given(map[string]string{"InstanceSecurityGroup.GroupId": b.lastingGroup})
	expires := []string{"penstock:expires", "2030-01-01T00:00:00Z"}
	for where, tags := range map[*string]map[string]string{
		&b.free: stackTag, &b.staged: stageTag, &b.expiring: with(stackTag, expires...), &b.stagedExpiring: with(stageTag, expires...), &b.foreign: {"Name": "other"},
	} {
		out, err := machines.RunInstances(t.Context(), launching(b, tags))
		b.must(err)
		*where = aws.ToString(out.Instances[0].InstanceId)
	}
	for where, tags := range map[*string]map[string]string{&b.image: stackTag, &b.foreignImage: {"Name": "other"}} {
		out, err := machines.CreateImage(t.Context(), imaging(b.free, tags["Name"]+"image", tags))
		b.must(err)
		*where = aws.ToString(out.ImageId)
	}
	b.groups()
	b.listeners(subnets.Subnets)
	keys := kms.NewFromConfig(c.Own())
	for where, alias := range map[*string]string{&b.key: "alias/penstock/images", &b.otherKey: "alias/payroll"} {
		out, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{})
		b.must(err)
		*where = aws.ToString(out.KeyMetadata.Arn)
		_, err = keys.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String(alias), TargetKeyId: out.KeyMetadata.KeyId})
		b.must(err)
	}
	return b
}

func (b *rightsBed) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// groups makes Auto Scaling groups, by the tags that they are named after.
func (b *rightsBed) groups() {
	_, err := ec2.NewFromConfig(b.cloud.Own()).CreateLaunchTemplate(b.Context(), templating(b, stackTag))
	b.must(err)
	for name, tags := range map[string]map[string]string{
		"free": stackTag, "kept": with(stageTag, "penstock:serving", "false"), "serving": with(stageTag, "penstock:kept", "", "penstock:serving", "true"),
		"expiring": with(stackTag, "penstock:expires", "2030-01-01T00:00:00Z"), "stagedexpiring": with(stageTag, "penstock:expires", "2030-01-01T00:00:00Z"), "other": {},
	} {
		_, err := autoscaling.NewFromConfig(b.cloud.Own()).CreateAutoScalingGroup(b.Context(), grouping(b, name, tags))
		b.must(err)
	}
}

func (b *rightsBed) listeners(subnets []ec2types.Subnet) {
	client := elb.NewFromConfig(b.cloud.Own())
	expires := []string{"penstock:expires", "2030-01-01T00:00:00Z"}
	for where, tags := range map[*string]map[string]string{
		&b.listener: stackTag, &b.stagedListener: stageTag, &b.expiringListener: with(stackTag, expires...), &b.stagedExpiringListener: with(stageTag, expires...),
	} {
		name := "free" + tags["penstock:stage"] + strings.ReplaceAll(tags["penstock:expires"], ":", "")
		out, err := client.CreateLoadBalancer(b.Context(), &elb.CreateLoadBalancerInput{
			Name: aws.String(name), Tags: elbTags(tags), Subnets: []string{aws.ToString(subnets[0].SubnetId), aws.ToString(subnets[1].SubnetId)},
		})
		b.must(err)
		made, err := client.CreateListener(b.Context(), &elb.CreateListenerInput{
			LoadBalancerArn: out.LoadBalancers[0].LoadBalancerArn, Port: aws.Int32(80), Protocol: elbtypes.ProtocolEnumHttp, Tags: elbTags(tags),
			DefaultActions: []elbtypes.Action{{Type: elbtypes.ActionTypeEnumFixedResponse, FixedResponseConfig: &elbtypes.FixedResponseActionConfig{StatusCode: aws.String("503")}}},
		})
		b.must(err)
		*where = aws.ToString(made.Listeners[0].ListenerArn)
	}
}

func elbTags(tags map[string]string) (list []elbtypes.Tag) {
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, elbtypes.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return list
}

// launching asks for an instance as Penstock does.
func launching(b *rightsBed, tags map[string]string) *ec2.RunInstancesInput {
	return &ec2.RunInstancesInput{
		ImageId: aws.String(cloudtest.BaseImage), MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: ec2types.InstanceTypeT3Small,
		IamInstanceProfile: &ec2types.IamInstanceProfileSpecification{Name: aws.String(b.cloud.Stack().Outputs["TestInstanceProfile"])},
		MetadataOptions:    &ec2types.InstanceMetadataOptionsRequest{HttpTokens: ec2types.HttpTokensStateRequired},
		NetworkInterfaces:  []ec2types.InstanceNetworkInterfaceSpecification{{DeviceIndex: aws.Int32(0), SubnetId: aws.String(b.subnet), Groups: []string{b.group}}},
		TagSpecifications:  []ec2types.TagSpecification{ec2Tags(ec2types.ResourceTypeInstance, tags)},
	}
}

func imaging(instance, name string, tags map[string]string) *ec2.CreateImageInput {
	return &ec2.CreateImageInput{
		InstanceId: aws.String(instance), Name: aws.String(name),
		TagSpecifications: []ec2types.TagSpecification{ec2Tags(ec2types.ResourceTypeImage, tags), ec2Tags(ec2types.ResourceTypeSnapshot, tags)},
	}
}

func templating(b *rightsBed, tags map[string]string) *ec2.CreateLaunchTemplateInput {
	return &ec2.CreateLaunchTemplateInput{
		LaunchTemplateName: aws.String("penstock"), TagSpecifications: []ec2types.TagSpecification{ec2Tags(ec2types.ResourceTypeLaunchTemplate, tags)},
		LaunchTemplateData: &ec2types.RequestLaunchTemplateData{
			ImageId: aws.String(cloudtest.BaseImage), InstanceType: ec2types.InstanceTypeT3Small,
			MetadataOptions:   &ec2types.LaunchTemplateInstanceMetadataOptionsRequest{HttpTokens: ec2types.LaunchTemplateHttpTokensStateRequired},
			NetworkInterfaces: []ec2types.LaunchTemplateInstanceNetworkInterfaceSpecificationRequest{{DeviceIndex: aws.Int32(0), Groups: []string{b.group}}},
			TagSpecifications: []ec2types.LaunchTemplateTagSpecificationRequest{{ResourceType: ec2types.ResourceTypeInstance, Tags: ec2Tags("", stackTag).Tags}},
		},
	}
}

func grouping(b *rightsBed, name string, tags map[string]string) *autoscaling.CreateAutoScalingGroupInput {
	in := &autoscaling.CreateAutoScalingGroupInput{
		AutoScalingGroupName: aws.String(name), MinSize: aws.Int32(0), MaxSize: aws.Int32(1), DesiredCapacity: aws.Int32(0), VPCZoneIdentifier: aws.String(b.subnet),
		LaunchTemplate: &autoscalingtypes.LaunchTemplateSpecification{LaunchTemplateName: aws.String("penstock")},
	}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		in.Tags = append(in.Tags, autoscalingtypes.Tag{Key: aws.String(k), Value: aws.String(tags[k]), PropagateAtLaunch: aws.Bool(false)})
	}
	return in
}

// rights are the calls of TestRoles, by what they are for.
func (b *rightsBed) rights() map[string]right {
	all := map[string]right{}
	for _, list := range []map[string]right{b.recordRights(), b.fileRights(), b.machineRights(), b.groupRights(), b.scalingRights(), b.listenerRights(), b.imageRights(), b.keyRights(), b.otherRights()} {
		for name, r := range list {
			if _, twice := all[name]; twice {
				b.Fatalf("%q is there twice", name)
			}
			all[name] = r
		}
	}
	return all
}

// item is an item of the table by its partition key.
func item(pk string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: pk}, "sk": &types.AttributeValueMemberS{Value: "1"}}
}

func (b *rightsBed) recordRights() map[string]right {
	table := aws.String("Table")
	call := func(do func(context.Context, *dynamodb.Client) error) func(aws.Config) error {
		return func(cfg aws.Config) error { return do(b.Context(), dynamodb.NewFromConfig(cfg)) }
	}
	put := func(keys ...string) func(aws.Config) error {
		return call(func(ctx context.Context, c *dynamodb.Client) error {
			if len(keys) == 1 {
				_, err := c.PutItem(ctx, &dynamodb.PutItemInput{TableName: table, Item: item(keys[0])})
				return err
			}
			in := &dynamodb.TransactWriteItemsInput{}
			for _, k := range keys {
				in.TransactItems = append(in.TransactItems, types.TransactWriteItem{Put: &types.Put{TableName: table, Item: item(k)}})
			}
			_, err := c.TransactWriteItems(ctx, in)
			return err
		})
	}
	update := func(key string) func(aws.Config) error {
		return call(func(ctx context.Context, c *dynamodb.Client) error {
			_, err := c.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: table, Key: item(key)})
			return err
		})
	}
	query := func(table string) func(aws.Config) error {
		return call(func(ctx context.Context, c *dynamodb.Client) error {
			_, err := c.Query(ctx, &dynamodb.QueryInput{TableName: aws.String(table), KeyConditionExpression: aws.String("#k = :k"), ExpressionAttributeNames: map[string]string{"#k": "pk"},
				ExpressionAttributeValues: map[string]types.AttributeValue{":k": &types.AttributeValueMemberS{Value: "view#shop"}}})
			return err
		})
	}
	return map[string]right{
		"read the record":                           {"A D L R", query("Table")},
		"read another table":                        {"", query("Table2")},
		"approve or reject":                         {"A", put("decisions#shop")},
		"decide in a namespace":                     {"A", put("decisions#two.shop")},
		"change a decision":                         {"A", update("decisions#shop")},
		"decide, and write more in one transaction": {"", put("decisions#shop", "view#shop")},
		"write the state of a pipeline":             {"D L", put("view#shop")},
		"write the history":                         {"D L", put("events#shop")},
		"start an environment in the record":        {"D L", put("view#shop", "events#shop", "runs#shop")},
		"define a pipeline":                         {"D", put("pipelines")},
		"write what only looks like a decision":     {"D", put("x#decisions#shop")},
		"take a lease":                              {"D L", update("lease")},
		"remove a decision": {"D", call(func(ctx context.Context, c *dynamodb.Client) error {
			_, err := c.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: table, Key: item("decisions#shop")})
			return err
		})},
		"decide in a batch": {"", call(func(ctx context.Context, c *dynamodb.Client) error {
			_, err := c.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"Table": {
				{PutRequest: &types.PutRequest{Item: item("decisions#shop")}}, {PutRequest: &types.PutRequest{Item: item("view#shop")}},
			}}})
			return err
		})},
		"read all of the record at once": {"", call(func(ctx context.Context, c *dynamodb.Client) error {
			_, err := c.Scan(ctx, &dynamodb.ScanInput{TableName: table})
			return err
		})},
		"look at leases": {"A D L R", call(func(ctx context.Context, c *dynamodb.Client) error {
			_, err := c.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{"Table": {Keys: []map[string]types.AttributeValue{item("lease")}}}})
			return err
		})},
		"delete the table": {"", call(func(ctx context.Context, c *dynamodb.Client) error {
			_, err := c.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: table})
			return err
		})},
	}
}

func (b *rightsBed) fileRights() map[string]right {
	client := func(cfg aws.Config) *s3.Client {
		return s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
	}
	get := func(key string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := client(cfg).GetObject(b.Context(), &s3.GetObjectInput{Bucket: aws.String(b.bucket), Key: aws.String(key)})
			return err
		}
	}
	in := func(bucket, key string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := client(cfg).PutObject(b.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(key)})
			return err
		}
	}
	put := func(key string) func(aws.Config) error { return in(b.bucket, key) }
	add := func(key string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := client(cfg).PutObject(b.Context(), &s3.PutObjectInput{Bucket: aws.String(b.bucket), Key: aws.String(key), IfNoneMatch: aws.String("*")})
			return err
		}
	}
	over := func(key, from string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := client(cfg).CopyObject(b.Context(), &s3.CopyObjectInput{Bucket: aws.String(b.bucket), Key: aws.String(key), CopySource: aws.String(b.bucket + "/" + from)})
			return err
		}
	}
	begin := func(key string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := client(cfg).CreateMultipartUpload(b.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String(b.bucket), Key: aws.String(key)})
			return err
		}
	}
	remove := func(key string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := client(cfg).DeleteObject(b.Context(), &s3.DeleteObjectInput{Bucket: aws.String(b.bucket), Key: aws.String(key)})
			return err
		}
	}
	list := func(prefix string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := client(cfg).ListObjectsV2(b.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(b.bucket), Prefix: aws.String(prefix)})
			return err
		}
	}
	return map[string]right{
		"read an artifact":  {"B D I L X", get("artifacts/a")},
		"write an artifact": {"D", put("artifacts/a")},
		"read what a command printed in an environment": {"D L", get("output/environments/a")},
		"read what a command of a stage printed":        {"D", get("output/stages/a")},
		"remove what a command of a stage printed":      {"D", remove("output/stages/a")},
		"write what a command printed":                  {"B I X", put("output/stages/a")},
		"read a log":                                    {"A D L R", get("logs/a")},
		"write the log of an environment":               {"D L", put("logs/environments/shop/e-1/1-0")},
		"remove the log of an environment":              {"D L", remove("logs/environments/shop/e-1/1-0")},
		"write the log of a run":                        {"D", put("logs/runs/shop/r-1/1-0")},
		"add to the log of a run":                       {"D", add("logs/runs/shop/r-1/1-0")},
		"remove the log of a run":                       {"D", remove("logs/runs/shop/r-1/1-0")},
		"add a document to the record":                  {"D L", add("ledger/shop/1/a")},
		"replace a document of the record":              {"D", put("ledger/shop/1/a")},
		"copy over a document of the record":            {"D", over("ledger/shop/1/a", "logs/environments/shop/e-1/1-0")},
		"begin a document of the record in parts":       {"D", begin("ledger/shop/1/a")},
		"remove a document of the record":               {"D", remove("ledger/shop/1/a")},
		"send a file to an environment":                 {"D L", put("transfer/environments/a")},
		"fetch a file of an environment":                {"D L", get("transfer/environments/a")},
		"send a file to what a stage runs":              {"D", put("transfer/stages/a")},
		"fetch a file of a stage":                       {"D", get("transfer/stages/a")},
		"remove a file of a stage":                      {"D", remove("transfer/stages/a")},
		"send a step to CodeBuild":                      {"D", put("transfer/steps/a/job")},
		"fetch a step":                                  {"D", get("transfer/steps/a/job")},
		"send back what a step left":                    {"D T", put("transfer/steps/a/result.tar.gz")},
		"say when an environment ends":                  {"D L", put("ci/ends/s-1@1")},
		"say when an environment of a stage ends":       {"D", put("ci/ends/e-1@1")},
		"forget when an environment of a stage ends":    {"D", remove("ci/ends/e-1@1")},
		"list when environments end":                    {"D", list("ci/ends/")},
		"put a file elsewhere among the transfers":      {"", put("transfer/a")},
		"read an archive":                               {"A D L R", get("archive/a")},
		"archive a record":                              {"D", put("archive/a")},
		"read Terraform's state":                        {"D", get("state/shop")},
		"write Terraform's state":                       {"D", put("state/shop")},
		"write another bucket":                          {"", in(b.bucket+"2", "artifacts/a")},
		"remove an archive":                             {"D", remove("archive/a")},
		"list the bucket":                               {"", list("")},
		"list archives":                                 {"A D L R", list("archive/")},
		"list artifacts":                                {"D L", list("artifacts/")},
		"list what is on its way":                       {"", list("transfer/")},
		"list the files of stages":                      {"D", list("transfer/stages/")},
		"list the steps in CodeBuild":                   {"D", list("transfer/steps/")},
		"list what stages printed":                      {"D", list("output/stages/")},
		"list files of environments":                    {"D L", list("transfer/environments/")},
		"list workspaces of Terraform":                  {"D", list("env:/")},
		"list the whole bucket without a prefix": {"", func(cfg aws.Config) error {
			_, err := client(cfg).ListObjectsV2(b.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(b.bucket)})
			return err
		}},
		"give what a command printed to the bucket's owner": {"B I X", func(cfg aws.Config) error {
			_, err := client(cfg).PutObjectAcl(b.Context(), &s3.PutObjectAclInput{Bucket: aws.String(b.bucket), Key: aws.String("output/a"), ACL: s3types.ObjectCannedACLBucketOwnerFullControl})
			return err
		}},
		"ask how the bucket encrypts": {"B I X", func(cfg aws.Config) error {
			_, err := client(cfg).GetBucketEncryption(b.Context(), &s3.GetBucketEncryptionInput{Bucket: aws.String(b.bucket)})
			return err
		}},
		"change the bucket's policy": {"", func(cfg aws.Config) error {
			_, err := client(cfg).PutBucketPolicy(b.Context(), &s3.PutBucketPolicyInput{Bucket: aws.String(b.bucket), Policy: aws.String("{}")})
			return err
		}},
	}
}

// tagging adds a tag to what is launched.
func tagging(key, value string) func(*ec2.RunInstancesInput) {
	return func(in *ec2.RunInstancesInput) {
		in.TagSpecifications[0].Tags = append(in.TagSpecifications[0].Tags, ec2types.Tag{Key: aws.String(key), Value: aws.String(value)})
	}
}

func (b *rightsBed) machineRights() map[string]right {
	call := func(do func(context.Context, *ec2.Client) error) func(aws.Config) error {
		return func(cfg aws.Config) error { return do(b.Context(), ec2.NewFromConfig(cfg)) }
	}
	launch := func(change func(*ec2.RunInstancesInput)) func(aws.Config) error {
		return call(func(ctx context.Context, c *ec2.Client) error {
			in := launching(b, stackTag)
			change(in)
			_, err := c.RunInstances(ctx, in)
			return err
		})
	}
	terminate := func(ids ...string) func(aws.Config) error {
		return call(func(ctx context.Context, c *ec2.Client) error {
			_, err := c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: ids})
			return err
		})
	}
	tag := func(id string, tags map[string]string) func(aws.Config) error {
		return call(func(ctx context.Context, c *ec2.Client) error {
			_, err := c.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: ec2Tags("", tags).Tags})
			return err
		})
	}
	command := func(document string, ids ...string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := ssm.NewFromConfig(cfg).SendCommand(b.Context(), &ssm.SendCommandInput{
				DocumentName: aws.String(document), InstanceIds: ids, OutputS3BucketName: aws.String(b.bucket), Parameters: map[string][]string{"commands": {"true"}},
			})
			return err
		}
	}
	const shell = "AWS-RunShellScript"
	return map[string]right{
		"launch an instance":                    {"D L", launch(func(*ec2.RunInstancesInput) {})},
		"launch from an image of the stack":     {"D L", launch(func(in *ec2.RunInstancesInput) { in.ImageId = aws.String(b.image) })},
		"launch with version 1 of the metadata": {"", launch(func(in *ec2.RunInstancesInput) { in.MetadataOptions.HttpTokens = ec2types.HttpTokensStateOptional })},
		"launch without the stack's tag":        {"", launch(func(in *ec2.RunInstancesInput) { in.TagSpecifications = nil })},
		"launch with production's instance profile": {"D", launch(func(in *ec2.RunInstancesInput) {
			in.IamInstanceProfile.Name = aws.String(b.cloud.Stack().Outputs["InstanceProfile"])
		})},
		"launch with the builders' instance profile": {"D", launch(func(in *ec2.RunInstancesInput) {
			in.IamInstanceProfile.Name = aws.String(b.cloud.Stack().Outputs["BuilderInstanceProfile"])
		})},
		"launch into production's security group":    {"D", launch(func(in *ec2.RunInstancesInput) { in.NetworkInterfaces[0].Groups = []string{b.lastingGroup} })},
		"launch with another instance profile":       {"", launch(func(in *ec2.RunInstancesInput) { in.IamInstanceProfile.Name = aws.String("admin") })},
		"launch as an environment of one's own":      {"D L", launch(tagging("penstock:environment", "s-1"))},
		"launch as the environment of a stage":       {"D", launch(tagging("penstock:environment", "e-1"))},
		"launch as a stage":                          {"D", launch(tagging("penstock:stage", "production"))},
		"label as an environment of one's own":       {"D L", tag(b.free, map[string]string{"penstock:environment": "s-1"})},
		"label as the environment of a stage":        {"D", tag(b.free, map[string]string{"penstock:environment": "e-1"})},
		"label as a stage":                           {"D", tag(b.free, map[string]string{"penstock:stage": "production"})},
		"terminate an instance of the stack":         {"D L", terminate(b.free)},
		"terminate what a stage runs":                {"D", terminate(b.staged)},
		"terminate what expires":                     {"D E L S", terminate(b.expiring)},
		"terminate what a stage runs, if it expires": {"D S", terminate(b.stagedExpiring)},
		"terminate another's instance":               {"", terminate(b.foreign)},
		"terminate another's beside one's own":       {"", terminate(b.free, b.foreign)},
		"take an instance over with a tag":           {"", tag(b.foreign, stackTag)},
		"hand an instance over with a tag":           {"", tag(b.free, map[string]string{"penstock:stack": "other"})},
		"label an instance of the stack":             {"D L", tag(b.free, map[string]string{"penstock:serving": "true"})},
		"label what a stage runs":                    {"D", tag(b.staged, map[string]string{"penstock:serving": "true"})},
		"run a command":                              {"D L", command(shell, b.free)},
		"run a command on what a stage runs":         {"D", command(shell, b.staged)},
		"run a command on another's instance":        {"", command(shell, b.foreign)},
		"run another document":                       {"", command("AWS-RunPowerShellScript", b.free)},
		"see what runs": {"A D L R", call(func(ctx context.Context, c *ec2.Client) error {
			_, err := c.DescribeInstances(ctx, &ec2.DescribeInstancesInput{})
			return err
		})},
		"see what a balancer stands in": {"D L", call(func(ctx context.Context, c *ec2.Client) error {
			_, err := c.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{})
			return err
		})},
	}
}

func (b *rightsBed) groupRights() map[string]right {
	remove := func(name string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := autoscaling.NewFromConfig(cfg).DeleteAutoScalingGroup(b.Context(), &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String(name)})
			return err
		}
	}
	point := func(listener string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := elb.NewFromConfig(cfg).ModifyListener(b.Context(), &elb.ModifyListenerInput{ListenerArn: aws.String(listener)})
			return err
		}
	}
	schedule := func(group, name, role string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := scheduler.NewFromConfig(cfg).CreateSchedule(b.Context(), &scheduler.CreateScheduleInput{
				GroupName: aws.String(group), Name: aws.String(name), ScheduleExpression: aws.String("at(2030-01-01T00:00:00)"), FlexibleTimeWindow: &schedulertypes.FlexibleTimeWindow{Mode: schedulertypes.FlexibleTimeWindowModeOff},
				Target: &schedulertypes.Target{Arn: aws.String("arn:aws:scheduler:::aws-sdk:autoscaling:deleteAutoScalingGroup"), RoleArn: aws.String(b.cloud.Stack().Role(role).ARN), Input: aws.String(`{"AutoScalingGroupName": "penstock-a", "ForceDelete": true}`)},
			})
			return err
		}
	}
	serve := func(target string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			in := grouping(b, "new", stackTag)
			in.TargetGroupARNs = []string{"arn:aws:elasticloadbalancing:eu-west-1:" + b.cloud.ID + ":targetgroup/" + target + "/0123456789abcdef"}
			_, err := autoscaling.NewFromConfig(cfg).CreateAutoScalingGroup(b.Context(), in)
			return err
		}
	}
	unschedule := func(group string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := scheduler.NewFromConfig(cfg).DeleteSchedule(b.Context(), &scheduler.DeleteScheduleInput{GroupName: aws.String(group), Name: aws.String("penstock-e-1")})
			return err
		}
	}
	unbalance := func(listener *string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			arn := strings.Join(strings.Split(strings.Replace(*listener, ":listener/", ":loadbalancer/", 1), "/")[:4], "/")
			_, err := elb.NewFromConfig(cfg).DeleteLoadBalancer(b.Context(), &elb.DeleteLoadBalancerInput{LoadBalancerArn: aws.String(arn)})
			return err
		}
	}
	return map[string]right{
		"delete a load balancer of the stack":       {"D L", unbalance(&b.listener)},
		"delete a load balancer that expires":       {"D E L S", unbalance(&b.expiringListener)},
		"delete the load balancer of a stage":       {"D", unbalance(&b.stagedListener)},
		"delete that of a stage that expires":       {"D S", unbalance(&b.stagedExpiringListener)},
		"delete a group of the stack":               {"D L", remove("free")},
		"delete a group that expires":               {"D E L S", remove("expiring")},
		"delete the group of a stage that expires":  {"D S", remove("stagedexpiring")},
		"delete the group that serves a stage":      {"D", remove("serving")},
		"delete the group of a stage that was kept": {"D S", remove("kept")},
		"delete another's group":                    {"", remove("other")},
		"point a listener":                          {"D L", point(b.listener)},
		"point the listener of a stage":             {"D", point(b.stagedListener)},
		"schedule the end of an environment":        {"D L", schedule("penstock-environments", "penstock-e-1", "LauncherSchedulerRole")},
		"schedule the end of what a stage runs":     {"D", schedule("default", "penstock-e-1", "SchedulerRole")},
		"replace the schedule of a stage":           {"D", schedule("default", "penstock-e-1", "LauncherSchedulerRole")},
		"remove the schedule of an environment":     {"D L", unschedule("penstock-environments")},
		"remove the schedule of a stage":            {"D", unschedule("default")},
		"schedule by another role":                  {"", schedule("penstock-environments", "penstock-e-1", "DeployerRole")},
		"make another's schedule":                   {"", schedule("default", "backup", "LauncherSchedulerRole")},
		"make a schedule in another's group":        {"", schedule("payroll", "penstock-e-1", "LauncherSchedulerRole")},
		"make a group": {"D L", func(cfg aws.Config) error {
			_, err := autoscaling.NewFromConfig(cfg).CreateAutoScalingGroup(b.Context(), grouping(b, "new", stackTag))
			return err
		}},
		"make a group as the environment of a stage": {"D", func(cfg aws.Config) error {
			_, err := autoscaling.NewFromConfig(cfg).CreateAutoScalingGroup(b.Context(), grouping(b, "new", with(stackTag, "penstock:environment", "e-1")))
			return err
		}},
		"make a group that serves an environment of one's own": {"D L", serve("penstock-s-1")},
		"make a group that serves a stage":                     {"D", serve("penstock-f-1")},
		"make a group without the stack's tag": {"", func(cfg aws.Config) error {
			_, err := autoscaling.NewFromConfig(cfg).CreateAutoScalingGroup(b.Context(), grouping(b, "new", nil))
			return err
		}},
		"make a load balancer": {"D L", func(cfg aws.Config) error {
			_, err := elb.NewFromConfig(cfg).CreateLoadBalancer(b.Context(), &elb.CreateLoadBalancerInput{Name: aws.String("new"), Tags: elbTags(stackTag)})
			return err
		}},
	}
}

func (b *rightsBed) imageRights() map[string]right {
	call := func(do func(context.Context, *ec2.Client) error) func(aws.Config) error {
		return func(cfg aws.Config) error { return do(b.Context(), ec2.NewFromConfig(cfg)) }
	}
	bake := func(instance string, tags map[string]string) func(aws.Config) error {
		return call(func(ctx context.Context, c *ec2.Client) error {
			_, err := c.CreateImage(ctx, imaging(instance, "new", tags))
			return err
		})
	}
	publish := func(image string, tags map[string]string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			in := &ec2.CopyImageInput{SourceImageId: aws.String(image), SourceRegion: aws.String(cloudtest.Region), Name: aws.String("new")}
			if tags != nil {
				in.TagSpecifications = []ec2types.TagSpecification{ec2Tags(ec2types.ResourceTypeImage, tags), ec2Tags(ec2types.ResourceTypeSnapshot, tags)}
			}
			_, err := ec2.NewFromConfig(cfg, func(o *ec2.Options) { o.Region = "us-east-1" }).CopyImage(b.Context(), in)
			return err
		}
	}
	share := func(image string) func(aws.Config) error {
		return call(func(ctx context.Context, c *ec2.Client) error {
			_, err := c.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: aws.String(image), LaunchPermission: &ec2types.LaunchPermissionModifications{Add: []ec2types.LaunchPermission{{UserId: aws.String("999999999999")}}}})
			return err
		})
	}
	remove := func(image string) func(aws.Config) error {
		return call(func(ctx context.Context, c *ec2.Client) error {
			_, err := c.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: aws.String(image)})
			return err
		})
	}
	find := func(name string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := ssm.NewFromConfig(cfg).GetParameters(b.Context(), &ssm.GetParametersInput{Names: []string{name}})
			return err
		}
	}
	write := func(name string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := ssm.NewFromConfig(cfg, func(o *ssm.Options) { o.Region = "us-east-1" }).PutParameter(b.Context(), &ssm.PutParameterInput{
				Name: aws.String(name), Value: aws.String(b.image), Tags: []ssmtypes.Tag{{Key: aws.String("penstock:stack"), Value: aws.String("penstock")}},
			})
			return err
		}
	}
	return map[string]right{
		"bake an image":                          {"D", bake(b.free, stackTag)},
		"bake one without the stack's tag":       {"", bake(b.free, nil)},
		"bake another's instance":                {"", bake(b.foreign, stackTag)},
		"copy an image to another region":        {"D", publish(b.image, stackTag)},
		"copy one without the stack's tag":       {"", publish(b.image, nil)},
		"copy an image of AWS":                   {"", publish(cloudtest.BaseImage, stackTag)},
		"share an image":                         {"D", share(b.image)},
		"share another's image":                  {"", share(b.foreignImage)},
		"remove an image":                        {"D", remove(b.image)},
		"remove another's image":                 {"", remove(b.foreignImage)},
		"find a public base image":               {"D", find("/aws/service/ami-amazon-linux-latest/al2023")},
		"find a base image by the team's name":   {"D", find("/penstock/base")},
		"read another parameter of the account":  {"", find("/password")},
		"name an image in a parameter":           {"D", write("/penstock/shop/base")},
		"overwrite a parameter that is no image": {"", write("/password")},
	}
}

func (b *rightsBed) keyRights() map[string]right {
	const scaling = "role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
	grant := func(key, to string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := kms.NewFromConfig(cfg).CreateGrant(b.Context(), &kms.CreateGrantInput{KeyId: aws.String(key), GranteePrincipal: aws.String(to), Operations: []kmstypes.GrantOperation{kmstypes.GrantOperationDecrypt}})
			return err
		}
	}
	launch := func(key string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			in := launching(b, stackTag)
			in.BlockDeviceMappings = []ec2types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{Encrypted: aws.Bool(true), KmsKeyId: aws.String(key)}}}
			_, err := ec2.NewFromConfig(cfg).RunInstances(b.Context(), in)
			return err
		}
	}
	decrypt := func(key string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := kms.NewFromConfig(cfg).Decrypt(b.Context(), &kms.DecryptInput{KeyId: aws.String(key), CiphertextBlob: []byte("x")})
			return err
		}
	}
	return map[string]right{
		"share the key of images":                  {"D", grant(b.key, "arn:aws:iam::999999999999:root")},
		"share another key":                        {"", grant(b.otherKey, "arn:aws:iam::999999999999:root")},
		"let Auto Scaling use the key of images":   {"D L", grant(b.key, "arn:aws:iam::"+b.cloud.ID+":"+scaling)},
		"let Auto Scaling use another key":         {"", grant(b.otherKey, "arn:aws:iam::"+b.cloud.ID+":"+scaling)},
		"launch with the key of images":            {"D L", launch(b.key)},
		"launch with another key":                  {"", launch(b.otherKey)},
		"read what another key of the account has": {"", decrypt(b.otherKey)},
	}
}

func (b *rightsBed) otherRights() map[string]right {
	s := b.cloud.Stack()
	start := func(project string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := codebuild.NewFromConfig(cfg).StartBuild(b.Context(), &codebuild.StartBuildInput{ProjectName: aws.String(project)})
			return err
		}
	}
	tell := func(source string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := eventbridge.NewFromConfig(cfg).PutEvents(b.Context(), &eventbridge.PutEventsInput{Entries: []eventtypes.PutEventsRequestEntry{{Source: aws.String(source), DetailType: aws.String("deployed"), Detail: aws.String("{}")}}})
			return err
		}
	}
	become := func(role string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := sts.NewFromConfig(cfg).AssumeRole(b.Context(), &sts.AssumeRoleInput{RoleArn: aws.String(s.Role(role).ARN), RoleSessionName: aws.String("tests")})
			return err
		}
	}
	logs := func(group string) func(aws.Config) error {
		return func(cfg aws.Config) error {
			_, err := cloudwatchlogs.NewFromConfig(cfg).PutLogEvents(b.Context(), &cloudwatchlogs.PutLogEventsInput{
				LogGroupName: aws.String(group), LogStreamName: aws.String("a"), LogEvents: []logtypes.InputLogEvent{{Message: aws.String("x"), Timestamp: aws.Int64(1)}},
			})
			return err
		}
	}
	return map[string]right{
		"run a step in CodeBuild":       {"D", start(s.Outputs["RunnerProject"])},
		"move the pipelines at once":    {"", start(s.Outputs["ApplyProject"])},
		"start another project":         {"", start("payroll")},
		"notify on the bus":             {"D", tell("penstock")},
		"notify in the name of another": {"", tell("aws.ec2")},
		"become a deployer":             {"R", become(cloudtest.Deployer)},
		"become an approver":            {"", become(cloudtest.Approver)},
		"become the instances' role":    {"", become(cloudtest.Instance)},
		"write the log of a build":      {"R T", logs(s.Outputs["CiLogGroup"])},
		"write another log":             {"", logs("/payroll")},
		"read the log of a build": {"D", func(cfg aws.Config) error {
			_, err := cloudwatchlogs.NewFromConfig(cfg).GetLogEvents(b.Context(), &cloudwatchlogs.GetLogEventsInput{LogGroupName: aws.String(s.Outputs["CiLogGroup"]), LogStreamName: aws.String("a")})
			return err
		}},
		"notify subscribers": {"D", func(cfg aws.Config) error {
			_, err := sns.NewFromConfig(cfg).Publish(b.Context(), &sns.PublishInput{TopicArn: aws.String(s.Outputs["Topic"]), Message: aws.String("x")})
			return err
		}},
		"read alarms": {"D L", func(cfg aws.Config) error {
			_, err := cloudwatch.NewFromConfig(cfg).DescribeAlarms(b.Context(), &cloudwatch.DescribeAlarmsInput{})
			return err
		}},
		"find the stack": {"A D L R", func(cfg aws.Config) error {
			_, err := cloudformation.NewFromConfig(cfg).DescribeStacks(b.Context(), &cloudformation.DescribeStacksInput{StackName: aws.String("penstock")})
			return err
		}},
		"change the stack": {"", func(cfg aws.Config) error {
			_, err := cloudformation.NewFromConfig(cfg).UpdateStack(b.Context(), &cloudformation.UpdateStackInput{StackName: aws.String("penstock")})
			return err
		}},
		"write a policy of a role": {"", func(cfg aws.Config) error {
			_, err := iam.NewFromConfig(cfg).PutRolePolicy(b.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("penstock-ApproverRole"), PolicyName: aws.String("x"), PolicyDocument: aws.String("{}")})
			return err
		}},
	}
}
