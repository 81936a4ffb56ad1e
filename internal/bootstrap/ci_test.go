// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"gopkg.in/yaml.v3"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
)

// withCI deploys with a repository to apply.
func withCI(t testing.TB, more map[string]string) *deployed {
	given := map[string]string{"Ci": "yes", "Repository": "https://example.com/acme/pipeline.git"}
	for k, v := range more {
		given[k] = v
	}
	return deploy(t, given)
}

// project is what a build of a project is given.
func (d *deployed) project(name string) (commands string, variables map[string]string) {
	d.t.Helper()
	var spec struct {
		Version string
		Phases  map[string]struct{ Commands []string }
	}
	if err := yaml.Unmarshal([]byte(at(d.Properties(name), "Source", "BuildSpec").(string)), &spec); err != nil {
		d.t.Fatal(err)
	}
	if spec.Version != "0.2" || len(spec.Phases) != 1 || len(spec.Phases["build"].Commands) != 1 {
		d.t.Fatalf("the buildspec is %+v", spec)
	}
	variables = map[string]string{}
	list, _ := at(d.Properties(name), "Environment", "EnvironmentVariables").([]any)
	for _, v := range list {
		variables[at(v, "Name").(string)] = at(v, "Value").(string)
	}
	return spec.Phases["build"].Commands[0], variables
}

func TestCI(t *testing.T) {
	t.Parallel()
	const project = "arn:aws:codebuild:eu-west-1:123456789012:project/penstock-"
	d := withCI(t, map[string]string{"ApplyMinutes": "7", "RepositoryToken": "/ci/token"})
	const stream = "arn:aws:dynamodb:eu-west-1:123456789012:table/Table/stream/1"
	for _, want := range []struct {
		resource, path string
		value          any
	}{
		{"ApplyProject", "Name", "penstock-apply"},
		{"ApplyProject", "ConcurrentBuildLimit", "1"},
		{"ApplyProject", "ServiceRole", d.Role("RunnerRole").ARN},
		{"RunnerProject", "Name", d.Outputs["RunnerProject"]},
		{"RunnerProject", "ServiceRole", d.Role("StepRole").ARN},
		{"RunnerProject", "ConcurrentBuildLimit", nil}, // the builds of one load run at the same time
		{"RunnerProject", "LogsConfig.CloudWatchLogs.GroupName", "/aws/codebuild/penstock"},
		{"CiLog", "LogGroupName", d.Outputs["CiLogGroup"]},
		{"ApplySchedule", "ScheduleExpression", "rate(7 minutes)"},
		{"ApplyOnDecision", "EventPattern.source", []any{at(d.Properties("DecisionPipe"), "TargetParameters", "EventBridgeEventBusParameters", "Source")}},
		{"ApplyOnDecision", "EventPattern.detail.eventSourceARN", []any{stream}},
		{"DecisionPipe", "Source", stream},
		{"DecisionPipe", "RoleArn", d.Role("PipeRole").ARN},
		{"Table", "StreamSpecification.StreamViewType", "KEYS_ONLY"},
	} {
		if got := at(d.Properties(want.resource), strings.Split(want.path, ".")...); !reflect.DeepEqual(got, want.value) {
			t.Errorf("%s of %s is %v, want %v", want.path, want.resource, got, want.value)
		}
	}
	target := d.Properties("ApplyOnDecision")["Targets"].([]any)[0]
	if at(target, "Arn") != project+"apply" || at(target, "RoleArn") != d.Role("ApplyTriggerRole").ARN {
		t.Errorf("a decision starts %v", target)
	}
	if look := d.Properties("ApplySchedule")["Targets"].([]any)[0]; at(look, "Arn") != "LookFunction.Arn" {
		t.Errorf("the schedule starts %v", look)
	}
	other := withCI(t, map[string]string{"TableName": "t"}) // where nothing tells of decisions
	if target := other.Properties("ApplySchedule")["Targets"].([]any)[0]; at(target, "Arn") != project+"apply" || at(target, "RoleArn") != other.Role("ApplyTriggerRole").ARN {
		t.Errorf("with another table the schedule starts %v", target)
	}
	pipe := d.Role("PipeRole")
	const bus = "arn:aws:events:eu-west-1:123456789012:event-bus/default"
	for _, r := range []iamtest.Request{
		{Action: "dynamodb:GetRecords", Resources: []iamtest.Resource{{ARN: stream}}}, {Action: "events:PutEvents", Resources: []iamtest.Resource{{ARN: bus}}},
	} {
		if err := pipe.May(r); err != nil {
			t.Errorf("the pipe tells of no decision: %v", err)
		}
	}
	if err := d.Role("ApplyTriggerRole").May(iamtest.Request{Action: "codebuild:StartBuild", Resources: []iamtest.Resource{{ARN: project + "apply"}}}); err != nil {
		t.Errorf("nothing moves the pipelines: %v", err)
	}
}

// What is made of CI depends on what is there for it.
func TestCIWithAllChoices(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		given                map[string]string
		runner, apply, pipes bool
	}{
		"without":            {map[string]string{"Repository": "https://example.com/a.git"}, false, false, false},
		"without support":    {map[string]string{"Ci": "yes", "Support": "no", "Repository": "https://example.com/a.git"}, false, false, false},
		"steps":              {map[string]string{"Ci": "yes"}, true, false, false},
		"all":                {map[string]string{"Ci": "yes", "Repository": "https://example.com/a.git", "OwnKey": "yes"}, true, true, true},
		"with another table": {map[string]string{"Ci": "yes", "Repository": "https://example.com/a.git", "TableName": "t"}, true, true, false},
	} {
		d := deploy(t, tt.given)
		for _, want := range []struct {
			made      bool
			resources []string
		}{
			{tt.runner, []string{"RunnerProject", "StepRole", "CiLog"}}, {tt.apply, []string{"ApplyProject", "ApplyTriggerRole", "ApplySchedule"}},
			{tt.pipes, []string{"DecisionPipe", "PipeRole", "ApplyOnDecision", "LookFunction", "LookRole", "LookPermission"}},
		} {
			for _, resource := range want.resources {
				if _, made := d.Resources[resource]; made != want.made {
					t.Errorf("%s: %s is made: %v", name, resource, made)
				}
			}
		}
		if (d.Outputs["RunnerProject"] != "") != tt.runner || (d.Outputs["ApplyProject"] != "") != tt.apply {
			t.Errorf("%s: outputs %v", name, d.Outputs)
		}
		if table, made := d.Resources["Table"]; made && (at(table, "Properties", "StreamSpecification") != nil) != tt.pipes {
			t.Errorf("%s: the table is %v", name, table)
		}
		if tt.pipes && d.Role("PipeRole").May(decrypt) != nil {
			t.Errorf("%s: the pipe can't read what the key encrypts", name)
		}
	}
}

// outside is what a build finds outside of its container: the releases of Terraform, a
// repository that asks for a token, the credentials of the project's role, and STS.
type outside struct {
	*httptest.Server
	dir string
}

func newOutside(t *testing.T, configuration string) *outside {
	t.Helper()
	o := &outside{dir: t.TempDir()}
	program := os.Getenv("TF_ACC_TERRAFORM_PATH")
	if program == "" {
		var err error
		if program, err = exec.LookPath("terraform"); err != nil {
			t.Fatal("there is no terraform: run the tests with `make test`, which finds or installs one")
		}
	}
	for _, tool := range []string{"git", "curl", "unzip", "sha256sum"} { // which the image of CodeBuild has
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("there is no %s: install it", tool)
		}
	}
	binary, err := os.ReadFile(program)
	must(t, err)
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	for name, data := range map[string][]byte{"LICENSE.txt": nil, "terraform": binary} {
		h := &zip.FileHeader{Name: name}
		h.SetMode(0o755)
		w, err := z.CreateHeader(h)
		must(t, err)
		_, err = w.Write(data)
		must(t, err)
	}
	must(t, z.Close())
	sums := fmt.Sprintf("%064d  terraform_1.2.3_darwin_arm64.zip\n%x  terraform_1.2.3_linux_amd64.zip\n", 0, sha256.Sum256(archive.Bytes()))

	o.git(t, "init", "-q", "-b", "main", "work")
	must(t, os.MkdirAll(filepath.Join(o.dir, "work/live"), 0o755))
	must(t, os.WriteFile(filepath.Join(o.dir, "work/live/main.tf"), []byte(configuration), 0o644))
	o.git(t, "-C", "work", "add", ".")
	o.git(t, "-C", "work", "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", "configuration")
	o.git(t, "clone", "-q", "--bare", "work", "acme/pipeline.git")
	core, err := exec.Command("git", "--exec-path").Output()
	must(t, err)
	backend := &cgi.Handler{Path: filepath.Join(strings.TrimSpace(string(core)), "git-http-backend"), Root: "/", Env: []string{"GIT_PROJECT_ROOT=" + o.dir, "GIT_HTTP_EXPORT_ALL=1"}}

	m := http.NewServeMux()
	m.HandleFunc("/1.2.3/terraform_1.2.3_linux_amd64.zip", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(archive.Bytes()) })
	m.HandleFunc("/1.2.3/terraform_1.2.3_SHA256SUMS", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, sums) })
	m.HandleFunc("/acme/", func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "the-token" {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	})
	m.HandleFunc("/credentials", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"AccessKeyId":"PROJECT","SecretAccessKey":"test","Token":"t","Expiration":"2099-01-01T00:00:00Z"}`)
	})
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { // of STS
		_, by, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		by, _, _ = strings.Cut(by, "/")
		if r.FormValue("Action") != "AssumeRole" || r.FormValue("RoleSessionName") != "penstock-apply" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>OF %s BY %s</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"+
			"<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>", r.FormValue("RoleArn"), by)
	})
	o.Server = httptest.NewServer(m)
	t.Cleanup(o.Close)
	return o
}

func (o *outside) git(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = o.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// build runs what the project runs, as CodeBuild does: with the project's variables, by
// a shell. changes are variables that differ.
func (o *outside) build(t *testing.T, home string, changes map[string]string) (string, error) {
	t.Helper()
	commands, variables := withCI(t, map[string]string{"RepositoryDirectory": "live", "TerraformVersion": "1.2.3", "RepositoryToken": "/ci/token"}).project("ApplyProject")
	if variables["TERRAFORM_RELEASES"] != "https://releases.hashicorp.com/terraform" || variables["REPOSITORY"] != "https://example.com/acme/pipeline.git" {
		t.Errorf("the variables are %v", variables)
	}
	variables["TERRAFORM_RELEASES"], variables["REPOSITORY"], variables["REPOSITORY_TOKEN"] = o.URL, o.URL+"/acme/pipeline.git", "the-token"
	variables["DEPLOYER_ROLE"] = "arn:aws:iam::123456789012:role/deployer"
	for k, v := range changes {
		variables[k] = v
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", commands)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + t.TempDir(), "CHECKPOINT_DISABLE=1", "GIT_CONFIG_NOSYSTEM=1"}
	for k, v := range variables {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// The project's commands do what they should, with a real Terraform and a real git: the
// state is where the backend keeps it, and the next build finds it there.
func TestApplyProject(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	o := newOutside(t, fmt.Sprintf("terraform {\n  backend \"local\" { path = %q }\n}\nresource \"terraform_data\" \"moved\" {}\n", state))
	for _, want := range []string{"1 added", "0 added"} {
		out, err := o.build(t, t.TempDir(), nil)
		if err != nil || !strings.Contains(out, "Apply complete! Resources: "+want) || strings.Contains(out, "the-token") {
			t.Fatalf("want %s: %v\n%s", want, err, out)
		}
	}
	if _, err := os.Stat(state); err != nil {
		t.Error(err)
	}
}

// The profile that a build leaves for Terraform makes a deployer of the project's role.
func TestApplyProjectIsADeployer(t *testing.T) {
	o := newOutside(t, "")
	home := t.TempDir()
	if out, err := o.build(t, home, nil); err == nil || !strings.Contains(out, "has no backend") {
		t.Fatalf("%v\n%s", err, out)
	}
	for k, v := range map[string]string{ // as CodeBuild has them
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": o.URL + "/credentials", "AWS_REGION": "eu-west-1",
		"AWS_CONFIG_FILE": filepath.Join(home, ".aws/config"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(home, "none"),
		"AWS_CA_BUNDLE": "", "AWS_PROFILE": "", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "",
	} {
		t.Setenv(k, v)
	}
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithHTTPClient(doer(func(r *http.Request) (*http.Response, error) {
		r.URL.Scheme, r.URL.Host = "http", o.Listener.Addr().String() // STS, too
		return http.DefaultClient.Do(r)
	})))
	must(t, err)
	got, err := cfg.Credentials.Retrieve(t.Context())
	must(t, err)
	if got.AccessKeyID != "OF arn:aws:iam::123456789012:role/deployer BY PROJECT" {
		t.Errorf("Terraform has the key %q", got.AccessKeyID)
	}
}

type doer func(*http.Request) (*http.Response, error)

func (f doer) Do(r *http.Request) (*http.Response, error) { return f(r) }

func TestApplyProjectRefuses(t *testing.T) {
	t.Parallel()
	o := newOutside(t, "resource \"terraform_data\" \"lost\" {}\n")
	for name, tt := range map[string]struct {
		changes map[string]string
		want    string
	}{
		"no backend":           {nil, "has no backend"},
		"a wrong token":        {map[string]string{"REPOSITORY_TOKEN": "wrong"}, "Authentication failed"},
		"no such version":      {map[string]string{"TERRAFORM_VERSION": "9.9.9"}, "404"},
		"no such branch":       {map[string]string{"REPOSITORY_REF": "gone"}, "gone not found"},
		"no such directory":    {map[string]string{"REPOSITORY_DIRECTORY": "gone"}, "gone"},
		"a token, and a space": {map[string]string{"REPOSITORY_TOKEN": "the-token x"}, "Authentication failed"},
	} {
		out, err := o.build(t, t.TempDir(), tt.changes)
		if err == nil || !strings.Contains(out, tt.want) || strings.Contains(out, "Apply complete") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
