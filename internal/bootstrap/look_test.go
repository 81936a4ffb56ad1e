// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
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

// boto3 stands for AWS's library: it reads the note from a file, and prints what is started. The
// ends of environments are those in the variable ENDS.
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

    def list_objects_v2(self, Bucket, Prefix):
        assert self.service == "s3" and (Bucket, Prefix) == (os.environ["BUCKET"], "ci/ends/")
        ends = os.environ.get("ENDS", "").split()
        return {"Contents": [{"Key": Prefix + end} for end in ends]} if ends else {"KeyCount": 0}

    def get_parameters(self, Names, WithDecryption):
        assert self.service == "ssm" and WithDecryption
        return {"Parameters": [{"Value": os.environ[{"/ci/token": "TOKEN", "/ci/secret": "SECRET"}[Names[0]]]}]}

    def start_build(self, projectName):
        assert self.service == "codebuild" and projectName == "penstock-apply"
        if os.environ.get("BUSY"):
            raise Refused()
        print("STARTED")
`

// lookBed is the function of a stack in a real Python, with a note to read.
type lookBed struct {
	*testing.T
	*deployed
	program, dir string
}

func newLookBed(t *testing.T, given map[string]string) *lookBed {
	t.Helper()
	program := filepath.Join(filepath.Dir(os.Getenv("MOTO_SERVER")), "python3") // that of the simulator, else any
	if _, err := os.Stat(program); err != nil {
		if program, err = exec.LookPath("python3"); err != nil {
			t.Fatal("there is no python3: run the tests with `make test`, which finds or installs one for the simulator")
		}
	}
	b := &lookBed{t, withCI(t, given), program, t.TempDir()}
	code, _ := at(b.Properties("LookFunction"), "Code", "ZipFile").(string)
	if n := len(code); n == 0 || n > 4096 {
		t.Fatalf("the function has %d characters; CloudFormation takes 4096", n)
	}
	must(t, os.WriteFile(filepath.Join(b.dir, "index.py"), []byte(code), 0o600))
	must(t, os.WriteFile(filepath.Join(b.dir, "boto3.py"), []byte(boto3), 0o600))
	return b
}

// note writes what the last apply saw.
func (b *lookBed) note(until int64, url string, refs map[string]string) {
	b.Helper()
	note, err := json.Marshal(map[string]any{"until": until, "remotes": []any{map[string]any{"url": url, "refs": refs}}})
	must(b.T, err)
	must(b.T, os.WriteFile(filepath.Join(b.dir, "look.json"), note, 0o600))
}

// call calls the function with an event, and returns what it prints, and then what it returns.
func (b *lookBed) call(event any, variables ...string) string {
	b.Helper()
	text, err := json.Marshal(event)
	must(b.T, err)
	cmd := exec.CommandContext(b.Context(), b.program, "-c", "import index, json, os; print(index.handler(json.loads(os.environ['EVENT']), None))")
	cmd.Dir = b.dir
	cmd.Env = []string{"NOTE=look.json", "TOKEN=the-token", "SECRET=" + hookSecret, "PYTHONDONTWRITEBYTECODE=1", "EVENT=" + string(text)}
	given, _ := at(b.Properties("LookFunction"), "Environment", "Variables").(map[string]any)
	for name, value := range given {
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%v", name, value))
	}
	cmd.Env = append(cmd.Env, variables...)
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "the-token") || strings.Contains(string(out), hookSecret) {
		b.Fatalf("it prints a secret:\n%s", out)
	}
	if err != nil {
		return "FAILED\n" + string(out)
	}
	return string(out)
}

// TestLook runs the function of the stack by a real Python, against a real git server that asks
// for a token: it starts a build when a ref has moved, when one is due, and when it can't tell.
func TestLook(t *testing.T) {
	t.Parallel()
	b := newLookBed(t, map[string]string{"RepositoryToken": "/ci/token"})
	d := b.deployed
	o := newOutside(t, "")
	repository := o.URL + "/acme/pipeline.git"
	head, err := exec.Command("git", "-C", filepath.Join(o.dir, "work"), "rev-parse", "HEAD").Output()
	must(t, err)
	tip := strings.TrimSpace(string(head))
	o.git(t, "--git-dir", "acme/pipeline.git", "branch", "main-2") // a name that begins with that of main
	soon := time.Now().Add(time.Hour).Unix()

	look := func(until int64, url string, refs map[string]string, more ...string) string {
		t.Helper()
		b.note(until, url, refs)
		return b.call(map[string]any{}, append([]string{"REPOSITORY=" + repository}, more...)...)
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
		"an end":            {look(soon, repository, nil, fmt.Sprintf("ENDS=s-1@%d e-2@%d", soon, time.Now().Unix()-1)), "the time of an environment is over", true},
		"a later end":       {look(soon, repository, map[string]string{"HEAD": tip}, fmt.Sprintf("ENDS=s-1@%d", soon)), "nothing moved", false},
		"an end, no note":   {look(soon, repository, nil, "ENDS=s-1@1", "NOTE=none.json"), "the time of an environment is over", true},
		"a prefix of a ref": {look(soon, repository, map[string]string{"refs/heads/mai": ""}), "nothing moved", false},
	} {
		if !strings.Contains(tt.said, tt.want) || strings.Contains(tt.said, "STARTED") != tt.starts {
			t.Errorf("%s: it says\n%s\nwant %q, and a build: %t", name, tt.said, tt.want, tt.starts)
		}
	}
	role := d.Role("LookRole")
	list := func(prefix string) iamtest.Request {
		return iamtest.Request{Action: "s3:ListBucket", Resources: []iamtest.Resource{{ARN: "arn:aws:s3:::Bucket"}}, Context: map[string][]string{"s3:prefix": {prefix}}}
	}
	if role.May(list("modules/stages/")) == nil {
		t.Error("who looks may list the states of modules")
	}
	for _, r := range []iamtest.Request{
		list("ci/ends/"),
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

const hookSecret = "a-secret-of-webhooks"

// TestWebhook delivers to the function, as the URL of a function calls it. A delivery that is
// signed, or has the secret, makes it look, whatever it tells; the others have no effect.
func TestWebhook(t *testing.T) {
	t.Parallel()
	b := newLookBed(t, map[string]string{"WebhookSecret": "/ci/secret"})
	b.note(0, "", nil) // an apply is due
	const body = `{"ref": "refs/heads/main", "note": "\u00e4"}`
	sign := func(body, secret string) string {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(body))
		return "sha256=" + hex.EncodeToString(mac.Sum(nil))
	}
	deliver := func(headers map[string]string, more ...any) map[string]any {
		event := map[string]any{"version": "2.0", "requestContext": map[string]any{"http": map[string]any{"method": "POST"}}, "headers": headers, "body": body, "isBase64Encoded": false}
		for i := 0; i < len(more); i += 2 {
			event[more[i].(string)] = more[i+1]
		}
		return event
	}
	good := map[string]string{"x-hub-signature-256": sign(body, hookSecret)}
	for name, tt := range map[string]struct {
		said, want string
		starts     bool
	}{
		"GitHub":             {b.call(deliver(good)), "202", true},
		"Bitbucket":          {b.call(deliver(map[string]string{"x-hub-signature": sign(body, hookSecret)})), "202", true},
		"GitLab":             {b.call(deliver(map[string]string{"x-gitlab-token": hookSecret})), "202", true},
		"base64":             {b.call(deliver(good, "isBase64Encoded", true, "body", base64.StdEncoding.EncodeToString([]byte(body)))), "202", true},
		"no body":            {b.call(deliver(map[string]string{"x-hub-signature-256": sign("", hookSecret)}, "body", nil)), "202", true},
		"a busy build":       {b.call(deliver(good), "BUSY=yes"), "a build runs already", false},
		"no signature":       {b.call(deliver(map[string]string{})), "403", false},
		"empty signatures":   {b.call(deliver(map[string]string{"x-hub-signature-256": "", "x-gitlab-token": ""})), "403", false},
		"another secret":     {b.call(deliver(map[string]string{"x-hub-signature-256": sign(body, "other")})), "403", false},
		"an empty secret":    {b.call(deliver(map[string]string{"x-hub-signature-256": sign(body, "")})), "403", false},
		"another body":       {b.call(deliver(good, "body", body+" ")), "403", false},
		"SHA-1":              {b.call(deliver(map[string]string{"x-hub-signature": strings.Replace(sign(body, hookSecret), "sha256", "sha1", 1)})), "403", false},
		"another token":      {b.call(deliver(map[string]string{"x-gitlab-token": hookSecret + "x"})), "403", false},
		"not ASCII":          {b.call(deliver(map[string]string{"x-gitlab-token": "\u00e4"})), "403", false},
		"a short secret":     {b.call(deliver(map[string]string{"x-gitlab-token": "short"}), "SECRET=short"), "less than 16 characters", false},
		"no secret kept":     {b.call(deliver(map[string]string{"x-gitlab-token": ""}), "SECRET="), "403", false},
		"no webhooks":        {b.call(deliver(good), "WEBHOOK_SECRET="), "403", false},
		"a look in its time": {b.call(map[string]any{"source": "aws.events"}), "an apply is due", true},
	} {
		if !strings.Contains(tt.said, tt.want) || strings.Contains(tt.said, "STARTED") != tt.starts {
			t.Errorf("%s: it says\n%s\nwant %q, and a build: %t", name, tt.said, tt.want, tt.starts)
		}
	}

	// Everybody may call the URL, and nobody the function otherwise but the schedule.
	for resource, r := range b.Resources {
		if r["Type"] != "AWS::Lambda::Permission" || at(r, "Properties", "Principal") != "*" {
			continue
		}
		byURL := at(r, "Properties", "FunctionUrlAuthType") == "NONE" && at(r, "Properties", "Action") == "lambda:InvokeFunctionUrl" ||
			at(r, "Properties", "InvokedViaFunctionUrl") == "true" && at(r, "Properties", "Action") == "lambda:InvokeFunction"
		if !byURL {
			t.Errorf("%s lets everybody call the function", resource)
		}
	}
	for arn, may := range map[string]bool{"parameter/ci/secret": true, "parameter/ci/secret2": false, "parameter/ci/token": false} {
		err := b.Role("LookRole").May(iamtest.Request{Action: "ssm:GetParameters", Resources: []iamtest.Resource{{ARN: "arn:aws:ssm:eu-west-1:123456789012:" + arn}}})
		if (err == nil) != may {
			t.Errorf("the function reads %s: %v", arn, err)
		}
	}
	if none := withCI(t, nil); none.Resources["HookUrl"] != nil || none.Outputs["WebhookUrl"] != "" || b.Outputs["WebhookUrl"] == "" {
		t.Error("there is a URL without webhooks, or none with them")
	}
}
