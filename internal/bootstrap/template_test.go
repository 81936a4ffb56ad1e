// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
)

// maxTemplate is what the template may have, in bytes. CloudFormation reads up to 1 MB from a
// bucket; its own page shows less, and each resource has a price in what has to be understood.
const maxTemplate = 74000

func TestTemplateLint(t *testing.T) {
	t.Parallel()
	if n := len(bootstrap.Template()); n > maxTemplate {
		t.Errorf("the template has %d bytes; it may have %d", n, maxTemplate)
	}
	program, err := findLint()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), program[0], append(program[1:], "--regions", "eu-west-1", "us-east-1", "--", "template.yaml")...).CombinedOutput()
	if err != nil {
		t.Errorf("cfn-lint: %v\n%s", err, out)
	}
}

// findLint finds cfn-lint: on PATH, beside moto_server, which brings it, or as a module
// of the Python there or on PATH.
func findLint() ([]string, error) {
	moto := os.Getenv("MOTO_SERVER")
	if moto == "" {
		moto, _ = exec.LookPath("moto_server")
	}
	candidates := [][]string{{"cfn-lint"}}
	if moto != "" {
		dir := filepath.Dir(moto)
		candidates = append(candidates, []string{filepath.Join(dir, "cfn-lint")}, []string{filepath.Join(dir, "python"), "-m", "cfnlint"})
	}
	candidates = append(candidates, []string{"python3", "-m", "cfnlint"})
	for _, c := range candidates {
		if exec.Command(c[0], append(c[1:], "--version")...).Run() == nil {
			return c, nil
		}
	}
	return nil, errors.New("there is no cfn-lint: run the tests with `make test`, which finds or installs a moto_server that brings it, or `pip install cfn-lint`")
}

// at returns what a path of keys leads to.
func at(v any, path ...string) any {
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

// The simulator drops or ignores these, so that nothing else would notice.
func TestTemplateHasWhatTheSimulatorSkips(t *testing.T) {
	t.Parallel()
	d := deploy(t, nil)
	for _, want := range []struct {
		resource string
		path     string
		value    any
	}{
		{"Bucket", "VersioningConfiguration.Status", "Enabled"},
		{"Bucket", "PublicAccessBlockConfiguration.BlockPublicAcls", "true"},
		{"Bucket", "PublicAccessBlockConfiguration.BlockPublicPolicy", "true"},
		{"Bucket", "PublicAccessBlockConfiguration.IgnorePublicAcls", "true"},
		{"Bucket", "PublicAccessBlockConfiguration.RestrictPublicBuckets", "true"},
		{"Bucket", "OwnershipControls.Rules", []any{map[string]any{"ObjectOwnership": "BucketOwnerEnforced"}}},
		{"Bucket", "BucketEncryption.ServerSideEncryptionConfiguration", []any{map[string]any{"BucketKeyEnabled": "false", "ServerSideEncryptionByDefault": map[string]any{"SSEAlgorithm": "AES256"}}}},
		{"Table", "PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled", "true"},
		{"Table", "DeletionProtectionEnabled", "true"},
		{"Table", "BillingMode", "PAY_PER_REQUEST"},
		{"Vpc", "EnableDnsHostnames", "true"},
		{"PublicSubnet1", "MapPublicIpOnLaunch", "true"},
		{"PrivateSubnet1", "MapPublicIpOnLaunch", nil},
		{"PublicRoutes2", "RouteTableId", "PublicRoutes"},
		{"PrivateRoutes2", "RouteTableId", "PrivateRoutes"},
		{"S3Endpoint", "VpcEndpointType", "Gateway"},
		{"DynamoEndpoint", "RouteTableIds", []any{"PublicRoutes", "PrivateRoutes"}},
		{"InstanceRole", "ManagedPolicyArns", []any{"MachinePolicy"}},
		{"InstanceProfile", "Roles", []any{"InstanceRole"}}, {"TestInstanceProfile", "Roles", []any{"TestInstanceRole"}}, {"BuilderInstanceProfile", "Roles", []any{"BuilderInstanceRole"}},
	} {
		if got := at(d.Properties(want.resource), strings.Split(want.path, ".")...); !reflect.DeepEqual(got, want.value) {
			t.Errorf("%s of %s is %v, want %v", want.path, want.resource, got, want.value)
		}
	}
	for _, resource := range []string{"Bucket", "BucketPolicy", "Table"} {
		if d.Resources[resource]["DeletionPolicy"] != "RetainExceptOnCreate" || d.Resources[resource]["UpdateReplacePolicy"] != "Retain" {
			t.Errorf("%s is not retained", resource)
		}
	}
	rules := fmt.Sprint(at(d.Properties("Bucket"), "LifecycleConfiguration", "Rules"))
	if !strings.Contains(rules, "AbortIncompleteMultipartUpload:map[DaysAfterInitiation:7]") || !strings.Contains(rules, "Prefix:transfer/") || !strings.Contains(rules, "Prefix:output/") {
		t.Errorf("what nobody needs stays: %s", rules)
	}
	if got := d.Outputs["TemplateVersion"]; got != strconv.Itoa(bootstrap.TemplateVersion) {
		t.Errorf("the template's version is %s, the program's %d", got, bootstrap.TemplateVersion)
	}
}

func TestBucketTakesTLSOnly(t *testing.T) {
	t.Parallel()
	d := deploy(t, nil)
	if got := d.Properties("BucketPolicy")["Bucket"]; got != "Bucket" {
		t.Fatalf("the policy is that of %v", got)
	}
	deployer, file := d.Role("DeployerRole"), iamtest.Resource{ARN: "arn:aws:s3:::Bucket/artifacts/a", Policy: iamtest.ParsePolicy(at(d.Properties("BucketPolicy"), "PolicyDocument"))}
	for secure, refused := range map[string]bool{"false": true, "true": false} {
		err := deployer.May(iamtest.Request{Action: "s3:GetObject", Resources: []iamtest.Resource{file}, Context: map[string][]string{"aws:SecureTransport": {secure}}})
		if (err != nil) != refused {
			t.Errorf("with TLS (%s) a file can be read: %v", secure, err)
		}
	}
}

// rules returns a security group's inbound rules, inline and apart.
func (d *deployed) rules(group string) []any {
	list, _ := d.Properties(group)["SecurityGroupIngress"].([]any)
	for _, r := range d.Resources {
		if r["Type"] == "AWS::EC2::SecurityGroupIngress" && at(r, "Properties", "GroupId") == group+".GroupId" {
			list = append(list, r["Properties"])
		}
	}
	return list
}

func TestInstancesTakeTheServicePortFromLoadBalancersAlone(t *testing.T) {
	t.Parallel()
	d := deploy(t, map[string]string{"ServicePort": "9000"})
	want := []any{map[string]any{"IpProtocol": "tcp", "FromPort": "9000", "ToPort": "9000",
		"SourceSecurityGroupId": "LoadBalancerSecurityGroup.GroupId", "Description": "The service, for load balancers"}}
	for _, group := range []string{"InstanceSecurityGroup", "TestSecurityGroup"} {
		if got := d.rules(group); !reflect.DeepEqual(got, want) {
			t.Errorf("inbound rules of %s are %v", group, got)
		}
	}
	if got := d.Properties("BuilderSecurityGroup")["SecurityGroupIngress"]; got != nil || d.Outputs["BuilderSecurityGroup"] != "BuilderSecurityGroup.GroupId" {
		t.Errorf("inbound rules of builders are %v; the output is %q", got, d.Outputs["BuilderSecurityGroup"])
	}
	var ports []string
	for _, rule := range d.rules("LoadBalancerSecurityGroup") {
		r := rule.(map[string]any)
		ports = append(ports, fmt.Sprintf("%v-%v", r["FromPort"], r["ToPort"]))
	}
	if !slices.Equal(ports, []string{"80-89", "443-443", "10000-65535"}) {
		t.Errorf("load balancers take ports %v", ports)
	}
	open := deploy(t, map[string]string{"PublicInstances": "yes", "ClientCidr": "203.0.113.0/24"})
	for _, group := range []string{"InstanceSecurityGroup", "TestSecurityGroup"} {
		if got := open.rules(group); len(got) != 2 || at(got[1], "CidrIp") != "203.0.113.0/24" || at(got[1], "FromPort") != "8080" {
			t.Errorf("inbound rules of public %s are %v", group, got)
		}
	}
}

// decrypt is a call to use the stack's own key.
var decrypt = iamtest.Request{Action: "kms:Decrypt", Resources: []iamtest.Resource{{ARN: "arn:aws:kms:eu-west-1:123456789012:key/Key"}}}

// With a key of its own, all that holds data uses it, and all that reads data may.
func TestOwnKey(t *testing.T) {
	t.Parallel()
	const key = "arn:aws:kms:eu-west-1:123456789012:key/Key"
	d := deploy(t, map[string]string{"OwnKey": "yes"})
	for _, want := range []struct{ resource, path, value string }{
		{"Table", "SSESpecification.KMSMasterKeyId", key}, {"Topic", "KmsMasterKeyId", key},
	} {
		if got := at(d.Properties(want.resource), strings.Split(want.path, ".")...); got != want.value {
			t.Errorf("%s of %s is %v", want.path, want.resource, got)
		}
	}
	if rules := fmt.Sprint(at(d.Properties("Bucket"), "BucketEncryption")); !strings.Contains(rules, "aws:kms") || !strings.Contains(rules, key) {
		t.Errorf("the bucket is encrypted with %s", rules)
	}
	for _, role := range []string{"ApproverRole", "DeployerRole", "LauncherRole", "RunnerRole", "InstanceRole", "TestInstanceRole", "BuilderInstanceRole"} {
		if d.Role(role).May(decrypt) != nil {
			t.Errorf("%s can't read what the key encrypts", role)
		}
	}
	if _, made := deploy(t, nil).Resources["Key"]; made {
		t.Error("a key is made that nobody asked for")
	}
}

// IAM takes no longer policies, and no more for a role, whatever is given. Names are longer than
// those that the tests give.
func TestPolicySizes(t *testing.T) {
	t.Parallel()
	const room = 400
	d := withCI(t, map[string]string{
		"OwnKey": "yes", "RepositoryToken": "/ci/token", "WebhookSecret": "/ci/secret", "ParameterPath": "/acme", "InstanceRoles": "arn:aws:iam::123456789012:role/app",
		"ImageKeys": "arn:aws:kms:eu-west-1:123456789012:key/1", "HostedZones": "arn:aws:route53:::hostedzone/Z0", "RecordNames": "*.shop.example.com",
		"TargetRoles": "arn:aws:iam::111111111111:role/penstock-TargetRole", "ReaderRoles": "arn:aws:iam::111111111111:role/penstock-TargetReaderRole",
		"Readers": "arn:aws:iam::111111111111:role/penstock-DeployerRole", "Target": "yes", "TrustedBy": "arn:aws:iam::111111111111:role/penstock-DeployerRole",
	})
	for _, err := range d.Beyond(room) {
		t.Error(err)
	}
}

// Every combination of what can be made and given must hold together: each reference
// leads to something that exists.
func TestTemplateWithAllChoices(t *testing.T) {
	t.Parallel()
	for i := range 1 << 6 {
		bit := func(n int, yes, no string) string {
			if i>>n&1 == 1 {
				return yes
			}
			return no
		}
		given := map[string]string{
			"Network": bit(0, "yes", "no"), "Support": bit(1, "yes", "no"), "Zones": bit(2, "3", "2"), "NatGateway": bit(3, "yes", "no"),
			"VpcId": bit(4, "vpc-1", ""), "PublicSubnets": bit(4, "subnet-1,subnet-2", ""), "PrivateSubnets": bit(4, "subnet-3", ""),
			"BucketName": bit(5, "b", ""), "TableName": bit(5, "t", ""),
		}
		d := deploy(t, given)
		made := given["Network"] == "yes" && given["VpcId"] == ""
		for resource, want := range map[string]bool{
			"Vpc": made, "PrivateSubnet3": made && given["Zones"] == "3", "NatGatewayOfZone1": made && given["NatGateway"] == "yes",
			"Bucket": given["Support"] == "yes" && given["BucketName"] == "", "Table": given["Support"] == "yes" && given["TableName"] == "",
			"InstanceSecurityGroup": given["Support"] == "yes" && (made || given["VpcId"] != ""), "ApproverRole": given["Support"] == "yes",
		} {
			if _, got := d.Resources[resource]; got != want {
				t.Errorf("%v: %s is made: %v", given, resource, got)
			}
		}
		if given["VpcId"] != "" && (d.Outputs["VpcId"] != "vpc-1" || d.Outputs["PublicSubnets"] != "subnet-1,subnet-2" || d.Outputs["PrivateAccess"] != "yes") {
			t.Errorf("%v: outputs %v", given, d.Outputs)
		}
		if made && strings.Count(d.Outputs["PrivateSubnets"], ",")+1 != len(given["Zones"])*int(given["Zones"][0]-'0') {
			t.Errorf("%v: outputs %v", given, d.Outputs)
		}
	}
}
