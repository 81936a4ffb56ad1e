// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package codebuild_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	sdk "github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/artifact"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/codebuild"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/step"
)

// TestMain makes this program what Penstock is to the machines of a load.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "load" {
		if err := step.MakeShare(context.Background(), os.Getenv(pipeline.StartVariable), os.Stdin, os.Stdout, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == "copy" {
		if err := putObject(os.Args[len(os.Args)-2], os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(cloudtest.Main(m))
}

// putObject does what "aws s3 cp" does of a file.
func putObject(file, to string) error {
	ctx := context.Background()
	c, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	body, err := os.Open(file)
	if err != nil {
		return err
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(to, "s3://"), "/")
	_, err = s3.NewFromConfig(c, cloud.Objects).PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(key), Body: body})
	return err
}

const arm = runtime.GOARCH == "arm64"

// bed is a runner whose worker is in an account of its own, and a work tree.
type bed struct {
	*testing.T
	cloud  *cloudtest.Cloud
	bucket string
	runner *step.Runner
	tree   string
	log    *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func unpack(ctx context.Context, r io.Reader, dir string, seen func(name string, modified time.Time)) error {
	return artifact.Unpack(ctx, r, dir, artifact.Seen(seen))
}

// project runs the steps of the stack.
const project = "penstock-runner"

func newBed(t *testing.T) *bed {
	t.Helper()
	c := cloudtest.New(t)
	c.SetProject(project, cloudtest.Project{})
	b := &bed{T: t, cloud: c, bucket: "penstock-" + c.ID, tree: filepath.Join(t.TempDir(), "checkout"), log: &syncBuffer{}}
	_, err := b.store().CreateBucket(t.Context(), &s3.CreateBucketInput{
		Bucket: aws.String(b.bucket), CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: cloudtest.Region},
	})
	b.must(err)
	b.must(os.Mkdir(b.tree, 0o755))
	b.runner = b.with(c.Config(), project)
	return b
}

func (b *bed) with(config aws.Config, project string) *step.Runner {
	return step.NewRunner(step.Options{Worker: codebuild.New(codebuild.Options{
		Config: config, Project: project, Stack: "penstock", Bucket: b.bucket, Pack: artifact.Pack, Unpack: unpack, Pause: 20 * time.Millisecond,
	})})
}

func (b *bed) store() *s3.Client {
	return s3.NewFromConfig(b.cloud.Own(), func(o *s3.Options) { o.UsePathStyle = true })
}

func (b *bed) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatalf("%v (hint: %s)\n%s", err, reason.Hint(err), b.log)
	}
}

// request asks for a command in the work tree.
func (b *bed) request(command string) pipeline.StepRequest {
	return pipeline.StepRequest{
		Step: pipeline.Step{Name: "s", Command: command, Timeout: time.Minute}, Run: "r-1", Runner: pipeline.RunnerCodeBuild,
		Checkout: b.tree, Env: map[string]string{"PENSTOCK_ROOT": b.tree}, Log: b.log,
	}
}

func (b *bed) write(name, text string) {
	b.Helper()
	path := filepath.Join(b.tree, name)
	b.must(os.MkdirAll(filepath.Dir(path), 0o755))
	b.must(os.WriteFile(path, []byte(text), 0o644))
}

func (b *bed) read(name string) string {
	b.Helper()
	data, err := os.ReadFile(filepath.Join(b.tree, name))
	b.must(err)
	return string(data)
}

// files lists the work tree.
func (b *bed) files() []string {
	b.Helper()
	var names []string
	b.must(filepath.WalkDir(b.tree, func(path string, d os.DirEntry, err error) error {
		if name, _ := filepath.Rel(b.tree, path); name != "." {
			names = append(names, name)
		}
		return err
	}))
	return names
}

// wantNothing asserts that no build runs, and nothing of one run is in the bucket.
func (b *bed) wantNothing() {
	b.Helper()
	for id, status := range b.cloud.Builds() {
		if status == "IN_PROGRESS" {
			b.Errorf("build %s runs on", id)
		}
	}
	objects, err := b.store().ListObjectsV2(context.Background(), &s3.ListObjectsV2Input{Bucket: aws.String(b.bucket)})
	b.must(err)
	for _, o := range objects.Contents {
		if !strings.HasPrefix(aws.ToString(o.Key), "transfer/steps/files/") {
			b.Errorf("object %s is left", aws.ToString(o.Key))
		}
	}
}

// wantError asserts code and text of an error.
func (b *bed) wantError(err error, code pipeline.Code, text ...string) {
	b.Helper()
	if pipeline.CodeOf(err) != code {
		b.Fatalf("got error %v with code %q, want %q\n%s", err, pipeline.CodeOf(err), code, b.log)
	}
	for _, want := range text {
		if !strings.Contains(err.Error()+"\n"+reason.Hint(err), want) {
			b.Errorf("the error %q (%s) does not say %q", err, reason.Hint(err), want)
		}
	}
}

// What a command leaves in its copy of the tree is what is in the directory then, and
// its reports count, as if it had run there.
func TestCommand(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.cloud.SetPace(cloudtest.Pace{Build: 100 * time.Millisecond})
	b.write("kept", "kept")
	b.write("changed", "before")
	b.write("removed", "x")
	b.write("sub/script", "#!/bin/sh\necho hello from $NAME\n")
	b.must(os.Chmod(filepath.Join(b.tree, "sub/script"), 0o755))
	b.must(os.Symlink("kept", filepath.Join(b.tree, "link")))
	dist := filepath.Join(t.TempDir(), "dist")
	b.must(os.WriteFile(dist, []byte("the artifact"), 0o600))

	r := b.request(`./script
echo after > ../changed
rm ../removed
cat "$PENSTOCK_ARTIFACT" > "$PENSTOCK_ROOT/new"
test ! ../kept -nt script && test ! script -nt ../kept
i=0; while [ $i -lt 120 ]; do echo line $i; i=$((i+1)); done
printf '<testsuite><testcase name="a"/><testcase name="b"><skipped/></testcase></testsuite>' > ../junit.xml
printf unfinished`)
	old := time.Unix(1_700_000_000, 123_456_789)
	b.must(os.Chtimes(filepath.Join(b.tree, "kept"), old, old))
	r.Step.Directory, r.Step.Report, r.Step.Env = "sub", "junit.xml", map[string]string{"NAME": "it's \"here\""}
	r.Env["PENSTOCK_ARTIFACT"] = dist
	result, err := b.runner.Run(t.Context(), r)
	b.must(err)
	if got := []string{b.read("kept"), b.read("changed"), b.read("new")}; !slices.Equal(got, []string{"kept", "after\n", "the artifact"}) {
		t.Errorf("the tree has %q", got)
	}
	if got, want := b.files(), []string{"changed", "junit.xml", "kept", "link", "new", "sub", "sub/script"}; !slices.Equal(got, want) {
		t.Errorf("the tree has %v, want %v", got, want)
	}
	if info, err := os.Stat(filepath.Join(b.tree, "kept")); err != nil || !info.ModTime().Equal(old) {
		t.Errorf("the file that was left alone has the time %v, %v, and had %v", info.ModTime(), err, old)
	}
	if target, err := os.Readlink(filepath.Join(b.tree, "link")); err != nil || target != "kept" {
		t.Errorf("the link leads to %q, %v", target, err)
	}
	if result.Tests == nil || result.Tests.Total != 2 || result.Tests.Skipped != 1 || result.Status != pipeline.RunPassed || result.Attempts != 1 {
		t.Errorf("the result is %+v", result)
	}
	log := b.log.String()
	for _, want := range []string{`hello from it's "here"`, "line 0\n", "line 119\n", "unfinished\n"} {
		if strings.Count(log, want) != 1 {
			t.Errorf("the log has %q %d times:\n%s", want, strings.Count(log, want), log)
		}
	}
	if lines := strings.Count(log, "\n"); lines != 2+1+120+1 || strings.Contains(log, "[Container]") {
		t.Errorf("the log has %d lines:\n%s", lines, log)
	}
	b.wantNothing()
}

// A report of the repository counts if the command wrote it, also with the content that it
// had, and not if the command left it alone.
func TestReportOfTheRepository(t *testing.T) {
	t.Parallel()
	const report = `<testsuite><testcase name="a"/></testsuite>`
	for command, says := range map[string]string{
		"true":                              "did not write it",
		"mv r1.xml r2.xml":                  "",
		"cat r1.xml > r2.xml":               "",
		"cp r1.xml copy; cat copy > r1.xml": "",
		"mkfifo r3.xml":                     "pipe",
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			b.write("r1.xml", report)
			r := b.request(command)
			r.Step.Report = "r*.xml"
			result, err := b.runner.Run(t.Context(), r)
			if says == "" && (err != nil || result.Tests == nil || result.Tests.Total != 1) || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
				t.Errorf("the error is %v, want %q; tests: %+v", err, says, result.Tests)
			}
			b.wantNothing()
		})
	}
}

// The same step has the same result, error and log in CodeBuild as on this machine.
func TestSameAsLocal(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]string{
		"success": "echo fine", "failure": "echo oops >&2; exit 3", "an unknown command": "nosuchcommand 2>/dev/null",
		"a failure within": "echo one; false; echo two", "a status of 124": "exit 124",
		"a file for all that": "echo out > out; exit 1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			there, errThere := b.runner.Run(t.Context(), b.request(command))
			logThere, filesThere := timeless(b.log.String()), b.files()
			b.must(os.RemoveAll(b.tree))
			b.must(os.Mkdir(b.tree, 0o755))
			b.log = &syncBuffer{}
			r := b.request(command)
			r.Runner = pipeline.RunnerLocal
			here, errHere := b.runner.Run(t.Context(), r)
			if fmt.Sprint(errThere) != fmt.Sprint(errHere) || pipeline.CodeOf(errThere) != pipeline.CodeOf(errHere) || reason.Hint(errThere) != reason.Hint(errHere) {
				t.Errorf("in CodeBuild the error is %v (%s), here %v (%s)", errThere, reason.Hint(errThere), errHere, reason.Hint(errHere))
			}
			if there.ExitCode != here.ExitCode || there.Status != here.Status || there.Error != here.Error {
				t.Errorf("in CodeBuild the result is %+v, here %+v", there, here)
			}
			if logHere := timeless(b.log.String()); logThere != logHere || !slices.Equal(filesThere, b.files()) {
				t.Errorf("in CodeBuild the log is\n%s\nhere\n%s\nfiles %v and %v", logThere, logHere, filesThere, b.files())
			}
			b.wantNothing()
		})
	}
}

var times = regexp.MustCompile(`(?m)^\S+Z | in [0-9.]+[a-zµ]+`)

// timeless returns a log without what differs from one run to the next.
func timeless(log string) string { return times.ReplaceAllString(log, "") }

// A command is ended at its time-out, with all that it started, and what it left is here.
func TestTimeout(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.cloud.SetPace(cloudtest.Pace{Build: 1200 * time.Millisecond}) // no part of the time-out
	r := b.request("echo begun > begun; sleep 300 & sleep 300")
	r.Step.Timeout = time.Second
	_, err := b.runner.Run(t.Context(), r)
	b.wantError(err, pipeline.CodeFailed, "timed out after 1s", "set its timeout")
	if b.read("begun") != "begun\n" {
		t.Error("what the command left is not here")
	}
	b.wantNothing()
}

// A cancelled step stops its build, whenever it is cancelled.
func TestCancel(t *testing.T) {
	t.Parallel()
	for name, when := range map[string]func(b *bed) bool{
		"before it has a machine":  func(b *bed) bool { return b.cloud.Count()["StartBuild"] == 1 },
		"while its command runs":   func(b *bed) bool { return strings.Contains(b.log.String(), "Z begun") },
		"while its tree is packed": func(b *bed) bool { return b.cloud.Count()["PUT"] > 1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			pace := cloudtest.Pace{}
			if strings.HasPrefix(name, "before") {
				pace.Build = time.Hour
			}
			b.cloud.SetPace(pace)
			b.cloud.ResetCalls()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				for !when(b) && ctx.Err() == nil {
					time.Sleep(5 * time.Millisecond)
				}
				cancel()
			}()
			result, err := b.runner.Run(ctx, b.request("echo begun; sleep 300"))
			b.wantError(err, pipeline.CodeCancelled)
			if result.Status != pipeline.RunCancelled {
				t.Errorf("the result is %+v", result)
			}
			b.waitForStopped()
			b.wantNothing()
		})
	}
}

// waitForStopped waits until builds that were stopped have ended.
func (b *bed) waitForStopped() {
	b.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if !slices.Contains(slices.Collect(maps.Values(b.cloud.Builds())), "IN_PROGRESS") {
			return
		}
	}
}

// What a step left comes back by the build's own role where the session that signed the
// URL for it has ended.
func TestSessionEnds(t *testing.T) {
	b := newBed(t)
	dir := t.TempDir()
	program, err := os.Executable()
	b.must(err)
	cli := "#!/bin/sh\n"
	for _, v := range b.cloud.EnvironAs(cloudtest.Step) {
		cli += "export " + v + "\n"
	}
	b.must(os.WriteFile(filepath.Join(dir, "aws"), []byte(cli+`exec "`+program+`" copy "$@"`+"\n"), 0o755))
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	b.cloud.Fail(cloudtest.Fault{Service: "s3", Action: "PutObject", Nth: 3, Code: "ExpiredToken"}) // after tree and job
	_, err = b.runner.Run(t.Context(), b.request("echo made > made"))
	b.must(err)
	if got := b.read("made"); got != "made\n" {
		t.Errorf("the step left %q", got)
	}
	if !strings.Contains(b.cloud.BuildLogs(), "curl") {
		t.Errorf("the URL was valid, so this shows nothing:\n%s", b.cloud.BuildLogs())
	}
	b.wantNothing()
}

// A secret reaches the command, and nothing that anybody can look at: neither what
// the build was asked for, nor its log at AWS, nor the log of the run.
func TestSecrets(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const secret, lines = `p4$$'w"o.r*d[1]/&`, "first line\nsecond line"
	r := b.request(`test "${#PASSWORD}" = 17 && printf %s "$KEY" | grep -c line > counted; echo "it is $PASSWORD."; echo "$KEY"; env | grep -c JOB || true; tr '\0' ' ' < /proc/$PPID/environ`)
	r.Secrets = pipeline.Secrets{"PASSWORD": secret, "KEY": lines}
	_, err := b.runner.Run(t.Context(), r)
	b.must(err)
	if b.read("counted") != "2\n" {
		t.Error("the command did not get the secret")
	}
	client := sdk.NewFromConfig(b.cloud.Own())
	out, err := client.BatchGetBuilds(t.Context(), &sdk.BatchGetBuildsInput{Ids: slices.Collect(maps.Keys(b.cloud.Builds()))})
	b.must(err)
	build, err := json.Marshal(out.Builds)
	b.must(err)
	if len(out.Builds) != 1 || !strings.Contains(b.cloud.BuildLogs(), "it is ***.") || !strings.Contains(b.log.String(), "it is ***.") {
		t.Errorf("the log is\n%s\nin AWS\n%s", b.log, b.cloud.BuildLogs())
	}
	for where, text := range map[string]string{"build": string(build), "build's log": b.cloud.BuildLogs(), "run's log": b.log.String()} {
		for _, s := range []string{secret, "first line", "second line", "r*d[1]"} {
			if strings.Contains(text, s) {
				t.Errorf("the %s holds %q:\n%s", where, s, text)
			}
		}
	}
	if url := aws.ToString(out.Builds[0].Environment.EnvironmentVariables[0].Value); strings.Contains(b.cloud.BuildLogs(), "X-Amz-Signature") || !strings.Contains(url, "X-Amz-Signature") {
		t.Errorf("the URL of the job is in the log, or is %q", url)
	} else if resp, err := http.Get(url); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("the job can still be read: %v, %v", resp, err)
	}
	b.wantNothing()
}

// A job that another puts in place of the one that was sent is not run.
func TestForgedJob(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.cloud.Fail(cloudtest.Fault{Service: "codebuild", Action: "StartBuild", Do: func() {
		objects, err := b.store().ListObjectsV2(context.Background(), &s3.ListObjectsV2Input{Bucket: aws.String(b.bucket)})
		b.must(err)
		for _, o := range objects.Contents {
			if strings.HasSuffix(aws.ToString(o.Key), "/job") {
				_, err := b.store().PutObject(context.Background(), &s3.PutObjectInput{Bucket: aws.String(b.bucket), Key: o.Key, Body: strings.NewReader("echo the job is forged\n")})
				b.must(err)
			}
		}
	}})
	_, err := b.runner.Run(t.Context(), b.request("true"))
	b.wantError(err, pipeline.CodeFailed, "FAILED")
	if strings.Contains(b.cloud.BuildLogs(), "the job is forged\n") {
		t.Errorf("it was run:\n%s", b.cloud.BuildLogs())
	}
	b.wantNothing()
}

// An error in CodeBuild is reported with CodeBuild's reason.
func TestBuildFails(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		prepare func(b *bed)
		code    pipeline.Code
		says    []string
	}{
		"no machine": {
			func(b *bed) {
				b.cloud.SetProject(project, cloudtest.Project{Fault: "CLIENT_ERROR: no permission to pull the image"})
			}, pipeline.CodeFailed, []string{"ended FAULT", "PROVISIONING", "no permission to pull the image"},
		},
		"a lost job": {
			func(b *bed) {
				b.cloud.Fail(cloudtest.Fault{Service: "s3", Action: "GET", Code: "AccessDenied", Status: 403})
			}, pipeline.CodeFailed, []string{"ended FAILED", "COMMAND_EXECUTION_ERROR", "curl", "its project needs an image"},
		},
		"a tree that does not come back": {
			func(b *bed) {
				b.cloud.Fail(cloudtest.Fault{Service: "s3", Action: "PUT", Nth: 3, Code: "ExpiredToken", Status: 403})
			}, pipeline.CodeFailed, []string{"could not be sent back", "session"},
		},
		"the account's limit": {
			func(b *bed) {
				b.cloud.Fail(cloudtest.Fault{Action: "StartBuild", Code: "AccountLimitExceededException", Message: "Cannot have more than 1 builds in queue for the account"})
			}, pipeline.CodeFailed, []string{"Cannot have more than 1 builds", "higher quota"},
		},
		"a lost build": {
			func(b *bed) { b.cloud.SetProject(project, cloudtest.Project{Lost: true}) }, pipeline.CodeFailed, []string{"is gone", "Somebody deleted it"},
		},
		"a project that is gone": {
			func(b *bed) { b.runner = b.with(b.cloud.Own(), "other") }, pipeline.CodeInvalid, []string{`no CodeBuild project "other"`, "penstock bootstrap ci"},
		},
		"no project": {
			func(b *bed) { b.runner = b.with(b.cloud.Config(), "") }, pipeline.CodeInvalid, []string{`stack "penstock" has no CodeBuild project`, "penstock bootstrap ci"},
		},
		"a build that takes too long": {
			func(b *bed) { b.cloud.SetPace(cloudtest.Pace{Build: time.Hour, Minute: 10 * time.Millisecond}) },
			pipeline.CodeFailed, []string{"ended TIMED_OUT", "PROVISIONING", "waited longer than 30m"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			b.write("kept", "kept")
			tt.prepare(b)
			_, err := b.runner.Run(t.Context(), b.request("rm kept"))
			b.wantError(err, tt.code, tt.says...)
			if b.read("kept") != "kept" {
				t.Error("the tree was changed")
			}
			b.cloud.Mend()
			b.waitForStopped()
			b.wantNothing()
		})
	}
}

// A build that somebody stopped is an error that says so.
func TestStoppedByAnother(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	go func() {
		for !strings.Contains(b.log.String(), "Z begun") && t.Context().Err() == nil {
			time.Sleep(5 * time.Millisecond)
		}
		for id := range b.cloud.Builds() {
			_, _ = sdk.NewFromConfig(b.cloud.Own()).StopBuild(t.Context(), &sdk.StopBuildInput{Id: aws.String(id)})
		}
	}()
	_, err := b.runner.Run(t.Context(), b.request("echo begun; sleep 300"))
	b.wantError(err, pipeline.CodeFailed, "ended STOPPED", "Somebody stopped the build")
	b.wantNothing()
}

// Whichever request fails, or loses its answer: the step fails or passes, nothing is
// left, and the next passes.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]cloudtest.Fault{
		"the request fails":      {Code: "InternalFailure"},
		"the request is refused": {Code: "ThrottlingException"},
		"the answer is lost":     {Code: "InternalFailure", After: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			config := b.cloud.Config()
			config.RetryMaxAttempts = 1
			b.runner = b.with(config, project)
			failures := 0
			for k := 1; ; k++ {
				b.write("counter", "0")
				f := fault
				f.Nth = k
				b.cloud.ResetCalls()
				b.cloud.Fail(f)
				r := b.request(`echo 1 > counter; echo done`)
				r.Run = fmt.Sprintf("r-%d-a", k)
				_, err := b.runner.Run(t.Context(), r)
				calls := len(b.cloud.Calls())
				b.cloud.Mend()
				if err == nil && calls < k {
					break
				}
				if err != nil {
					failures++
				} else if b.read("counter") != "1\n" {
					t.Errorf("request %d fails: the step passes, and its work is not here", k)
				}
				b.waitForStopped()
				for _, status := range b.cloud.Builds() {
					if status == "IN_PROGRESS" && name != "the answer is lost" {
						t.Errorf("request %d fails: a build runs on", k)
					}
				}
				r.Run = fmt.Sprintf("r-%d-b", k)
				if _, err := b.runner.Run(t.Context(), r); err != nil || b.read("counter") != "1\n" {
					t.Fatalf("request %d fails: then %v\n%s", k, err, b.log)
				}
			}
			if failures == 0 {
				t.Error("no request failed")
			}
			b.waitForStopped()
			b.cleanTransfers()
			b.wantNothing()
		})
	}
}

// cleanTransfers removes what a failed request to remove it left: the bucket's life
// cycle does.
func (b *bed) cleanTransfers() {
	b.Helper()
	objects, err := b.store().ListObjectsV2(b.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(b.bucket)})
	b.must(err)
	if n := len(objects.Contents); n > 8 {
		b.Errorf("%d objects are left", n)
	}
	for _, o := range objects.Contents {
		_, err := b.store().DeleteObject(b.Context(), &s3.DeleteObjectInput{Bucket: aws.String(b.bucket), Key: o.Key})
		b.must(err)
	}
}

// With the SDK's own repetitions, throttling is not noticed.
func TestThrottled(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.cloud.Fail(
		cloudtest.Fault{Action: "StartBuild", Code: "ThrottlingException"}, cloudtest.Fault{Action: "BatchGetBuilds", Code: "ThrottlingException", Times: 2},
		cloudtest.Fault{Action: "GetLogEvents", Code: "ThrottlingException"}, cloudtest.Fault{Action: "StartBuild", Code: "InternalFailure", Status: 500, After: true},
	)
	_, err := b.runner.Run(t.Context(), b.request("echo fine"))
	b.must(err)
	if n := len(b.cloud.Builds()); n != 1 || b.cloud.Count()["StartBuild"] < 3 {
		t.Errorf("%d builds after %v", n, b.cloud.Count())
	}
}

// Two steps at once have a build each, and neither sees the other's.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	var group sync.WaitGroup
	for _, name := range []string{"one", "two"} {
		group.Go(func() {
			r, log := b.request("echo $NAME > name; echo $NAME says so"), &syncBuffer{}
			r.Run, r.Log, r.Checkout, r.Step.Env = "r-"+name, log, filepath.Join(filepath.Dir(b.tree), name), map[string]string{"NAME": name}
			if err := os.Mkdir(r.Checkout, 0o755); err != nil {
				t.Error(err)
			}
			_, err := b.runner.Run(t.Context(), r)
			text, _ := os.ReadFile(filepath.Join(r.Checkout, "name"))
			if err != nil || string(text) != name+"\n" || strings.Count(log.String(), " says so") != 1+1 { // the header says it, too
				t.Errorf("%s: %v, %q\n%s", name, err, text, log)
			}
		})
	}
	group.Wait()
	b.wantNothing()
}

// A load that three builds share comes out as one: every request is made and counted
// once, at the rate that was asked for.
func TestLoad(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1)%10 == 0 {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer server.Close()
	r := b.request("")
	r.Endpoint = server.URL
	r.Step = pipeline.Step{Name: "peak", Load: &pipeline.Load{Rate: 100, Duration: 2 * time.Second, Path: "/", ErrorRate: 0.1, Machines: 3, P99: 10 * time.Second}}
	result, err := b.runner.Run(t.Context(), r)
	b.must(err)
	away := result.Load
	n := requests.Load() // a busy machine sends fewer than 200 in time
	if n == 0 || n > 200 || away.Requests != n || away.Errors != n/10 || away.Statuses["200"] != n-n/10 || away.Statuses["418"] != n/10 || len(b.cloud.Builds()) != 3 {
		t.Errorf("the report is %+v, of %d requests, from builds %v", away, n, b.cloud.Builds())
	}
	requests.Store(0)
	r.Runner = pipeline.RunnerLocal
	result, err = b.runner.Run(t.Context(), r)
	b.must(err)
	here := result.Load
	if !slices.Equal(away.Faults, here.Faults) || len(away.Statuses) != len(here.Statuses) || len(away.Histogram) != len(here.Histogram) {
		t.Errorf("three builds report %+v, this machine %+v", away, here)
	}
	if away.Duration > 3*here.Duration { // then they didn't begin together
		t.Errorf("three builds took %v, this machine %v", away.Duration, here.Duration)
	}
	b.wantNothing()
	b.cloud.ResetCalls()
	r.Runner, r.Run, r.Step.Load.ErrorRate, r.Step.Load.Machines, r.Step.Load.Duration = pipeline.RunnerCodeBuild, "r-2", 0, 2, 200*time.Millisecond
	_, err = b.runner.Run(t.Context(), r)
	b.wantError(err, pipeline.CodeFailed, "requests), allowed 0%", "418")
	if puts := b.cloud.Count()["PUT"]; puts != 2*3+1 { // tree, job and result of each, and the time; the program is there
		t.Errorf("%d objects were put: %v", puts, b.cloud.Count())
	}
}

// One of several builds that gets no machine ends the others.
func TestLoadFails(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	r := b.request("")
	r.Step = pipeline.Step{Name: "peak", Load: &pipeline.Load{Rate: 10, Duration: time.Second, URL: "http://127.0.0.1:1/", Machines: 2}}
	b.cloud.SetPace(cloudtest.Pace{Build: time.Hour})
	b.cloud.Fail(cloudtest.Fault{Action: "StartBuild", Nth: 2, Code: "AccountLimitExceededException", Message: "no more builds"})
	_, err := b.runner.Run(t.Context(), r)
	b.wantError(err, pipeline.CodeFailed, "no more builds")
	b.waitForStopped()
	b.wantNothing()
	b.cloud.SetPace(cloudtest.Pace{})
	b.cloud.SetProject(project, cloudtest.Project{Type: "WINDOWS_SERVER_2022_CONTAINER"})
	_, err = b.runner.Run(t.Context(), r)
	b.wantError(err, pipeline.CodeInvalid, "WINDOWS_SERVER_2022_CONTAINER")
	b.cloud.SetProject(project, cloudtest.Project{Type: "ARM_CONTAINER"})
	r.Run = "r-2"
	if _, err = b.runner.Run(t.Context(), r); arm != (pipeline.CodeOf(err) == pipeline.CodeFailed) {
		t.Errorf("a machine of another architecture: %v", err)
	} else if !arm {
		b.wantError(err, pipeline.CodeInvalid, "run programs for linux/arm64", "Run Terraform on linux/arm64")
	}
}

// What comes back is unpacked by the safe unpacker, and takes the directory's place
// whole or not at all.
func TestHostileTree(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.write("kept", "kept")
	// Beside the tree is what the job packs: an entry there that leads out is refused.
	_, err := b.runner.Run(t.Context(), b.request(`rm -r ../tree; mkfifo ../tree`))
	b.wantError(err, pipeline.CodeFailed, "device, a pipe", "only files")
	if b.read("kept") != "kept" {
		t.Error("the tree was changed")
	}
	b.wantNothing()
}
