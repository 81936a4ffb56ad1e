// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const testStack = "arn:aws:cloudformation:eu-west-1:123456789012:stack/penstock/1"

// formation is as much of AWS as the command talks to: an account, and one stack.
type formation struct {
	mu     sync.Mutex
	status string   // of the stack; empty for none
	events []string // newest first
	calls  []string
	fails  bool // the next execution does
}

// serve makes it the AWS of this test.
func (f *formation) serve(t *testing.T) {
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	for k, v := range map[string]string{
		"AWS_ENDPOINT_URL": s.URL, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_PROFILE": "",
		"PENSTOCK_DATA_DIR": "", "PENSTOCK_STACK": "", "PENSTOCK_CONTEXT": "", "HOME": t.TempDir(), "XDG_CONFIG_HOME": t.TempDir(),
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": t.TempDir() + "/none", "AWS_SHARED_CREDENTIALS_FILE": t.TempDir() + "/none",
	} {
		t.Setenv(k, v)
	}
	t.Chdir(t.TempDir())
}

func (f *formation) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if strings.Contains(r.URL.Path, "-template-") { // the bucket of the template
		return
	}
	action := r.FormValue("Action")
	f.calls = append(f.calls, action)
	result := f.answer(action)
	if result == "" {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>no such thing</Message></Error></ErrorResponse>`)
		return
	}
	fmt.Fprintf(w, "<%[1]sResponse><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>", action, result)
}

func (f *formation) happen(resource, status, reason string) {
	physical := "physical-" + resource
	if resource == "penstock" {
		physical, f.status = testStack, status
	}
	f.events = slices.Insert(f.events, 0, fmt.Sprintf("<member><EventId>%d</EventId><StackId>%s</StackId><StackName>penstock</StackName><LogicalResourceId>%s</LogicalResourceId>"+
		"<PhysicalResourceId>%s</PhysicalResourceId><ResourceType>AWS::Test::Thing</ResourceType><ResourceStatus>%s</ResourceStatus><ResourceStatusReason>%s</ResourceStatusReason>"+
		"<Timestamp>2030-01-01T00:00:00Z</Timestamp></member>", len(f.events), testStack, resource, physical, status, reason))
}

func (f *formation) answer(action string) string {
	switch action {
	case "GetCallerIdentity":
		return "<Account>123456789012</Account><Arn>arn:aws:iam::123456789012:user/ada</Arn>"
	case "DescribeStacks":
		if f.status == "" || f.status == "DELETE_COMPLETE" {
			return ""
		}
		outputs := ""
		for _, o := range [][2]string{{"TemplateVersion", "1"}, {"VpcId", "vpc-1"}, {"Bucket", "the-bucket"}, {"Table", "the-table"}} {
			outputs += "<member><OutputKey>" + o[0] + "</OutputKey><OutputValue>" + o[1] + "</OutputValue></member>"
		}
		return "<Stacks><member><StackName>penstock</StackName><StackId>" + testStack + "</StackId><StackStatus>" + f.status + "</StackStatus>" +
			"<CreationTime>2030-01-01T00:00:00Z</CreationTime><Outputs>" + outputs + "</Outputs></member></Stacks>"
	case "DescribeStackEvents":
		return "<StackEvents>" + strings.Join(f.events, "") + "</StackEvents>"
	case "CreateChangeSet":
		if f.status == "" {
			f.happen("penstock", "REVIEW_IN_PROGRESS", "")
		}
		return "<Id>set-1</Id><StackId>" + testStack + "</StackId>"
	case "DescribeChangeSet":
		return "<ChangeSetId>set-1</ChangeSetId><StackId>" + testStack + "</StackId><Status>CREATE_COMPLETE</Status><ExecutionStatus>AVAILABLE</ExecutionStatus><Changes>" +
			"<member><Type>Resource</Type><ResourceChange><Action>Add</Action><LogicalResourceId>Vpc</LogicalResourceId><ResourceType>AWS::EC2::VPC</ResourceType></ResourceChange></member>" +
			"<member><Type>Resource</Type><ResourceChange><Action>Modify</Action><LogicalResourceId>Topic</LogicalResourceId><ResourceType>AWS::SNS::Topic</ResourceType><Replacement>True</Replacement></ResourceChange></member></Changes>"
	case "ExecuteChangeSet":
		f.happen("penstock", "CREATE_IN_PROGRESS", "")
		if f.fails {
			f.happen("Vpc", "CREATE_FAILED", "The maximum number of VPCs has been reached.")
			f.happen("penstock", "ROLLBACK_COMPLETE", "")
		} else {
			f.happen("Vpc", "CREATE_COMPLETE", "")
			f.happen("penstock", "CREATE_COMPLETE", "")
		}
	case "DeleteStack":
		f.happen("penstock", "DELETE_COMPLETE", "")
	case "DeleteChangeSet", "ListChangeSets":
	default:
		return ""
	}
	return " "
}

// run runs the command. typed is what is typed at its terminal; without it there is none.
func runBootstrapTest(typed string, inUse []string, given ...string) (status int, out, talk string) {
	var o, e bytes.Buffer
	f, _, _ := testFactory()
	f.Streams = Streams{In: strings.NewReader(typed), Out: &o, Err: &e}
	c := newBootstrap(f, func(ctx context.Context, o *bootstrapOptions) error {
		o.factory.terminal = func() bool { return typed != "" }
		o.inUse = func(context.Context, string) ([]string, error) { return inUse, nil }
		return runBootstrap(ctx, o)
	})
	c.Flags().BoolVar(&f.json, "json", false, "")
	f.places(c.Flags())
	c.SetArgs(given)
	c.SilenceErrors, c.SilenceUsage = true, true
	err := c.ExecuteContext(context.Background())
	if err != nil {
		f.complain(err)
	}
	return exitStatus(err), o.String(), e.String()
}

func TestBootstrap(t *testing.T) {
	vpcs := "The maximum number of VPCs has been reached."
	tests := map[string]struct {
		stack     string // its status before
		fails     bool
		typed     string
		inUse     []string
		given     []string
		status    int
		out, talk []string // what they must hold
		never     string   // an action that must not be called
		calls     string   // an action that must be
	}{
		"dry run": {given: []string{"--dry-run"}, out: []string{"add      Vpc        AWS::EC2::VPC", "modify   Topic      AWS::SNS::Topic   yes"},
			talk: []string{"new stack penstock in eu-west-1 of account 123456789012"}, never: "ExecuteChangeSet", calls: "DeleteStack"},
		"nobody to ask":        {status: exitUsage, talk: []string{"add      Vpc", "Make these changes: not done", "no terminal", "--yes"}, never: "ExecuteChangeSet", calls: "DeleteChangeSet"},
		"no":                   {typed: "n\n", status: exitCancelled, talk: []string{"Make these changes? [y/N]", "nothing was changed"}, never: "ExecuteChangeSet", calls: "DeleteChangeSet"},
		"nothing typed":        {typed: "\n", status: exitCancelled, never: "ExecuteChangeSet", calls: "DeleteChangeSet"},
		"yes":                  {typed: "y\n", out: []string{"vpc        vpc-1", "bucket     the-bucket"}, talk: []string{"add      Vpc", "CREATE_COMPLETE AWS::Test::Thing Vpc"}, calls: "ExecuteChangeSet"},
		"yes, said before":     {given: []string{"--yes"}, out: []string{"the-table"}, calls: "ExecuteChangeSet"},
		"a failure":            {given: []string{"--yes"}, fails: true, status: exitFailed, talk: []string{"Vpc (AWS::Test::Thing) failed: " + vpcs, "penstock bootstrap --region eu-west-1 --destroy"}},
		"after a failure":      {given: []string{"--yes"}, stack: "ROLLBACK_COMPLETE", status: exitFailed, talk: []string{"--destroy"}, never: "CreateChangeSet"},
		"a change under way":   {given: []string{"--yes"}, stack: "UPDATE_IN_PROGRESS", status: exitWaiting, never: "CreateChangeSet"},
		"destroy":              {given: []string{"--destroy", "--yes"}, stack: "CREATE_COMPLETE", out: []string{"kept bucket the-bucket\nkept table the-table"}, calls: "DeleteStack"},
		"destroy what is used": {given: []string{"--destroy", "--yes"}, stack: "CREATE_COMPLETE", inUse: []string{"shop"}, status: exitFailed, talk: []string{"in use by shop"}, never: "DeleteStack"},
		"destroy? no":          {given: []string{"--destroy"}, typed: "no\n", stack: "CREATE_COMPLETE", status: exitCancelled, talk: []string{"Remove stack penstock in eu-west-1"}, never: "DeleteStack"},
		"destroy nothing":      {given: []string{"--destroy", "--yes"}, never: "DeleteStack"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := &formation{fails: tt.fails}
			if tt.stack != "" {
				f.happen("penstock", tt.stack, "")
			}
			f.serve(t)
			status, out, talk := runBootstrapTest(tt.typed, tt.inUse, append([]string{"--region", "eu-west-1"}, tt.given...)...)
			if status != tt.status {
				t.Errorf("exit status %d, want %d", status, tt.status)
			}
			for _, want := range tt.out {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
			for _, want := range tt.talk {
				if !strings.Contains(talk, want) {
					t.Errorf("no %q in\n%s", want, talk)
				}
			}
			if tt.never != "" && slices.Contains(f.calls, tt.never) || tt.calls != "" && !slices.Contains(f.calls, tt.calls) {
				t.Errorf("calls %v; never %s, want %s", f.calls, tt.never, tt.calls)
			}
		})
	}
}

func TestBootstrapJSON(t *testing.T) {
	f := &formation{}
	f.serve(t)
	for _, flag := range []string{"--dry-run", "--yes"} {
		status, out, _ := runBootstrapTest("", nil, "--json", "--region", "eu-west-1", flag)
		var got bootstrapResult
		if err := json.Unmarshal([]byte(out), &got); err != nil || status != exitDone {
			t.Fatalf("%s: exit status %d, %v in %s", flag, status, err, out)
		}
		if len(got.Changes) != 2 || got.Changes[0].Resource != "Vpc" || (got.Resources != nil) != (flag == "--yes") {
			t.Errorf("%s: %s", flag, out)
		}
		if got.Resources != nil && got.Resources.Table != "the-table" {
			t.Errorf("resources %+v", got.Resources)
		}
		f.status, f.events = "", nil
	}
}

// The stack that is made or removed is the one that other commands would look at.
func TestBootstrapTarget(t *testing.T) {
	tests := map[string]struct {
		env   map[string]string
		there string // what a data directory here says
		team  place  // the context of that name
		use   bool
		given []string
		want  string // empty where it is refused
	}{
		"nothing says":             {given: []string{"--region", "eu-west-1"}, want: "stack penstock in eu-west-1"},
		"a flag":                   {given: []string{"--stack", "mine", "--region", "eu-west-1"}, env: map[string]string{"PENSTOCK_STACK": "other"}, want: "stack mine in eu-west-1"},
		"a variable":               {given: []string{"--region", "eu-west-1"}, env: map[string]string{"PENSTOCK_STACK": "other"}, want: "stack other in eu-west-1"},
		"a data directory":         {there: `{"stack": "ours", "region": "eu-west-2"}`, want: "stack ours in eu-west-2"},
		"and another region":       {there: `{"stack": "ours", "region": "eu-west-2"}`, given: []string{"--region", "eu-west-3"}, want: "stack ours in eu-west-3"},
		"of the default stack":     {there: `{"region": "eu-west-2"}`, want: "stack penstock in eu-west-2"},
		"a local pipeline":         {there: "-", given: []string{"--region", "eu-west-1"}, want: "stack penstock in eu-west-1"},
		"a context by a flag":      {team: place{Stack: "theirs", Region: "eu-west-2"}, given: []string{"--context", "team"}, want: "stack theirs in eu-west-2"},
		"a context by a variable":  {team: place{Stack: "theirs", Region: "eu-west-2"}, env: map[string]string{"PENSTOCK_CONTEXT": "team"}, want: "stack theirs in eu-west-2"},
		"the context in use":       {team: place{Stack: "theirs", Region: "eu-west-2"}, use: true, want: "stack theirs in eu-west-2"},
		"a context that is not":    {given: []string{"--context", "team", "--region", "eu-west-1"}},
		"a context, and the stack": {team: place{Stack: "theirs"}, given: []string{"--context", "team", "--stack", "mine", "--region", "eu-west-1"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := &formation{}
			f.serve(t)
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			if tt.team.Stack != "" {
				c := contextFile{Contexts: map[string]place{"team": tt.team}}
				if tt.use {
					c.Current = "team"
				}
				if err := writeContexts(c); err != nil {
					t.Fatal(err)
				}
			}
			if tt.there != "" {
				if err := os.Mkdir(".penstock", 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if strings.HasPrefix(tt.there, "{") {
				if err := os.WriteFile(filepath.Join(".penstock", "context.json"), []byte(tt.there), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			status, out, talk := runBootstrapTest("", nil, append(tt.given, "--dry-run")...)
			if (status == exitDone) != (tt.want != "") || !strings.Contains(talk, tt.want) {
				t.Errorf("exit status %d, %s%s", status, out, talk)
			}
			if tt.want == "" && len(f.calls) > 0 {
				t.Errorf("it called %v", f.calls)
			}
		})
	}
}

func TestBootstrapArguments(t *testing.T) {
	yes := true
	tests := map[string]struct {
		given []string
		want  bootstrap.Parameters
		wrong string
	}{
		"none": {},
		"a part, and more": {given: []string{"network", "--nat", "--zones", "3", "--addresses", "10.8"},
			want: bootstrap.Parameters{Parts: []bootstrap.Part{bootstrap.PartNetwork}, NAT: &yes, Zones: 3, Addresses: "10.8"}},
		"what is there": {given: []string{"--vpc", "vpc-1", "--subnets", "subnet-1,subnet-2", "--bucket", "b", "--table", "t", "--port", "9000", "--clients", "10.0.0.0/8"},
			want: bootstrap.Parameters{VPC: "vpc-1", PrivateSubnets: []string{"subnet-1", "subnet-2"}, PublicSubnets: []string{"subnet-1", "subnet-2"},
				Bucket: "b", Table: "t", ServicePort: 9000, Clients: "10.0.0.0/8"}},
		"subnets of two kinds": {given: []string{"--vpc", "vpc-1", "--subnets", "subnet-1", "--public-subnets", "subnet-2"},
			want: bootstrap.Parameters{VPC: "vpc-1", PrivateSubnets: []string{"subnet-1"}, PublicSubnets: []string{"subnet-2"}}},
		"a configuration to apply": {given: []string{"ci", "--repository", "https://example.com/a.git", "--ref", "live", "--directory", "d", "--repository-token", "/t", "--terraform", "1.14.0", "--every", "10"},
			want: bootstrap.Parameters{Parts: []bootstrap.Part{bootstrap.PartCI}, Repository: "https://example.com/a.git", Ref: "live", Directory: "d", Token: "/t", Terraform: "1.14.0", Every: 10}},
		"another part":        {given: []string{"cd"}, wrong: "not a part"},
		"destroy with CI":     {given: []string{"--destroy", "--every", "3"}, wrong: "--every"},
		"two parts":           {given: []string{"network", "support"}, wrong: "argument"},
		"a VPC alone":         {given: []string{"--vpc", "vpc-1"}, wrong: "needs its subnets"},
		"destroy a part":      {given: []string{"support", "--destroy"}, wrong: "whole stack"},
		"destroy with a flag": {given: []string{"--destroy", "--zones", "3"}, wrong: "--zones"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o, err := parse(t, newBootstrap, tt.given...)
			if tt.wrong != "" {
				var usage *usageError
				if err == nil || !strings.Contains(err.Error(), tt.wrong) || !errors.As(err, &usage) && pipeline.CodeOf(err) != pipeline.CodeInvalid {
					t.Fatalf("got %v, want %s", err, tt.wrong)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(o.parameters, tt.want) {
				t.Errorf("got %+v, %v; want %+v", o.parameters, err, tt.want)
			}
		})
	}
}
