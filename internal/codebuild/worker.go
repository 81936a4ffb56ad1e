// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package codebuild runs commands in builds of AWS CodeBuild: it is the worker of
// stages with runner = "codebuild".
//
// What a build needs goes through the bucket, under transfer/steps/: the packed tree, and
// a job, which is a script with the command, its variables and its secrets. The
// build itself is given one URL, that of the job, with its digest, and the job is removed
// the moment it has been read: neither the build's visible environment nor its log holds
// anything of it. The build packs the tree again with the command's exit status and a seal,
// and from here it is unpacked in place of the directory. Output comes by CloudWatch Logs.
//
// The package decides nothing, and knows no steps: package step does.
//
//	w := codebuild.New(codebuild.Options{Config: cfg, Project: "penstock", Bucket: bucket, Pack: artifact.Pack, Unpack: unpack})
//	exits, err := w.Work(ctx, pipeline.Work{Token: "r-1/test/1", Tree: dir, Command: pipeline.Command{Line: "make test"}, Log: log})
package codebuild

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/codebuild/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

var _ pipeline.Worker = (*Worker)(nil)

// DefaultPause is the shortest pause between two looks at a build. With pauseShare of
// the time past it is known three seconds or a fiftieth of it after the end.
const (
	DefaultPause = 2500 * time.Millisecond
	pauseShare   = 0.0165
)

// Options configure a Worker.
type Options struct {
	Config  aws.Config
	Project string // of CodeBuild, that the bootstrap stack made; empty where it made none
	Stack   string // its name, for messages
	Bucket  string
	// Pack writes a directory as a gzipped tar.
	Pack func(ctx context.Context, dir string, w io.Writer) error
	// Unpack writes a gzipped tar to a directory that does not exist, and nowhere else. It
	// calls seen for each file, with the path and the time in the archive.
	Unpack func(ctx context.Context, r io.Reader, dir string, seen func(name string, modified time.Time)) error
	Logger hclog.Logger  // nil discards
	Pause  time.Duration // 0 means DefaultPause; tests shorten it
}

// Worker runs commands in builds of one project.
type Worker struct {
	Options
	client  *codebuild.Client
	logs    *cloudwatchlogs.Client
	s3      *s3.Client
	presign *s3.PresignClient
	builds  *cloud.Batcher[string, types.Build] // by ID
}

// New makes a Worker.
func New(o Options) *Worker {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Pause == 0 {
		o.Pause = DefaultPause
	}
	objects := s3.NewFromConfig(o.Config, cloud.Objects, func(s *s3.Options) {
		s.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired // a URL is signed before there is a body
	})
	w := &Worker{
		Options: o, client: codebuild.NewFromConfig(o.Config), logs: cloudwatchlogs.NewFromConfig(o.Config),
		s3: objects, presign: s3.NewPresignClient(objects),
	}
	w.builds = cloud.NewBatcher(w.fetchBuilds)
	return w
}

// Check implements pipeline.Worker.
func (w *Worker) Check() error {
	if w.Project != "" {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeInvalid, "find runner", "stack %q has no CodeBuild project", w.Stack).
		WithAdvice(pipeline.Advice{Verb: pipeline.VerbCreateRunners, Stack: w.Stack}, pipeline.Unset("runner"))
}

// systems says what programs an environment of CodeBuild runs.
var systems = map[types.EnvironmentType][2]string{
	types.EnvironmentTypeLinuxContainer:       {"linux", "amd64"},
	types.EnvironmentTypeLinuxGpuContainer:    {"linux", "amd64"},
	types.EnvironmentTypeLinuxEc2:             {"linux", "amd64"},
	types.EnvironmentTypeLinuxLambdaContainer: {"linux", "amd64"},
	types.EnvironmentTypeArmContainer:         {"linux", "arm64"},
	types.EnvironmentTypeArmEc2:               {"linux", "arm64"},
	types.EnvironmentTypeArmLambdaContainer:   {"linux", "arm64"},
}

// System implements pipeline.Worker.
func (w *Worker) System(ctx context.Context) (system, arch string, err error) {
	const op = "look at runner"
	if err := w.Check(); err != nil {
		return "", "", err
	}
	out, err := w.client.BatchGetProjects(ctx, &codebuild.BatchGetProjectsInput{Names: []string{w.Project}})
	if err != nil {
		return "", "", cloud.Fault(ctx, op, err)
	}
	if len(out.Projects) != 1 || out.Projects[0].Environment == nil {
		return "", "", w.noProject(op)
	}
	kind := out.Projects[0].Environment.Type
	known, ok := systems[kind]
	if !ok {
		return "", "", pipeline.Errorf(pipeline.CodeInvalid, op, "CodeBuild project %q has environments of type %s, but Penstock needs Linux", w.Project, kind)
	}
	return known[0], known[1], nil
}

func (w *Worker) noProject(op string) error {
	return pipeline.Errorf(pipeline.CodeInvalid, op, "there is no CodeBuild project %q", w.Project).
		WithAdvice(pipeline.Advice{Verb: pipeline.VerbCreateRunners, Stack: w.Stack})
}

// Work implements pipeline.Worker. The error of one command ends the others.
func (w *Worker) Work(ctx context.Context, works ...pipeline.Work) ([]int, error) {
	if err := w.Check(); err != nil {
		return nil, err
	}
	shared, err := w.share(ctx, works)
	if err != nil {
		return nil, err
	}
	var gate *gate
	if len(works) > 1 {
		gate = newGate(len(works))
		defer w.remove(ctx, gate.key)
	}
	exits := make([]int, len(works))
	group, grouped := errgroup.WithContext(ctx)
	for i, work := range works {
		group.Go(func() (err error) {
			exits[i], err = w.run(grouped, work, shared, gate)
			return err
		})
	}
	return exits, group.Wait()
}

// run runs one command from the packing of its tree to the unpacking.
func (w *Worker) run(ctx context.Context, work pipeline.Work, shared map[string]string, gate *gate) (exit int, err error) {
	if work.Timeout <= 0 {
		work.Timeout = pipeline.DefaultStepTimeout
	}
	if work.Timeout > maxTimeout {
		return 0, pipeline.Errorf(pipeline.CodeInvalid, "run in CodeBuild", "a timeout of %v is longer than a build can have", work.Timeout).
			WithHint("Set timeout to at most %v.", maxTimeout)
	}
	if err := checkNames(work); err != nil {
		return 0, err
	}
	t := newTransfer(work)
	defer w.remove(ctx, t.keys()...)
	if err := w.send(ctx, t, work, shared, gate); err != nil {
		return 0, err
	}
	b, err := w.start(ctx, work, t)
	if err != nil {
		return 0, err
	}
	if err := w.follow(ctx, b, work, gate); err != nil {
		return 0, err
	}
	status, err := w.fetch(ctx, t, work.Tree)
	switch {
	case err != nil && ctx.Err() == nil && b.BuildStatus != types.StatusTypeSucceeded:
		return 0, b.failure(err)
	case err != nil:
		return 0, err
	case status == timedOut:
		return 0, pipeline.ErrTimedOut
	}
	return exitOf(status)
}

// cleanUpTimeout bounds what is still done when a context has ended.
const cleanUpTimeout = 20 * time.Second

// outliving returns a context that ends some time after ctx: for requests whose answer
// must be known, as what they make has to be ended.
func outliving(ctx context.Context) (context.Context, context.CancelFunc) {
	long, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(cleanUpTimeout, cancel) })
	return long, func() { stop(); cancel() }
}

// remove removes objects. A failure leaves them to the bucket's life cycle.
func (w *Worker) remove(ctx context.Context, keys ...string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
	defer cancel()
	var failed error
	for _, key := range keys {
		_, err := w.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(w.Bucket), Key: aws.String(key)})
		failed = errors.Join(failed, err)
	}
	if failed != nil {
		w.Logger.Warn("remove transferred files", "keys", strings.Join(keys, " "), "error", failed)
	}
}
