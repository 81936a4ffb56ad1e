// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package instance_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/awstest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
)

func TestMain(m *testing.M) { os.Exit(cloudtest.Main(m)) }

// The agent registers before an instance has done what it does at its first boot, and
// commands wait for that.
func TestCommandWaitsForBoot(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	id := b.Machine(instance.Preamble + "sleep 2\necho booted > \"$root/order\"\n")
	exit, output, err := b.Instances.Execute(t.Context(), id, instance.Command{What: "look", Script: instance.Preamble + "cat \"$root/order\"\n", Timeout: time.Minute})
	if err != nil || exit != 0 || output != "booted\n" {
		t.Errorf("the command gave %d, %q, %v", exit, output, err)
	}
}

// A request to run a command is repeated when its answer is lost. The command runs once,
// and how it ended is known.
func TestCommandRunsOnce(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	id, log := b.Machine(""), bytes.Buffer{}
	for name, c := range map[string]instance.Command{
		"plain": {Log: &log}, "live": {Log: &log, Live: true},
		"with a secret": {Log: &log, Live: true, Secrets: pipeline.Secrets{"TOKEN": "hush"}},
	} {
		c.What, c.Timeout = name, time.Minute
		c.Script = instance.Preamble + "echo \"$root\" >> \"$root/ran\"\nsleep 1\necho told\nexit 3\n"
		b.Cloud.ResetCalls()
		b.Cloud.Fail(cloudtest.Fault{Action: "SendCommand", After: true})
		exit, output, err := b.Instances.Execute(t.Context(), id, c)
		if err != nil || exit != 3 || output != "told\n" {
			t.Errorf("%s: it gave %d, %q, %v", name, exit, output, err)
		}
		if n := b.Cloud.Count()["SendCommand"]; n != 2 {
			t.Errorf("%s: it was sent %d times", name, n)
		}
		ran, err := os.ReadFile(filepath.Join(b.Cloud.Root(id), "ran"))
		b.Must(err)
		b.Must(os.Remove(filepath.Join(b.Cloud.Root(id), "ran")))
		if string(ran) != b.Cloud.Root(id)+"\n" {
			t.Errorf("%s: it ran more than once: %s", name, ran)
		}
	}
}

// What a command prints is masked on the instance: neither S3, where SSM keeps the output,
// nor what the instance itself keeps has a secret, however it is printed.
func TestCommandMasksOnTheInstance(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	id, log := b.Machine(""), bytes.Buffer{}
	client := s3.NewFromConfig(b.Cloud.Own(), func(o *s3.Options) { o.UsePathStyle = true })
	b.Cloud.Fail(cloudtest.Fault{Service: "s3", Action: "DELETE", Code: "AccessDenied", Times: 100})
	special, of, lines := `p4$$'w"o.r*d[1]/&^\`, "its own", "-----BEGIN-----\nMIIEow\n-----END-----\n"
	_, output, err := b.Instances.Execute(t.Context(), id, instance.Command{
		What: "telling", Stage: "s", Timeout: time.Minute, Log: &log, Live: true, Mask: []pipeline.Secret{"of another step"},
		Secrets: pipeline.Secrets{"SPECIAL": pipeline.Secret(special), "OWN": pipeline.Secret(of), "LINES": pipeline.Secret(lines)},
		Script: instance.Preamble + `i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo "line $i of the output"; done
echo "$SPECIAL and $OWN and of another step"; echo "$LINES"; echo "$SPECIAL" >&2
printf '%s' "$OWN" | cut -c1-3 | tr -d '\n'; sleep 0.2; printf '%s' "$OWN" | cut -c4-
`,
	})
	b.Must(err)
	if !strings.Contains(output, "*** and *** and ***\n") || !strings.Contains(log.String(), "line 3000 of the output\n*** and *** and ***\n") {
		t.Errorf("the output ends with %q", output[max(0, len(output)-200):])
	}
	kept := map[string]string{"the output": output, "the log": log.String()}
	objects, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(b.Stack.Settings.Bucket)})
	b.Must(err)
	printed := 0
	for _, o := range objects.Contents {
		out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(b.Stack.Settings.Bucket), Key: o.Key})
		b.Must(err)
		data, err := io.ReadAll(out.Body)
		b.Must(err)
		key := aws.ToString(o.Key)
		if !strings.HasPrefix(key, "output/stages/") && !strings.HasPrefix(key, "transfer/stages/") {
			t.Errorf("a stage's file is at %s", key)
		}
		if bytes.Contains(data, []byte("export SPECIAL=")) { // the script, which is removed
			continue
		}
		if strings.HasSuffix(key, "/stdout") {
			printed++
		}
		kept[key] = string(data)
	}
	if printed != 1 {
		t.Errorf("there are %d outputs in the bucket", printed)
	}
	b.Must(filepath.WalkDir(b.Cloud.Root(id)+instance.CommandDir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			data, err := os.ReadFile(path)
			kept[path] = string(data)
			return err
		}
		return err
	}))
	for where, text := range kept {
		for _, secret := range []string{special, of, "MIIEow", "of another step"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s has %q", where, secret)
			}
		}
	}
}

// The output of a command leaves the bucket when it was read.
func TestCommandRemovesItsOutput(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	b.Must(b.Instances.Must(t.Context(), b.Machine(""), instance.Command{What: "telling", Script: instance.Preamble + "echo told\n", Timeout: time.Minute, Secrets: pipeline.Secrets{"TOKEN": "hush"}}))
	objects, err := s3.NewFromConfig(b.Cloud.Own(), func(o *s3.Options) { o.UsePathStyle = true }).ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(b.Stack.Settings.Bucket)})
	b.Must(err)
	for _, o := range objects.Contents {
		t.Errorf("%s is left", aws.ToString(o.Key))
	}
}
