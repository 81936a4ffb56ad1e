// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package codebuild

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/codebuild/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

const (
	// queueLimit is how long a build may wait for a machine, and the machine be made
	// ready: minutes when an account runs as many builds as it may, seconds else.
	queueLimit = 30 * time.Minute

	// queueLimitInside is how long where this program runs in a build itself: an account that
	// may run one build of a kind waits for ever, as the build that it runs is this one.
	queueLimitInside = 10 * time.Minute

	// overhead is what a build takes beside its command: for the way of large trees.
	overhead = 15 * time.Minute

	// maxBuild is the longest that CodeBuild lets a build take, minBuild the shortest
	// limit that it takes.
	maxBuild = 36 * time.Hour
	minBuild = 5 * time.Minute

	// maxTimeout is what of that a command can have.
	maxTimeout = maxBuild - overhead

	// lostLooks is how many looks in a row may not find a build: for a minute, it may
	// be unknown to an API that has just made it.
	lostLooks = int(time.Minute / DefaultPause)

	// drainLimit is how long the end of the output may take to arrive in the log when
	// the build has ended.
	drainLimit = 30 * time.Second
)

// build is a build of one command.
type build struct {
	types.Build        // as last seen
	id          string // of the build
	output      *output
}

// start starts the build. A repeated request for the same work, within five minutes,
// returns the existing build.
func (w *Worker) start(ctx context.Context, work pipeline.Work, t *transfer) (*build, error) {
	const op = "start build"
	job, err := w.urlOf(ctx, get, t.job(), t.life)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, cloud.Fault(ctx, op, err)
	}
	sum := sha256.Sum256([]byte(work.Token))
	asked, cancel := outliving(ctx) // a build that was started and is not known could not be stopped
	defer cancel()
	out, err := w.client.StartBuild(asked, &codebuild.StartBuildInput{
		ProjectName: aws.String(w.Project), IdempotencyToken: aws.String(hex.EncodeToString(sum[:])),
		BuildspecOverride: aws.String(buildspec), SourceTypeOverride: types.SourceTypeNoSource,
		ArtifactsOverride: &types.ProjectArtifacts{Type: types.ArtifactsTypeNoArtifacts},
		EnvironmentVariablesOverride: []types.EnvironmentVariable{
			{Name: aws.String(jobVariable), Value: aws.String(job), Type: types.EnvironmentVariableTypePlaintext},
			{Name: aws.String(digestVariable), Value: aws.String(t.digest), Type: types.EnvironmentVariableTypePlaintext},
		},
		TimeoutInMinutesOverride:       minutes(max(work.Timeout+overhead, minBuild)),
		QueuedTimeoutInMinutesOverride: minutes(queueTime()),
	})
	switch {
	case cloud.Is(err, "ResourceNotFoundException"):
		return nil, w.noProject(op)
	case err != nil:
		return nil, cloud.Fault(ctx, op, err)
	}
	return &build{Build: *out.Build, id: aws.ToString(out.Build.Id), output: &output{id: t.id, log: work.Log}}, nil
}

// inside reports whether this program runs in a build of CodeBuild.
func inside() bool { return os.Getenv("CODEBUILD_BUILD_ID") != "" }

func queueTime() time.Duration {
	if inside() {
		return queueLimitInside
	}
	return queueLimit
}

func minutes(d time.Duration) *int32 {
	return aws.Int32(int32((d + time.Minute - 1) / time.Minute))
}

// follow waits for the end of a build, and passes on what its command prints. A
// build that is not followed to its end is stopped.
func (w *Worker) follow(ctx context.Context, b *build, work pipeline.Work, g *gate) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, w.stop(ctx, b))
		}
	}()
	looking, cancel := context.WithTimeoutCause(ctx, queueLimit+work.Timeout+2*overhead, errOverdue)
	defer cancel()
	passed, missed := g == nil, 0
	err = poll.Until(looking, poll.Schedule{First: w.Pause, Share: pauseShare, What: "build " + b.id}, func(ctx context.Context) (poll.Probe, error) {
		now, ok, err := w.builds.Get(ctx, b.id)
		switch {
		case err != nil:
			return poll.Probe{}, err
		case !ok && missed >= lostLooks:
			return poll.Probe{}, pipeline.Errorf(pipeline.CodeFailed, "follow build", "build %s of CodeBuild is gone", b.id).
				WithHint("Somebody deleted it. Apply again.")
		case !ok:
			missed++
			return poll.Probe{State: "not known yet"}, nil
		}
		b.Build, missed = now, 0
		if err := w.read(ctx, b); err != nil {
			return poll.Probe{}, err
		}
		if !passed && b.isReady() {
			passed = true
			if err := w.pass(ctx, g); err != nil {
				return poll.Probe{}, err
			}
		}
		return poll.Probe{Done: now.BuildComplete, State: strings.ToLower(aws.ToString(now.CurrentPhase))}, nil
	})
	if context.Cause(looking) == errOverdue {
		return pipeline.Errorf(pipeline.CodeFailed, "follow build", "build %s did not end in time; its last phase was %s", b.id, aws.ToString(b.CurrentPhase))
	}
	if err == nil {
		err = w.drain(ctx, b)
	}
	return cloud.Fault(ctx, "follow build", err)
}

var errOverdue = errors.New("overdue")

// isReady reports whether the command could begin: the job says so in the log, if
// there is one.
func (b *build) isReady() bool {
	if b.logged() {
		return b.output.ready
	}
	return aws.ToString(b.CurrentPhase) == string(types.BuildPhaseTypeBuild)
}

// stop stops a build that is not followed any more.
func (w *Worker) stop(ctx context.Context, b *build) error {
	if b.BuildComplete {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
	defer cancel()
	_, err := w.client.StopBuild(ctx, &codebuild.StopBuildInput{Id: aws.String(b.id)})
	if err == nil || cloud.IsNotFound(err) {
		return nil
	}
	return cloud.Fault(ctx, "stop build "+b.id, err)
}

// fetchBuilds reads several builds in one request.
func (w *Worker) fetchBuilds(ctx context.Context, ids []string) (map[string]types.Build, error) {
	out, err := w.client.BatchGetBuilds(ctx, &codebuild.BatchGetBuildsInput{Ids: ids})
	if err != nil {
		return nil, cloud.Fault(ctx, "read builds", err)
	}
	found := map[string]types.Build{}
	for _, b := range out.Builds {
		found[aws.ToString(b.Id)] = b
	}
	return found, nil
}

// neverBegan reports whether the build waited for a machine until its time was over.
func (b *build) neverBegan() bool {
	return slices.ContainsFunc(b.Phases, func(p types.BuildPhase) bool {
		return p.PhaseType == types.BuildPhaseTypeQueued && p.PhaseStatus == types.StatusTypeTimedOut
	})
}

// queueHint says what lets more builds run at once. The quotas are one for each kind of machine.
func queueHint(environment *types.ProjectEnvironment) string {
	size := "…"
	if environment != nil {
		size = strings.ToLower(strings.TrimPrefix(string(environment.ComputeType), "BUILD_GENERAL1_"))
	}
	hint := fmt.Sprintf("The account may run no more builds of this kind at once; a new account may run one. Ask for more: in Service Quotas, AWS CodeBuild, \"Concurrently running builds for Linux/%s environment\".",
		strings.ToUpper(size[:1])+size[1:])
	if inside() {
		hint += " This apply is such a build itself, if its machine has the same size: the stack's parameters ApplyCompute and StepCompute give them different ones."
	}
	return hint
}

// failure says why a build that left no result has failed. The error is that of the
// look for the result.
func (b *build) failure(looked error) error {
	text := fmt.Sprintf("build %s ended %s", b.id, b.BuildStatus)
	for _, p := range b.Phases {
		if p.PhaseStatus == "" || p.PhaseStatus == types.StatusTypeSucceeded {
			continue
		}
		text += fmt.Sprintf("; phase %s ended %s", p.PhaseType, p.PhaseStatus)
		for _, c := range p.Contexts {
			if m := strings.TrimSpace(aws.ToString(c.Message)); m != "" {
				text += ": " + m
			}
		}
	}
	if !cloud.IsNotFound(looked) {
		text += fmt.Sprintf(" (%v)", looked)
	}
	if lines := b.output.around(); lines != "" {
		text += "\nCodeBuild's log says:\n" + lines
	}
	err := pipeline.Errorf(pipeline.CodeFailed, "run in CodeBuild", "%s", text)
	switch b.BuildStatus {
	case types.StatusTypeStopped:
		return err.WithHint("Somebody stopped the build. Apply again.")
	case types.StatusTypeTimedOut:
		if b.neverBegan() {
			return err.WithHint("%s", queueHint(b.Environment))
		}
		return err.WithHint("The build waited longer than %v for a machine, or its work tree took long to transfer. Apply again, or remove from the tree what no step needs.", queueLimit)
	default:
		return err.WithHint("Open the build in CodeBuild; its project needs an image with sh, curl, tar and the coreutils, and a route to S3.")
	}
}
