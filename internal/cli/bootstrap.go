// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

type bootstrapOptions struct {
	*factory
	parameters           bootstrap.Parameters
	yes, dryRun, destroy bool

	inUse bootstrap.InUse // what --destroy asks first
}

func newBootstrap(f *factory, runF func(context.Context, *bootstrapOptions) error) *cobra.Command {
	o := &bootstrapOptions{factory: f}
	o.inUse = o.pipelines
	if runF == nil {
		runF = runBootstrap
	}
	c := &cobra.Command{
		Use:   "bootstrap [network|support|ci|target]",
		Short: "Create in an AWS account what pipelines need there",
		Long: "Create in an AWS account and region what pipelines need there, in one CloudFormation stack: that of --stack,\n" +
			"or the one that other commands would use, otherwise \"" + bootstrap.DefaultName + "\". It has the network\n" +
			"(VPC, subnets, gateways), the support (bucket, table, topic, security groups, roles) and CI (CodeBuild). An\n" +
			"argument creates one of them; CI includes the support.\n\n" +
			"The argument target is for another account or region, where stages of pipelines have environments (aws and\n" +
			"targets of penstock_stage). It creates the network, a bucket, security groups and roles there. --trust names who\n" +
			"may take its role: the deployer role of the stack that has the ledger, which --target-roles there lets do so.\n" +
			"--readers names who may take its reader role, to look at what runs there: that deployer role, the approver role\n" +
			"and the launcher role, which --reader-roles there lets do so.\n\n" +
			"CI is a CodeBuild project for steps of stages with runner = \"codebuild\". With --repository, another project\n" +
			"applies the Terraform configuration there: when a commit comes, and when somebody approves, rejects or promotes.\n" +
			"So AWS itself moves the pipelines. The configuration must have a backend for its state; the s3 backend can keep\n" +
			"it in the stack's bucket, under state/.\n\n" +
			"The command shows the changes first. Run it again to bring the stack up to date; settings without a flag stay\n" +
			"as they are.\n\n" +
			"With --destroy it removes the stack, unless a pipeline uses it. Bucket and table stay.",
		Args: args(0, 1),
		RunE: func(c *cobra.Command, given []string) error {
			if part := arg(given, 0); part != "" {
				o.parameters.Parts = []bootstrap.Part{bootstrap.Part(part)}
			}
			if err := o.complete(c); err != nil {
				return err
			}
			return runF(c.Context(), o)
		},
	}
	o.flags(c)
	c.AddCommand(newBootstrapLocal(f, nil))
	return c
}

func (o *bootstrapOptions) flags(c *cobra.Command) {
	flags, p := c.Flags(), &o.parameters
	flags.IntVar(&p.Zones, "zones", 0, "number of availability zones of the VPC, 2 or 3 (default 2)")
	flags.Bool("nat", false, "let private subnets reach the internet through a NAT gateway, which costs money every hour")
	flags.StringVar(&p.Addresses, "addresses", "", "the first two numbers of the VPC's addresses (default 10.97)")
	flags.StringVar(&p.VPC, "vpc", "", "an existing VPC instead of a new one; with --subnets")
	flags.StringSliceVar(&p.PrivateSubnets, "subnets", nil, "subnets of that VPC for instances, in at least two zones; they must reach Systems Manager")
	flags.StringSliceVar(&p.PublicSubnets, "public-subnets", nil, "subnets of that VPC for load balancers (default: those of --subnets)")
	flags.StringVar(&p.Bucket, "bucket", "", "an existing bucket instead of a new one")
	flags.StringVar(&p.Table, "table", "", "an existing table instead of a new one")
	flags.IntVar(&p.ServicePort, "port", 0, "the port that services listen on, on their instances (default 8080)")
	flags.StringVar(&p.Clients, "clients", "", "the block of addresses that may reach the load balancers (default 0.0.0.0/0)")
	flags.StringVar(&p.Listeners, "listener-ports", "", "the ports of load balancers, such as 80-89; an environment takes one of them (default 80-89)")
	flags.StringVar(&p.TestClients, "test-clients", "", "the block of addresses that may reach builds before they serve, beside the VPC (default: this machine's address; with --repository, that of --clients)")
	flags.Bool("public-instances", false, "let clients reach the service on single instances, too, for public_endpoints")
	flags.Bool("own-key", false, "encrypt bucket, table and topic with a KMS key of the account, which costs money every month")
	flags.StringSliceVar(&p.ImageKeys, "image-keys", nil, "ARNs of KMS keys of images and volumes, beside those with an alias below alias/penstock/: the default key of EBS, or keys of accounts that share images")
	flags.StringSliceVar(&p.HostedZones, "hosted-zones", nil, "IDs of hosted zones of Route 53 in which environments may have names (environment.dns)")
	flags.StringSliceVar(&p.RecordNames, "record-names", nil, "names that environments may have there, with * and ?, such as shop.example.com")
	flags.StringSliceVar(&p.InstanceRoles, "instance-roles", nil, "ARNs of roles that instances may have where a stage names their instance profile, beside those of the stack")
	flags.StringSliceVar(&p.Deployers, "deployers", nil, "ARNs of roles, users or accounts that may take the deployer role (default: everybody of the account whose own policies say so)")
	flags.StringSliceVar(&p.Trusted, "trust", nil, "ARNs of roles, users or accounts that may take the role of a target: the deployer role of the stack with the ledger")
	flags.StringSliceVar(&p.TargetRoles, "target-roles", nil, "ARNs of the roles of all targets of this stack's pipelines, which the deployer role may take")
	flags.StringVar(&p.ExternalID, "external-id", "", "the external ID that must be passed by those of --deployers and of --trust, and by those of --readers of a target")
	flags.StringSliceVar(&p.Readers, "readers", nil, "ARNs of roles, users or accounts, of other accounts, too, that may take the reader role: with it penstock_passed reads what has passed here, and people see what runs in a target (default: nobody, and no such role)")
	flags.StringVar(&p.ReaderExternal, "reader-external-id", "", "the external ID that those of --readers must pass for penstock_passed")
	flags.StringSliceVar(&p.ReaderRoles, "reader-roles", nil, "ARNs of reader roles of other stacks, for penstock_passed and of targets, that approvers, deployers and launchers may take")
	flags.StringVar(&p.OIDCProvider, "oidc-provider", "", "the ARN of an OpenID Connect provider, of a CI server, whose tokens may take the deployer role; with --oidc-subjects")
	flags.StringSliceVar(&p.OIDCSubjects, "oidc-subjects", nil, "the subjects of those tokens, with * and ?, such as repo:acme/pipeline:ref:refs/heads/main")
	flags.StringVar(&p.OIDCAudience, "oidc-audience", "", "the audience of those tokens (default sts.amazonaws.com)")
	flags.StringVar(&p.Boundary, "permissions-boundary", "", "the ARN of a policy that bounds every role of the stack")
	flags.StringVar(&p.RolePath, "role-path", "", "the path of the roles and instance profiles, such as /penstock/ (default /)")
	flags.StringToStringVar(&p.Tags, "tags", nil, "tags of the stack and of what it makes, such as team=shop,cost=42")
	flags.StringVar(&p.ParameterPath, "parameter-path", "", "a path of SSM parameters that name images, beside /penstock, such as /acme/images")
	flags.StringVar(&p.Repository, "repository", "", "the git repository of a Terraform configuration that AWS applies by itself, such as https://example.com/acme/pipeline.git")
	flags.StringVar(&p.Ref, "ref", "", "the branch or tag of that repository (default main)")
	flags.StringVar(&p.Directory, "directory", "", "the directory of the configuration in that repository (default its top)")
	flags.StringVar(&p.Token, "repository-token", "", "the name of an SSM parameter with a token for that repository, such as /ci/repository-token")
	flags.StringVar(&p.Webhook, "webhook-secret", "", "the name of an SSM parameter with the secret of webhooks, such as /ci/webhook-secret, by which a push makes AWS look at once")
	flags.StringVar(&p.Terraform, "terraform", "", "the version of Terraform that applies the configuration (default 1.14.0)")
	flags.IntVar(&p.Every, "every", 0, "minutes between two looks whether there is anything to apply (default 5)")
	flags.StringVar(&p.ApplyCompute, "apply-compute", "", "the machine of CodeBuild that applies: small, medium or large (default small)")
	flags.StringVar(&p.StepCompute, "step-compute", "", "the machines of CodeBuild that run steps: small, medium or large (default medium)")
	flags.Bool("private-ci", false, "run the builds of CodeBuild in the private subnets, which must reach the internet")
	flags.BoolVar(&o.yes, "yes", false, "don't ask")
	flags.BoolVar(&o.dryRun, "dry-run", false, "only show the changes")
	flags.BoolVar(&o.destroy, "destroy", false, "remove the stack")
}

// complete takes what flags say together, and refuses what they can't.
func (o *bootstrapOptions) complete(c *cobra.Command) error {
	flags, p := c.Flags(), &o.parameters
	for name, choice := range map[string]**bool{"nat": &p.NAT, "public-instances": &p.PublicService, "own-key": &p.OwnKey, "private-ci": &p.PrivateCI} {
		if !flags.Changed(name) {
			continue
		}
		chosen, err := flags.GetBool(name)
		if err != nil {
			return &usageError{err}
		}
		*choice = &chosen
	}
	if len(p.PublicSubnets) == 0 {
		p.PublicSubnets = p.PrivateSubnets
	}
	if o.destroy {
		for _, name := range []string{"zones", "nat", "addresses", "vpc", "subnets", "public-subnets", "bucket", "table", "port", "clients", "test-clients", "listener-ports", "public-instances", "own-key", "image-keys", "hosted-zones", "record-names", "instance-roles", "deployers", "trust", "target-roles", "external-id", "oidc-provider", "oidc-subjects", "oidc-audience", "permissions-boundary", "role-path", "tags", "parameter-path",
			"repository", "ref", "directory", "repository-token", "webhook-secret", "terraform", "every", "apply-compute", "step-compute", "private-ci", "dry-run"} {
			if flags.Changed(name) {
				return &usageError{fmt.Errorf("--destroy removes the whole stack, so --%s has no effect with it", name)}
			}
		}
		if len(p.Parts) > 0 {
			return &usageError{fmt.Errorf("--destroy removes the whole stack, not %s alone", p.Parts[0])}
		}
	}
	return p.Validate()
}

func runBootstrap(ctx context.Context, o *bootstrapOptions) error {
	at, err := o.target()
	if err != nil {
		return err
	}
	c, err := cloud.Load(ctx, cloud.Options{Region: at.Region, Profile: at.Profile})
	if err != nil {
		return err
	}
	s := bootstrap.New(c.Config, at.Stack)
	where := fmt.Sprintf("stack %s in %s of account %s", at.Stack, c.Config.Region, c.Account)
	if o.destroy {
		return o.remove(ctx, s, where)
	}
	if !c.Emulated() {
		o.parameters.Here = func() string { return o.here(ctx) }
	}
	return o.deploy(ctx, s, where)
}

// whoami is a service of AWS's that returns the address which a request comes from.
const whoami = "https://checkip.amazonaws.com"

// here returns the block of addresses from which steps run that look at a build before it
// serves: this machine's or, where AWS applies the configuration, those of all clients, as
// CodeBuild has other addresses every time. It says what it found.
func (o *bootstrapOptions) here(ctx context.Context) string {
	const flag = "--test-clients BLOCK changes that.\n"
	if o.parameters.Repository != "" {
		block := cmp.Or(o.parameters.Clients, "0.0.0.0/0")
		fmt.Fprintf(o.Err, "CodeBuild applies the configuration from addresses that change: %s may reach builds before they serve. "+flag, block)
		return block
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	address, err := ownAddress(ctx, whoami)
	if err != nil {
		fmt.Fprintf(o.Err, "Only the VPC may reach builds before they serve, as %s does not say what the address of this machine is (%v). "+flag, whoami, err)
		return ""
	}
	fmt.Fprintf(o.Err, "%s, the address of this machine, may reach builds before they serve, and so may the VPC. "+flag, address)
	return address.String() + "/32"
}

// ownAddress asks a service what IPv4 address this machine has to others.
func ownAddress(ctx context.Context, service string) (netip.Addr, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, service, nil)
	if err != nil {
		return netip.Addr{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return netip.Addr{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 100))
	if err != nil {
		return netip.Addr{}, err
	}
	address, err := netip.ParseAddr(strings.TrimSpace(string(text)))
	if err == nil && !address.Is4() {
		err = fmt.Errorf("%s is no IPv4 address", address)
	}
	return address, err
}

// target returns the stack that the command is about: where others would look for pipelines,
// and the default where there is none on AWS yet.
func (o *bootstrapOptions) target() (app.AWS, error) {
	at, err := o.find(".")
	if err != nil {
		return app.AWS{}, err
	}
	target := &app.AWS{Region: o.aws.Region, Profile: o.aws.Profile}
	if at != nil {
		found, err := o.onAWS(*at)
		if err != nil {
			return app.AWS{}, err
		}
		if found != nil {
			target = found
		}
	}
	target.Stack = cmp.Or(target.Stack, bootstrap.DefaultName)
	return *target, nil
}

// bootstrapDeleted is the JSON shape of what is left of a stack.
type bootstrapDeleted struct {
	Kept bootstrap.Kept `json:"kept"`
}

// bootstrapResult is the JSON shape of what was planned, and of what is there.
type bootstrapResult struct {
	Changes   []bootstrap.Change   `json:"stack_changes"`       // of the stack
	Resources *bootstrap.Resources `json:"resources,omitempty"` // absent after --dry-run
}

func (o *bootstrapOptions) deploy(ctx context.Context, s *bootstrap.Stack, where string) error {
	changes, err := s.Plan(ctx, o.parameters)
	if err != nil {
		return err
	}
	planned := bootstrapResult{Changes: append([]bootstrap.Change{}, changes.List...)}
	none := changes.None()
	if err := o.show(changes, where); err != nil {
		return err
	}
	if o.dryRun {
		if err := changes.Discard(ctx); err != nil || !o.json {
			return err
		}
		return o.printJSON(planned)
	}
	if !none {
		if err := o.ask(ctx, "bootstrap", o.yes, "Make these changes"); err != nil {
			return errors.Join(err, changes.Discard(context.WithoutCancel(ctx)))
		}
		defer o.atWork()()
		if err := changes.Apply(ctx, o.progress); err != nil {
			return err
		}
	}
	r, err := s.Find(ctx)
	if err != nil {
		return err
	}
	if o.json {
		planned.Resources = &r
		return o.printJSON(planned)
	}
	return o.print(r)
}

// show prints the changes as a table: as data where they are what was asked for, else
// as talk.
func (o *bootstrapOptions) show(changes *bootstrap.Changes, where string) error {
	switch {
	case changes.None():
		fmt.Fprintf(o.Err, "Nothing changes in %s.\n", where)
		return nil
	case changes.New:
		fmt.Fprintf(o.Err, "Changes of the new %s:\n", where)
	default:
		fmt.Fprintf(o.Err, "Changes of %s:\n", where)
	}
	if len(changes.List) == 0 {
		fmt.Fprintln(o.Err, "Only outputs change.")
		return nil
	}
	out := o.Err
	if o.dryRun && !o.json {
		out = o.Out
	}
	t := newTable(screenOf(out), "ACTION", "RESOURCE", "TYPE", "REPLACED")
	for _, c := range changes.List {
		t.row(strings.ToLower(c.Action), c.Resource, c.Type, map[string]string{"True": "yes", "Conditional": "perhaps"}[c.Replacement])
	}
	return t.flush()
}

// print prints the resources as a table.
func (o *bootstrapOptions) print(r bootstrap.Resources) error {
	t := o.newTable("RESOURCE", "NAME")
	t.columns[1] = noting
	for _, row := range [][2]string{
		{"vpc", r.VPC}, {"public subnets", strings.Join(r.PublicSubnets, " ")}, {"private subnets", strings.Join(r.PrivateSubnets, " ")},
		{"bucket", r.Bucket}, {"table", r.Table}, {"topic", r.Topic}, {"instance profile", r.InstanceProfile},
		{"test instance profile", r.TestInstanceProfile}, {"builder instance profile", r.BuilderInstanceProfile},
		{"instance security group", r.InstanceSecurityGroup}, {"test security group", r.TestSecurityGroup}, {"builder security group", r.BuilderSecurityGroup}, {"load balancer security group", r.LoadBalancerSecurityGroup},
		{"approver role", r.ApproverRole}, {"deployer role", r.DeployerRole}, {"launcher role", r.LauncherRole}, {"runner role", r.RunnerRole}, {"target role", r.TargetRole}, {"target reader role", r.TargetReaderRole}, {"reader role", r.ReaderRole},
		{"scheduler role", r.SchedulerRole}, {"launcher scheduler role", r.LauncherSchedulerRole}, {"launcher schedule group", r.LauncherScheduleGroup}, {"step role", r.StepRole}, {"runner project", r.RunnerProject}, {"apply project", r.ApplyProject}, {"webhook url", r.WebhookURL}, {"ci log group", r.CILogGroup},
	} {
		if row[1] != "" {
			t.row(row[0], row[1])
		}
	}
	if err := t.flush(); err != nil || r.TargetRole == "" {
		return err
	}
	return o.printTarget(r)
}

// printTarget prints what a stage says to have its environments in a stack.
func (o *bootstrapOptions) printTarget(r bootstrap.Resources) error {
	lines := [][2]string{{"role_arn", r.TargetRole}, {"reader_role_arn", r.TargetReaderRole}, {"external_id", r.ExternalID}, {"region", r.Region()}}
	if r.Stack != bootstrap.DefaultName {
		lines = append(lines, [2]string{"stack", r.Stack})
	}
	width, looks := len("external_id"), ""
	if r.TargetReaderRole != "" {
		width, looks = len("reader_role_arn"), " --reader-roles "+r.TargetReaderRole
	}
	var b strings.Builder
	for _, line := range lines {
		if line[1] != "" {
			fmt.Fprintf(&b, "    %-*s = %q\n", width, line[0], line[1])
		}
	}
	_, err := fmt.Fprintf(o.Out, "\nA stage has its environments here with:\n\n  aws = {\n%s  }\n\n"+
		"As one of several places, the same lines with a name of its own stand in targets. The deployer role of the stack with\n"+
		"the ledger may take the role once it is in --target-roles there, with those of all other targets:\n\n"+
		"  penstock bootstrap --target-roles %s%s\n", b.String(), r.TargetRole, looks)
	return err
}

// pipelines returns the pipelines of the stack's ledger.
func (o *bootstrapOptions) pipelines(ctx context.Context, _ string) (_ []string, err error) {
	at, err := o.target()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "penstock-bootstrap")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	a, err := app.Open(ctx, app.Options{DataDir: dir, AWS: &at})
	if err != nil {
		return nil, err
	}
	names, err := a.Engine.Reports.Names(ctx)
	return names, errors.Join(err, a.Close(context.WithoutCancel(ctx)))
}

func (o *bootstrapOptions) remove(ctx context.Context, s *bootstrap.Stack, where string) error {
	if err := o.ask(ctx, "bootstrap", o.yes, "Remove "+where); err != nil {
		return err
	}
	defer o.atWork()()
	kept, err := s.Delete(ctx, o.inUse, o.progress)
	if err != nil {
		return err
	}
	if o.json {
		return o.printJSON(bootstrapDeleted{kept})
	}
	fmt.Fprintf(o.Err, "%s is removed.\n", where)
	for _, k := range [][2]string{{"bucket", kept.Bucket}, {"table", kept.Table}} {
		if k[1] != "" {
			fmt.Fprintf(o.Out, "kept %s %s\n", k[0], k[1])
		}
	}
	return nil
}

// progress tells of an event.
func (o *bootstrapOptions) progress(e bootstrap.Event) {
	fmt.Fprintf(o.Err, "%s  %s\n", pipeline.Clock(e.Time.Local()), present.Line(e.String()))
}
