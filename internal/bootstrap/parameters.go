// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Part is a part of the stack that can be made without the others.
type Part string

// The parts.
const (
	PartNetwork Part = "network" // VPC, subnets, gateways
	PartSupport Part = "support" // bucket, table, topic, security groups, roles
	PartCI      Part = "ci"      // CodeBuild projects, and what starts them; with the support, which they need
	PartTarget  Part = "target"  // bucket, security groups and roles of environments of another stack's pipelines, with the network
)

// made names the template's parameters that make a part.
var made = map[Part][]string{PartNetwork: {"Network"}, PartSupport: {"Support"}, PartCI: {"Ci", "Support"}, PartTarget: {"Network", "Target"}}

// Parameters say what the stack is to have. A zero field keeps what the stack has,
// or takes the default where there is no stack.
type Parameters struct {
	Parts          []Part // to add; none means all but the target, or, of a target without support, none
	Zones          int    // 2 or 3; default 2
	NAT            *bool  // whether the private subnets reach the internet; default no
	Addresses      string // first two numbers of the VPC's addresses; default "10.97"
	VPC            string // a VPC that is there already; default: one is made
	PublicSubnets  []string
	PrivateSubnets []string
	Bucket         string            // a bucket that is there already; default: one is made
	Table          string            // a table that is there already; default: one is made
	ServicePort    int               // of services on their instances; default 8080
	Clients        string            // CIDR block that may reach the load balancers; default anywhere
	TestClients    string            // CIDR block that may reach builds before they serve, beside the VPC
	Listeners      string            // ports of load balancers, first and last; default "80-89"
	PublicService  *bool             // whether clients may reach the service on single instances; default no
	OwnKey         *bool             // whether bucket, table and topic have a key of the account's own; default no
	ImageKeys      []string          // ARNs of KMS keys of images and volumes, beside those with an alias below alias/penstock/; default none
	ParameterPath  string            // path of SSM parameters that name images, beside /penstock; default none
	HostedZones    []string          // IDs or ARNs of zones of Route 53 in which environments may have the RecordNames; default none
	RecordNames    []string          // with * and ?
	InstanceRoles  []string          // ARNs of roles that deployers may hand to instances, with profiles that stages name; default none
	Deployers      []string          // ARNs of who may take the deployer role; default everybody of the account whose own policies say so
	Trusted        []string          // ARNs of who may take the target role; the target needs some
	TargetRoles    []string          // ARNs of target roles of other stacks, which deployers may take; default none
	ExternalID     string            // that the Deployers, the Trusted and the Readers of a target must pass; default none
	Readers        []string          // ARNs of who may take the reader role, of the record or of a target, of other accounts, too; default nobody, and no such role
	ReaderExternal string            // that they must pass as external ID to read the record; default none
	ReaderRoles    []string          // ARNs of reader roles of other stacks, which approvers, deployers and launchers may take; default none
	OIDCProvider   string            // ARN of a provider whose OIDCSubjects may take that role with web identity; default none
	OIDCSubjects   []string          // with * and ?
	OIDCAudience   string            // of their tokens; default "sts.amazonaws.com"
	Boundary       string            // ARN of a policy that bounds all roles; default none
	RolePath       string            // of all roles and instance profiles; default "/"
	Tags           map[string]string // of the stack, and so of what it makes; nil: those it has
	Repository     string            // git repository, by HTTPS, of the configuration that AWS applies by itself; default none
	Ref            string            // branch or tag of it; default "main"
	Directory      string            // of the configuration in it; default its top
	Token          string            // SSM parameter with a token for it; default none
	Webhook        string            // SSM parameter with the secret of webhooks, which make AWS look at once; default none
	Terraform      string            // version of Terraform that applies it; default the template's
	Every          int               // minutes between two looks whether it is to be applied; default 5
	ApplyCompute   string            // size of the machine that applies it: small, medium or large; default small
	StepCompute    string            // size of the machines that run steps; default medium
	PrivateCI      *bool             // whether builds of CodeBuild run in the private subnets; default no

	// Here returns the TestClients of a stack that has none: where who deploys it is, or "".
	// Nil is "".
	Here func() string
}

// Validate checks what can be checked without AWS. Errors are CodeInvalid.
func (p Parameters) Validate() error {
	const op = "check parameters"
	for _, part := range p.Parts {
		if made[part] == nil {
			return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not a part of the stack", part).WithHint("Use %s, %s, %s or %s, or none of them for the first three.", PartNetwork, PartSupport, PartCI, PartTarget)
		}
	}
	if p.Zones != 0 && p.Zones != 2 && p.Zones != 3 {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%d zones", p.Zones).WithHint("Use 2 or 3 zones.")
	}
	subnets := len(p.PublicSubnets) + len(p.PrivateSubnets)
	switch {
	case p.VPC == "" && subnets > 0:
		return pipeline.Errorf(pipeline.CodeInvalid, op, "subnets need their VPC").WithHint("Pass the VPC of the subnets, too.")
	case p.VPC != "" && (len(p.PublicSubnets) == 0 || len(p.PrivateSubnets) == 0):
		return pipeline.Errorf(pipeline.CodeInvalid, op, "VPC %s needs its subnets", p.VPC).
			WithHint("Pass subnets of that VPC in at least two zones.")
	case p.VPC != "" && (p.Zones != 0 || p.NAT != nil || p.Addresses != ""):
		return pipeline.Errorf(pipeline.CodeInvalid, op, "zones, NAT gateway and addresses are for a new VPC, but VPC %s exists", p.VPC).
			WithHint("Leave out these flags, or the VPC.")
	}
	if p.Addresses != "" {
		if a, err := netip.ParseAddr(p.Addresses + ".0.0"); err != nil || !a.Is4() || !a.IsPrivate() {
			return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not the beginning of private addresses", p.Addresses).WithHint("Pass their first two numbers, such as 10.97.")
		}
	}
	for _, block := range []string{p.Clients, p.TestClients} {
		if c, err := netip.ParsePrefix(block); block != "" && (err != nil || !c.Addr().Is4() || c != c.Masked()) {
			return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not a block of IPv4 addresses", block).WithHint("Write it like 203.0.113.0/24.")
		}
	}
	if _, _, err := p.listeners(); err != nil {
		return err
	}
	for _, key := range p.ImageKeys {
		if !keyARN.MatchString(key) {
			return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not the ARN of a KMS key", key).
				WithHint("Write it like arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab. An alias will not do.")
		}
	}
	if err := p.validateNames(op); err != nil {
		return err
	}
	for _, role := range p.InstanceRoles {
		if !cloud.IsRoleARN(role) {
			return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not the ARN of a role", role).WithHint("Write it like arn:aws:iam::123456789012:role/shop-production. A pattern or an instance profile will not do.")
		}
	}
	if err := p.validateTrust(); err != nil {
		return err
	}
	if err := p.validateLists(op); err != nil {
		return err
	}
	if p.ParameterPath != "" && (!token.MatchString(p.ParameterPath) || strings.HasPrefix(p.ParameterPath+"/", "/aws/")) {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not a path of SSM parameters", p.ParameterPath).WithHint("Write it like /acme/images.")
	}
	if p.ServicePort < 0 || p.ServicePort > 65535 {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%d is not a port", p.ServicePort).WithHint("Use a port from 1 to 65535.")
	}
	return p.validateCI()
}

// What the template accepts, so that an error comes before a request to AWS.
var (
	repository = regexp.MustCompile(`^https://[^\s@]+$`)
	keyARN     = regexp.MustCompile(`^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[a-zA-Z0-9-]+$`)
	token      = regexp.MustCompile(`^(/[a-zA-Z0-9_.-]+)+$`)
	terraform  = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[a-z0-9]+)?$`)
)

func (p Parameters) validateCI() error {
	const op = "check parameters"
	ci := len(p.Parts) == 0 || slices.Contains(p.Parts, PartCI)
	switch {
	case !ci && (p.Repository != "" || p.saysHow()):
		return pipeline.Errorf(pipeline.CodeInvalid, op, "--repository, and the flags that go with it, need the part %s", PartCI).WithHint("Leave them out, or create the part %s.", PartCI)
	case p.Repository != "" && !repository.MatchString(p.Repository):
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not a repository that can be cloned by HTTPS", p.Repository).
			WithHint("Write it like https://example.com/acme/pipeline.git, without a user or a token.")
	case p.Directory != "" && !filepath.IsLocal(filepath.FromSlash(p.Directory)):
		return pipeline.Errorf(pipeline.CodeInvalid, op, "directory %q is not in the repository", p.Directory).WithHint("Write it relative to the repository's top.")
	case p.Token != "" && !token.MatchString(p.Token):
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not the name of an SSM parameter with a path", p.Token).
			WithHint("Keep the token in a parameter with a name such as /ci/repository-token, and pass that name.")
	case p.Webhook != "" && !token.MatchString(p.Webhook):
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not the name of an SSM parameter with a path", p.Webhook).
			WithHint("Keep the secret in a parameter with a name such as /ci/webhook-secret, and pass that name.")
	case p.Terraform != "" && !terraform.MatchString(p.Terraform):
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not a version of Terraform", p.Terraform).WithHint("Write it in full, such as 1.14.0.")
	case !computeType(p.ApplyCompute) || !computeType(p.StepCompute):
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%q and %q: a machine of CodeBuild is small, medium or large", p.ApplyCompute, p.StepCompute).WithHint("Use one of these for --apply-compute and --step-compute.")
	case !ci && (p.StepCompute != "" || p.PrivateCI != nil):
		return pipeline.Errorf(pipeline.CodeInvalid, op, "--step-compute and --private-ci need the part %s", PartCI).WithHint("Leave them out, or create the part %s.", PartCI)
	case p.Every != 0 && (p.Every < 2 || p.Every > 24*60):
		return pipeline.Errorf(pipeline.CodeInvalid, op, "an interval of %d minutes is out of range", p.Every).WithHint("Use 2 to 1440 minutes (a day).")
	}
	return nil
}

// computeType reports whether the name of a size is one, or none is given.
func computeType(size string) bool {
	return slices.Contains([]string{"", "small", "medium", "large"}, size)
}

// checkPrivate refuses builds in private subnets that reach nothing: neither Terraform's
// releases nor the repository.
func (p Parameters) checkPrivate(list []types.Parameter) error {
	has := map[string]string{}
	for _, had := range list {
		has[aws.ToString(had.ParameterKey)] = aws.ToString(had.ParameterValue)
	}
	if has["CiPrivate"] != "yes" || has["VpcId"] != "" || has["NatGateway"] == "yes" {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeInvalid, "check parameters", "--private-ci needs private subnets that reach the internet").
		WithHint("Add --nat, or give a VPC of your own with --vpc and --subnets.")
}

// listeners returns the first and the last port of load balancers; empty for the default.
func (p Parameters) listeners() (first, last string, err error) {
	if p.Listeners == "" {
		return "", "", nil
	}
	first, last, ok := strings.Cut(p.Listeners, "-")
	from, err1 := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	if !ok || err1 != nil || err2 != nil || from == 0 || to <= from {
		return "", "", pipeline.Errorf(pipeline.CodeInvalid, "check parameters", "%q is not a range of ports", p.Listeners).
			WithHint("Write it like 80-89. Each environment with a load balancer takes one.")
	}
	if to-from >= 10000 || to > 55535 {
		return "", "", pipeline.Errorf(pipeline.CodeInvalid, "check parameters", "the ports %q would have ports of tests among them, which are 10000 above", p.Listeners).
			WithHint("Use fewer than 10000 ports, up to 55535.")
	}
	return first, last, nil
}

// expand returns the parameters for the template in a region: what is asked for, else what the
// stack has, else the template's defaults. A part that the stack has is never lost
// because another was asked for.
func (p Parameters) expand(stack *types.Stack, region string) []types.Parameter {
	values := map[string]string{"Network": "no", "Support": "no"}
	if stack != nil {
		for _, had := range stack.Parameters {
			values[aws.ToString(had.ParameterKey)] = aws.ToString(had.ParameterValue)
		}
	}
	parts := p.Parts
	if len(parts) == 0 && (values["Target"] != "yes" || values["Support"] == "yes") {
		parts = []Part{PartNetwork, PartSupport, PartCI}
	}
	for _, part := range parts {
		for _, name := range made[part] {
			values[name] = "yes"
		}
	}
	set := func(name, value string) {
		if value != "" {
			values[name] = value
		}
	}
	number := func(n int) string {
		if n == 0 {
			return ""
		}
		return strconv.Itoa(n)
	}
	set("Zones", number(p.Zones))
	set("AddressPrefix", p.Addresses)
	choose := func(name string, choice *bool) {
		if choice != nil {
			values[name] = map[bool]string{true: "yes", false: "no"}[*choice]
		}
	}
	choose("NatGateway", p.NAT)
	choose("PublicInstances", p.PublicService)
	choose("OwnKey", p.OwnKey)
	if first, last, err := p.listeners(); err == nil { // it was validated
		set("ListenerFrom", first)
		set("ListenerTo", last)
	}
	set("TestCidr", p.TestClients)
	if values["TestCidr"] == "" && p.Here != nil {
		set("TestCidr", p.Here())
	}
	set("VpcId", p.VPC)
	set("PublicSubnets", strings.Join(p.PublicSubnets, ","))
	set("PrivateSubnets", strings.Join(p.PrivateSubnets, ","))
	set("BucketName", p.Bucket)
	set("TableName", p.Table)
	set("ServicePort", number(p.ServicePort))
	set("ClientCidr", p.Clients)
	set("ImageKeys", strings.Join(p.ImageKeys, ","))
	set("HostedZones", strings.Join(zoneARNs(p.HostedZones, region), ","))
	set("RecordNames", strings.Join(ownedNames(p.RecordNames), ","))
	set("InstanceRoles", strings.Join(p.InstanceRoles, ","))
	set("Deployers", strings.Join(p.Deployers, ","))
	set("TrustedBy", strings.Join(p.Trusted, ","))
	set("TargetRoles", strings.Join(p.TargetRoles, ","))
	set("ExternalId", p.ExternalID)
	set("Readers", strings.Join(p.Readers, ","))
	set("ReaderExternalId", p.ReaderExternal)
	set("ReaderRoles", strings.Join(p.ReaderRoles, ","))
	set("OidcProvider", p.OIDCProvider)
	set("OidcSubjects", strings.Join(p.OIDCSubjects, ","))
	set("OidcAudience", p.OIDCAudience)
	set("PermissionsBoundary", p.Boundary)
	set("RolePath", p.RolePath)
	set("ParameterPath", p.ParameterPath)
	set("ApplyMinutes", number(p.Every))
	choose("CiPrivate", p.PrivateCI)
	p.expandCI(set)
	list := make([]types.Parameter, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list = append(list, types.Parameter{ParameterKey: aws.String(name), ParameterValue: aws.String(values[name])})
	}
	return list
}

// expandCI sets how a configuration is applied, and on which machines.
func (p Parameters) expandCI(set func(name, value string)) {
	set("Repository", p.Repository)
	set("RepositoryRef", p.Ref)
	set("RepositoryDirectory", p.Directory)
	set("RepositoryToken", p.Token)
	set("WebhookSecret", p.Webhook)
	set("TerraformVersion", p.Terraform)
	for name, size := range map[string]string{"ApplyCompute": p.ApplyCompute, "StepCompute": p.StepCompute} {
		if size != "" {
			set(name, "BUILD_GENERAL1_"+strings.ToUpper(size))
		}
	}
}

// checkWebhook refuses webhooks where nothing looks: without a table of the stack's own each
// look is a build.
func (p Parameters) checkWebhook(list []types.Parameter) error {
	if p.Webhook == "" || !slices.ContainsFunc(list, func(had types.Parameter) bool {
		return aws.ToString(had.ParameterKey) == "TableName" && aws.ToString(had.ParameterValue) != ""
	}) {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeInvalid, "check parameters", "--webhook-secret needs a table of the stack's own, but another one is given").WithHint("Leave it out: AWS looks every few minutes.")
}

// applies refuses to say how a configuration is applied where none is.
func (p Parameters) applies(list []types.Parameter) error {
	if p.Repository != "" || !p.saysHow() || slices.ContainsFunc(list, func(had types.Parameter) bool {
		return aws.ToString(had.ParameterKey) == "Repository" && aws.ToString(had.ParameterValue) != ""
	}) {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeInvalid, "check parameters", "--ref, --directory, --repository-token, --webhook-secret, --terraform, --apply-compute and --every need --repository").WithHint("Pass --repository, too.")
}

// saysHow reports whether the parameters say how a configuration is applied.
func (p Parameters) saysHow() bool {
	return p.Ref != "" || p.Directory != "" || p.Token != "" || p.Webhook != "" || p.Terraform != "" || p.Every != 0 || p.ApplyCompute != ""
}

// render returns the parameters as text, the same for the same parameters.
func render(list []types.Parameter) string {
	var b strings.Builder
	for _, p := range list {
		fmt.Fprintf(&b, "%s=%q\n", aws.ToString(p.ParameterKey), aws.ToString(p.ParameterValue))
	}
	return b.String()
}
