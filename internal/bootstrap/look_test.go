// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
)

// boto3 stands for AWS's library: it reads the note from a file, and prints what is started.
const boto3 = `
import os

class Refused(Exception):
    pass

class client:
    class exceptions:
        AccountLimitExceededException = Refused

    def __init__(self, service):
        self.service = service

    def get_object(self, Bucket, Key):
        assert self.service == "s3" and (Bucket, Key) == (os.environ["BUCKET"], "ci/look.json")
        return {"Body": open(os.environ["NOTE"])}

    def get_parameters(self, Names, WithDecryption):
        assert self.service == "ssm" and Names == ["/ci/token"] and WithDecryption
        return {"Parameters": [{"Value": os.environ["TOKEN"]}]}

    def start_build(self, projectName):
        assert self.service == "codebuild" and projectName == "penstock-apply"
        if os.environ.get("BUSY"):
            raise Refused()
        print("STARTED")
`

// TestLook runs the function of the stack by a real Python, against a real git server that asks
// for a token: it starts a build when a ref has moved, when one is due, and when it can't tell.
func TestLook(t *testing.T) {
	t.Parallel()
	program := filepath.Join(filepath.Dir(os.Getenv("MOTO_SERVER")), "python3") // that of the simulator, else any
	if _, err := os.Stat(program); err != nil {
		if program, err = exec.LookPath("python3"); err != nil {
			t.Fatal("there is no python3: run the tests with `make test`, which finds or installs one for the simulator")
		}
	}
	d := withCI(t, map[string]string{"RepositoryToken": "/ci/token"})
	function := d.Properties("LookFunction")
	code, _ := at(function, "Code", "ZipFile").(string)
	if n := len(code); n == 0 || n > 4096 {
		t.Fatalf("the function has %d characters; CloudFormation takes 4096", n)
	}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "index.py"), []byte(code), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "boto3.py"), []byte(boto3), 0o600))
	o := newOutside(t, "")
	repository := o.URL + "/acme/pipeline.git"
	head, err := exec.Command("git", "-C", filepath.Join(o.dir, "work"), "rev-parse", "HEAD").Output()
	must(t, err)
	tip := strings.TrimSpace(string(head))
	o.git(t, "--git-dir", "acme/pipeline.git", "branch", "main-2") // a name that begins with that of main
	soon := time.Now().Add(time.Hour).Unix()

	look := func(until int64, url string, refs map[string]string, more ...string) string {
		t.Helper()
		note, err := json.Marshal(map[string]any{"until": until, "remotes": []any{map[string]any{"url": url, "refs": refs}}})
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, "look.json"), note, 0o600))
		cmd := exec.CommandContext(t.Context(), program, "-c", "import index; index.handler({}, None)")
		cmd.Dir = dir
		cmd.Env = []string{"NOTE=look.json", "TOKEN=the-token", "PYTHONDONTWRITEBYTECODE=1"}
		variables, _ := at(function, "Environment", "Variables").(map[string]any)
		for name, value := range variables {
			cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%v", name, value))
		}
		cmd.Env = append(append(cmd.Env, "REPOSITORY="+repository), more...)
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(out), "the-token") {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	for name, tt := range map[string]struct {
		said, want string
		starts     bool
	}{
		"nothing moved":     {look(soon, repository, map[string]string{"refs/heads/main": tip, "refs/tags/main": "", "HEAD": tip}), "nothing moved", false},
		"a branch moved":    {look(soon, repository, map[string]string{"refs/heads/main": strings.Repeat("0", 40)}), repository + " has moved", true},
		"a tag is there":    {look(soon, repository, map[string]string{"refs/heads/main-2": ""}), "has moved", true},
		"a branch is gone":  {look(soon, repository, map[string]string{"refs/heads/gone": tip}), "has moved", true},
		"an apply is due":   {look(time.Now().Unix()-1, repository, map[string]string{"refs/heads/main": tip}), "an apply is due", true},
		"no such server":    {look(soon, "http://127.0.0.1:1/none.git", map[string]string{"HEAD": tip}), "can't be seen", true},
		"a wrong token":     {look(soon, repository, map[string]string{"HEAD": tip}, "TOKEN=wrong"), "401", true},
		"another host":      {look(soon, repository, map[string]string{"HEAD": tip}, "REPOSITORY=https://example.com/acme/pipeline.git"), "401", true}, // it gets no token
		"no note":           {look(soon, repository, nil, "NOTE=none.json"), "can't be seen", true},
		"a build runs":      {look(0, repository, nil, "BUSY=yes"), "a build runs already", false},
		"another answer":    {look(soon, o.URL+"/1.2.3", map[string]string{"HEAD": tip}), "can't be seen", true},
		"a prefix of a ref": {look(soon, repository, map[string]string{"refs/heads/mai": ""}), "nothing moved", false},
	} {
		if !strings.Contains(tt.said, tt.want) || strings.Contains(tt.said, "STARTED") != tt.starts {
			t.Errorf("%s: it says\n%s\nwant %q, and a build: %t", name, tt.said, tt.want, tt.starts)
		}
	}
	role := d.Role("LookRole")
	for _, r := range []iamtest.Request{
		{Action: "s3:GetObject", Resources: []iamtest.Resource{{ARN: "arn:aws:s3:::Bucket/ci/look.json"}}},
		{Action: "codebuild:StartBuild", Resources: []iamtest.Resource{{ARN: "arn:aws:codebuild:eu-west-1:123456789012:project/penstock-apply"}}},
		{Action: "ssm:GetParameters", Resources: []iamtest.Resource{{ARN: "arn:aws:ssm:eu-west-1:123456789012:parameter/ci/token"}}},
	} {
		if err := role.May(r); err != nil {
			t.Error(err)
		}
	}
	if role.May(iamtest.Request{Action: "sts:AssumeRole", Resources: []iamtest.Resource{{ARN: d.Role("DeployerRole").ARN, Account: "123456789012", Policy: d.Role("DeployerRole").Trust}}}) == nil {
		t.Error("who looks may become a deployer")
	}
}
