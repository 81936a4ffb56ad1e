// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"slices"
	"strings"
	"testing"
)

const (
	own      = "arn:aws:dynamodb:eu-west-1:123456789012:table/Table"
	instance = "arn:aws:ec2:eu-west-1:123456789012:instance/i-1"
	image    = "arn:aws:ec2:eu-west-1::image/ami-1"
	bucket   = "arn:aws:s3:::Bucket"
	theStack = "arn:aws:cloudformation:eu-west-1:123456789012:stack/penstock/1"
)

// keys is the context of a call that names items of the table with these partition
// keys. A transaction is allowed when each of its items is.
func keys(k ...string) map[string][]string { return map[string][]string{"dynamodb:LeadingKeys": k} }

func tagged(more ...string) map[string][]string {
	c := map[string][]string{"aws:ResourceTag/penstock:stack": {"penstock"}}
	for i := 0; i < len(more); i += 2 {
		c[more[i]] = []string{more[i+1]}
	}
	return c
}

func asking(more ...string) map[string][]string {
	c := tagged(more...)
	delete(c, "aws:ResourceTag/penstock:stack")
	c["aws:RequestTag/penstock:stack"] = []string{"penstock"}
	return c
}

// TestRoles says what each role may do: those that are named may, and the others may not.
func TestRoles(t *testing.T) {
	t.Parallel()
	d := deploy(t, nil)
	const approver, deployer, launcher, runner, scheduler, instances = "ApproverRole", "DeployerRole", "LauncherRole", "RunnerRole", "SchedulerRole", "InstanceRole"
	all := []string{approver, deployer, launcher, runner, scheduler, instances}
	for name, tt := range map[string]struct {
		request
		may string // roles, by their first letters
	}{
		"read the record":                 {request{"dynamodb:Query", own, keys("view#shop")}, "A D L R"},
		"read another table":              {request{"dynamodb:Query", own + "2", keys("view#shop")}, ""},
		"scan the record":                 {request{"dynamodb:Scan", own, nil}, ""},
		"decide":                          {request{"dynamodb:PutItem", own, keys("decisions#shop")}, "A"},
		"change a decision":               {request{"dynamodb:UpdateItem", own, keys("decisions#shop")}, "A"},
		"remove a decision":               {request{"dynamodb:DeleteItem", own, keys("decisions#shop")}, "D"},
		"decide, and more at once":        {request{"dynamodb:PutItem", own, keys("decisions#shop", "view#shop")}, ""},
		"decide in a batch":               {request{"dynamodb:BatchWriteItem", own, keys("decisions#shop", "view#shop")}, ""},
		"write without a key":             {request{"dynamodb:PutItem", own, nil}, ""},
		"write the state":                 {request{"dynamodb:PutItem", own, keys("view#shop")}, "D L"},
		"write the history":               {request{"dynamodb:PutItem", own, keys("events#shop")}, "D L"},
		"define a pipeline":               {request{"dynamodb:PutItem", own, keys("pipelines")}, "D"},
		"write what only looks like one":  {request{"dynamodb:PutItem", own, keys("x#decisions#shop")}, "D"},
		"take a lease":                    {request{"dynamodb:UpdateItem", own, keys("lease")}, "D L"},
		"start an environment":            {request{"dynamodb:PutItem", own, keys("view#shop", "events#shop", "runs#shop")}, "D L"},
		"write the log of an environment": {request{"s3:PutObject", bucket + "/logs/shop/e-1", nil}, "D L"},
		"terminate what a stage runs":     {request{"ec2:TerminateInstances", instance, tagged("aws:ResourceTag/penstock:stage", "production")}, "D"},
		"command what a stage runs":       {request{"ssm:SendCommand", instance, tagged("aws:ResourceTag/penstock:stage", "production")}, "D"},
		"point a stage's listener":        {request{"elasticloadbalancing:ModifyListener", "l", tagged("aws:ResourceTag/penstock:stage", "production")}, "D"},
		"point an own listener":           {request{"elasticloadbalancing:ModifyListener", "l", tagged()}, "D L"},
		"read alarms":                     {request{"cloudwatch:DescribeAlarms", "*", nil}, "D L"},
		"delete the table":                {request{"dynamodb:DeleteTable", own, nil}, ""},
		"write by a query language":       {request{"dynamodb:PartiQLUpdate", own, keys("view#shop")}, ""},
		"launch":                          {request{"ec2:RunInstances", instance, asking("ec2:MetadataHttpTokens", "required")}, "D L"},
		"launch with the old metadata":    {request{"ec2:RunInstances", instance, asking("ec2:MetadataHttpTokens", "optional")}, ""},
		"launch without the tag":          {request{"ec2:RunInstances", instance, map[string][]string{"ec2:MetadataHttpTokens": {"required"}}}, ""},
		"launch from an image":            {request{"ec2:RunInstances", image, nil}, "D L"},
		"launch from a stage's image":     {request{"ec2:RunInstances", image, tagged("aws:ResourceTag/penstock:stage", "acceptance")}, "D L"},
		"terminate the stack's":           {request{"ec2:TerminateInstances", instance, tagged()}, "D L"},
		"terminate what expires":          {request{"ec2:TerminateInstances", instance, tagged("aws:ResourceTag/penstock:expires", "2030-01-01T00:00:00Z")}, "D L S"},
		"terminate another's":             {request{"ec2:TerminateInstances", instance, nil}, ""},
		"delete an environment":           {request{"autoscaling:DeleteAutoScalingGroup", "g", tagged("aws:ResourceTag/penstock:environment", "e-1")}, "D L S"},
		"delete another's group":          {request{"autoscaling:DeleteAutoScalingGroup", "g", nil}, ""},
		"take over with a tag":            {request{"ec2:CreateTags", instance, asking()}, ""},
		"hand over with a tag":            {request{"ec2:CreateTags", instance, tagged("aws:RequestTag/penstock:stack", "other")}, ""},
		"label the stack's":               {request{"ec2:CreateTags", instance, tagged("aws:RequestTag/penstock:serving", "true")}, "D L"},
		"tag at creation":                 {request{"ec2:CreateTags", instance, asking("ec2:CreateAction", "RunInstances")}, "D L"},
		"run a command":                   {request{"ssm:SendCommand", instance, tagged()}, "D L"},
		"run a command on another's":      {request{"ssm:SendCommand", instance, nil}, ""},
		"run another document":            {request{"ssm:SendCommand", "arn:aws:ssm:eu-west-1::document/AWS-RunPowerShellScript", nil}, ""},
		"bake an instance":                {request{"ec2:CreateImage", instance, tagged()}, "D"},
		"bake another's instance":         {request{"ec2:CreateImage", instance, nil}, ""},
		"make an image":                   {request{"ec2:CreateImage", image, asking()}, "D"},
		"copy an image":                   {request{"ec2:CopyImage", "arn:aws:ec2:us-east-1::image/ami-2", asking()}, "D"},
		"copy another's image":            {request{"ec2:CopyImage", image, nil}, ""},
		"share an image":                  {request{"ec2:ModifyImageAttribute", image, tagged()}, "D"},
		"share another's image":           {request{"ec2:ModifyImageAttribute", image, nil}, ""},
		"name an image":                   {request{"ssm:PutParameter", "arn:aws:ssm:us-east-1:123456789012:parameter/penstock/shop/base", nil}, "D"},
		"overwrite a parameter":           {request{"ssm:PutParameter", "arn:aws:ssm:eu-west-1:123456789012:parameter/password", nil}, ""},
		"share a key for images":          {request{"kms:CreateGrant", "arn:aws:kms:eu-west-1:123456789012:key/1", map[string][]string{"kms:ResourceAliases": {"alias/penstock/images"}}}, "D"},
		"share another key":               {request{"kms:CreateGrant", "arn:aws:kms:eu-west-1:123456789012:key/1", map[string][]string{"kms:ResourceAliases": {"alias/payroll"}}}, ""},
		"stop sharing a key":              {request{"kms:RevokeGrant", "arn:aws:kms:eu-west-1:123456789012:key/1", map[string][]string{"kms:ResourceAliases": {"alias/penstock/images"}}}, "D"},
		"launch an encrypted image":       {request{"kms:CreateGrant", "arn:aws:kms:eu-west-1:123456789012:key/1", map[string][]string{"kms:ResourceAliases": {"alias/penstock/images"}, "kms:ViaService": {"ec2.eu-west-1.amazonaws.com"}}}, "D L"},
		"launch with another key":         {request{"kms:CreateGrant", "arn:aws:kms:eu-west-1:123456789012:key/1", map[string][]string{"kms:ViaService": {"ec2.eu-west-1.amazonaws.com"}}}, ""},
		"let Auto Scaling launch it":      {request{"kms:CreateGrant", "arn:aws:kms:eu-west-1:123456789012:key/1", map[string][]string{"kms:ResourceAliases": {"alias/penstock/images"}, "kms:GranteePrincipal": {"arn:aws:iam::123456789012:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"}}}, "D L"},
		"remove an image":                 {request{"ec2:DeregisterImage", image, tagged()}, "D"},
		"remove another's image":          {request{"ec2:DeregisterImage", image, nil}, ""},
		"read an artifact":                {request{"s3:GetObject", bucket + "/artifacts/a", nil}, "D L I"},
		"write an artifact":               {request{"s3:PutObject", bucket + "/artifacts/a", nil}, "D"},
		"read output":                     {request{"s3:GetObject", bucket + "/output/a", nil}, "D L"},
		"write output":                    {request{"s3:PutObject", bucket + "/output/a", nil}, "I"},
		"give output to the owner":        {request{"s3:PutObjectAcl", bucket + "/output/a", nil}, "I"},
		"ask how the bucket encrypts":     {request{"s3:GetEncryptionConfiguration", bucket, nil}, "I"},
		"see what runs":                   {request{"ec2:DescribeInstances", "*", nil}, "A D L R"},
		"see what a balancer stands in":   {request{"ec2:DescribeSubnets", "*", nil}, "D L"},
		"tag a copy":                      {request{"ec2:CreateTags", image, asking("ec2:CreateAction", "CopyImage")}, "D L"},
		"send files":                      {request{"s3:PutObject", bucket + "/transfer/a", nil}, "D L"},
		"read a log":                      {request{"s3:GetObject", bucket + "/logs/a", nil}, "A D L R"},
		"decide in a namespace":           {request{"dynamodb:PutItem", own, keys("decisions#two.shop")}, "A"},
		"write a namespace's state":       {request{"dynamodb:PutItem", own, keys("view#two.shop", "events#two.shop", "runs#two.shop")}, "D L"},
		"look at a lease":                 {request{"dynamodb:GetItem", own, keys("lease")}, "A D L R"},
		"look at leases":                  {request{"dynamodb:BatchGetItem", own, keys("lease")}, "A D L R"},
		"read an archive":                 {request{"s3:GetObject", bucket + "/archive/a", nil}, "A D L R"},
		"archive a record":                {request{"s3:PutObject", bucket + "/archive/a", nil}, "D"},
		"remove an archive":               {request{"s3:DeleteObject", bucket + "/archive/a", nil}, "D"},
		"list the bucket":                 {request{"s3:ListBucket", bucket, nil}, "A D L R"},
		"find a public base image":        {request{"ssm:GetParameters", "arn:aws:ssm:eu-west-1::parameter/aws/service/ami-amazon-linux-latest/al2023", nil}, "D"},
		"find a base image of the team":   {request{"ssm:GetParameters", "arn:aws:ssm:eu-west-1:123456789012:parameter/penstock/base", nil}, "D"},
		"read a parameter of the account": {request{"ssm:GetParameter", "arn:aws:ssm:eu-west-1:123456789012:parameter/password", nil}, ""},
		"write another bucket":            {request{"s3:PutObject", bucket + "2/artifacts/a", nil}, ""},
		"change the bucket's policy":      {request{"s3:PutBucketPolicy", bucket, nil}, ""},
		"notify":                          {request{"sns:Publish", "Topic", nil}, "D"},
		"notify on the bus":               {request{"events:PutEvents", "arn:aws:events:eu-west-1:123456789012:event-bus/default", map[string][]string{"events:source": {"penstock"}}}, "D"},
		"notify for another":              {request{"events:PutEvents", "arn:aws:events:eu-west-1:123456789012:event-bus/default", map[string][]string{"events:source": {"aws.ec2"}}}, ""},
		"schedule an end":                 {request{"scheduler:CreateSchedule", "arn:aws:scheduler:eu-west-1:123456789012:schedule/default/penstock-e-1", nil}, "D L"},
		"touch another's schedule":        {request{"scheduler:DeleteSchedule", "arn:aws:scheduler:eu-west-1:123456789012:schedule/default/backup", nil}, ""},
		"give instances their role":       {request{"iam:PassRole", "InstanceRole.Arn", map[string][]string{"iam:PassedToService": {"ec2.amazonaws.com"}}}, "D L"},
		"give instances the deployer's":   {request{"iam:PassRole", "DeployerRole.Arn", map[string][]string{"iam:PassedToService": {"ec2.amazonaws.com"}}}, ""},
		"give a function their role":      {request{"iam:PassRole", "InstanceRole.Arn", map[string][]string{"iam:PassedToService": {"lambda.amazonaws.com"}}}, ""},
		"give the scheduler its role":     {request{"iam:PassRole", "SchedulerRole.Arn", map[string][]string{"iam:PassedToService": {"scheduler.amazonaws.com"}}}, "D L"},
		"become the deployer":             {request{"sts:AssumeRole", "DeployerRole.Arn", nil}, "R"},
		"become the approver":             {request{"sts:AssumeRole", "ApproverRole.Arn", nil}, ""},
		"write a policy":                  {request{"iam:PutRolePolicy", "ApproverRole.Arn", nil}, ""},
		"change the stack":                {request{"cloudformation:UpdateStack", theStack, nil}, ""},
		"find the stack":                  {request{"cloudformation:DescribeStacks", theStack, nil}, "A D L R"},
		"write the log of a run":          {request{"logs:PutLogEvents", "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/codebuild/penstock:log-stream:a", nil}, "R"},
	} {
		var got []string
		for _, role := range all {
			if d.policyOf(role).allows(t, tt.request) {
				got = append(got, role[:1])
			}
		}
		if strings.Join(got, " ") != tt.may {
			t.Errorf("%s: %v may, want %s", name, got, tt.may)
		}
	}
}

func TestRolesTrust(t *testing.T) {
	t.Parallel()
	d := withCI(t, nil)
	const account = "arn:aws:iam::123456789012:root"
	trusted := map[string]string{
		"ApproverRole": account, "DeployerRole": account, "LauncherRole": account,
		"InstanceRole": "ec2.amazonaws.com", "SchedulerRole": "scheduler.amazonaws.com", "RunnerRole": "codebuild.amazonaws.com",
		"StepRole": "codebuild.amazonaws.com", "ApplyTriggerRole": "events.amazonaws.com", "PipeRole": "pipes.amazonaws.com",
	}
	for name, r := range d.resources {
		if r["Type"] != "AWS::IAM::Role" {
			continue
		}
		for _, s := range at(r, "Properties", "AssumeRolePolicyDocument", "Statement").([]any) {
			principal := s.(map[string]any)["Principal"].(map[string]any)
			if len(principal) != 1 || principal["AWS"] != trusted[name] && principal["Service"] != trusted[name] {
				t.Errorf("%s trusts %v", name, principal)
			}
		}
	}
	for _, role := range []string{"SchedulerRole", "RunnerRole", "StepRole", "ApplyTriggerRole", "PipeRole"} {
		trust := statements(t, d.properties(role)["AssumeRolePolicyDocument"])
		if trust[0].applies(t, request{context: map[string][]string{"aws:SourceAccount": {"999999999999"}}}) {
			t.Errorf("another account's services may use %s", role)
		}
	}
}

// No policy allows all of a service, and what it allows on everything is to look, or
// has a condition.
func TestPoliciesAreNarrow(t *testing.T) {
	t.Parallel()
	d := withCI(t, map[string]string{"RepositoryToken": "/ci/token"})
	for name, r := range d.resources {
		if r["Type"] != "AWS::IAM::Role" {
			continue
		}
		for _, s := range d.policyOf(name) {
			if s.effect != "Allow" {
				continue
			}
			for _, action := range s.actions {
				_, verb, _ := strings.Cut(action, ":")
				looks := strings.HasPrefix(verb, "Describe") || strings.HasPrefix(verb, "Get") || action == "ssm:CancelCommand" // which takes no resource
				switch {
				case strings.Contains(action, "*"):
					t.Errorf("%s allows %s in %s", name, action, s.sid)
				case slices.Contains(s.resources, "*") && len(s.conditions) == 0 && !looks:
					t.Errorf("%s allows %s on everything in %s", name, action, s.sid)
				}
			}
		}
	}
}
