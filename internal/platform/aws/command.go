// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

const (
	// registerLimit is how long an instance may take from its launch until its agent
	// has registered: a slow boot, and a slow pull of the agent's updates.
	registerLimit = 10 * time.Minute

	// maxInline is the length of output that SSM gives with the status; what is as
	// long as that may have been cut.
	maxInline = 24000

	// cancelTimeout bounds the request that cancels a command.
	cancelTimeout = 20 * time.Second
)

// command is a script to run on an instance.
type command struct {
	what    string // for messages: "service.install"
	script  string
	timeout time.Duration
	secrets pipeline.Secrets
	mask    []pipeline.Secret // of others, which its output may not show either
	log     io.Writer
	live    bool // its output goes to the log while it runs, at the price of a request more for each look
}

func (c command) redactor() *pipeline.Redactor {
	return pipeline.NewRedactor(slices.Concat(c.secrets.Values(), c.mask)...)
}

// must runs a command and gives an error when it does not end well.
func (p *Platform) must(ctx context.Context, instance string, c command) error {
	_, err := p.mustPrint(ctx, instance, c)
	return err
}

// mustPrint runs a command as must does, and returns its output.
func (p *Platform) mustPrint(ctx context.Context, instance string, c command) (string, error) {
	exit, output, err := p.execute(ctx, instance, c)
	if err != nil || exit == 0 {
		return output, err
	}
	return "", pipeline.Errorf(pipeline.CodeFailed, c.what, "%s failed on instance %s: exit status %d%s", c.what, instance, exit, lastLines(output)).
		WithHint("Correct %s. Its whole output is in the run's log.", c.what)
}

func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if lines[0] == "" && len(lines) == 1 {
		return "; it printed nothing"
	}
	return "\nThe last lines of its output:\n  " + strings.Join(lines[max(0, len(lines)-12):], "\n  ")
}

// execute runs a script through Run Command, writes its output to the log, where it is
// live as it comes, and gives its exit status and output. A cancelled context cancels the command. Secrets go
// by an object that is removed afterwards: parameters of commands are kept by SSM.
func (p *Platform) execute(ctx context.Context, instance string, c command) (exit int, output string, err error) {
	if c.timeout <= 0 {
		c.timeout = pipeline.DefaultStepTimeout
	}
	script, telling := c.script, ""
	if len(c.secrets) > 0 {
		var remove func()
		if script, remove, err = p.hide(ctx, c); err != nil {
			return 0, "", err
		}
		defer remove()
	}
	told := &live{log: io.Discard, mask: c.redactor()}
	if c.log != nil {
		told.log = c.log
	}
	var watched *live
	if c.live && c.log != nil {
		if telling, watched, err = p.watchOutput(ctx, c); err != nil {
			return 0, "", err
		}
		told = watched
		defer p.remove(ctx, sent{key: watched.key})
	}
	id, err := p.send(ctx, instance, onceScript(rand.Text(), script, telling), c)
	if err != nil {
		return 0, "", err
	}
	result, err := p.follow(ctx, instance, id, c, watched)
	if err != nil {
		return 0, "", err
	}
	output, err = p.output(ctx, instance, id, aws.ToString(result.StandardOutputContent))
	if err != nil {
		return 0, "", err
	}
	told.rest(output)
	output = runlog.Text(told.mask, output)
	switch result.Status {
	case types.CommandInvocationStatusSuccess, types.CommandInvocationStatusFailed:
		return int(result.ResponseCode), output, nil
	case types.CommandInvocationStatusTimedOut:
		return 0, output, pipeline.Errorf(pipeline.CodeFailed, c.what, "%s did not end within %s on instance %s%s", c.what, c.timeout, instance, lastLines(output)).
			WithHint("Make it faster, or give it a longer timeout.")
	default:
		return 0, output, pipeline.Errorf(pipeline.CodeFailed, c.what, "%s on instance %s: SSM says %s", c.what, instance, cmp.Or(aws.ToString(result.StatusDetails), string(result.Status)))
	}
}

// send sends the command. The wait for the agent is this call, repeated: that needs
// no further permission. SSM has no client tokens: the script itself runs but once.
func (p *Platform) send(ctx context.Context, instance, script string, c command) (id string, err error) {
	in := &ssm.SendCommandInput{
		DocumentName: aws.String("AWS-RunShellScript"), InstanceIds: []string{instance}, Comment: aws.String(cut("penstock: "+c.what, 100)),
		Parameters:         map[string][]string{"commands": strings.Split(script, "\n"), "executionTimeout": {fmt.Sprint(max(int(c.timeout/time.Second), 1))}},
		OutputS3BucketName: aws.String(p.Settings.Bucket), OutputS3KeyPrefix: aws.String(outputPrefix),
	}
	err = p.wait(ctx, "the agent of instance "+instance, registerLimit, func(ctx context.Context) (poll.Probe, error) {
		out, err := p.ssm.SendCommand(ctx, in)
		if err == nil {
			id = aws.ToString(out.Command.CommandId)
			return poll.Probe{Done: true}, nil
		}
		if !cloud.Is(err, "InvalidInstanceId") {
			return poll.Probe{}, err
		}
		i, ok, listed := p.instances.Get(ctx, instance)
		if listed == nil && ok {
			listed = ended(i)
		}
		return poll.Probe{State: "it has not registered with SSM"}, listed
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return "", pipeline.Errorf(pipeline.CodeFailed, c.what, "%w", err).
			WithHint("The image needs the SSM agent, the instance profile %q the policy AmazonSSMManagedInstanceCore, and the subnet a way to the SSM endpoints.", p.Settings.InstanceProfile)
	}
	return id, cloud.Fault(ctx, c.what, err)
}

// follow waits for the end of a command. An instance that ends meanwhile is an
// error, as SSM would only tell after a long time.
func (p *Platform) follow(ctx context.Context, instance, id string, c command, watched *live) (result *ssm.GetCommandInvocationOutput, err error) {
	select { // no command has ended when it was just sent
	case <-ctx.Done():
	case <-time.After(p.Pause / 2):
	}
	looks := 0
	err = p.wait(ctx, c.what+" on instance "+instance, c.timeout+5*time.Minute, func(ctx context.Context) (poll.Probe, error) {
		out, err := p.ssm.GetCommandInvocation(ctx, &ssm.GetCommandInvocationInput{CommandId: aws.String(id), InstanceId: aws.String(instance)})
		if cloud.Is(err, "InvocationDoesNotExist") { // it comes to exist a moment after the command
			return poll.Probe{State: "sent"}, nil
		}
		if err != nil {
			return poll.Probe{}, err
		}
		switch out.Status {
		case types.CommandInvocationStatusPending, types.CommandInvocationStatusInProgress, types.CommandInvocationStatusDelayed, types.CommandInvocationStatusCancelling:
		default:
			result = out
			return poll.Probe{Done: true}, nil
		}
		watched.next(ctx)
		if looks++; looks%4 == 0 {
			if i, ok, err := p.instances.Get(ctx, instance); err != nil || ok && ended(i) != nil {
				return poll.Probe{}, errors.Join(err, ended(i))
			}
		}
		return poll.Probe{State: string(out.Status)}, nil
	})
	if err != nil && ctx.Err() != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
		defer cancel()
		_, cancelled := p.ssm.CancelCommand(stop, &ssm.CancelCommandInput{CommandId: aws.String(id), InstanceIds: []string{instance}})
		err = errors.Join(err, cancelled)
	}
	return result, cloud.Fault(ctx, c.what, err)
}

// outputPrefix is where SSM puts the output of commands in the bucket.
const outputPrefix = "output"

// output gives the whole output of a command.
func (p *Platform) output(ctx context.Context, instance, id, inline string) (string, error) {
	if len(inline) < maxInline {
		return inline, nil
	}
	key := path.Join(outputPrefix, id, instance, "awsrunShellScript", "0.awsrunShellScript", "stdout")
	out, err := p.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(p.Settings.Bucket), Key: aws.String(key)})
	if cloud.IsNotFound(err) { // the instance may not write there
		return inline + "\n(the rest of the output is missing in s3://" + p.Settings.Bucket + "/" + key + ")", nil
	}
	if err != nil {
		return "", cloud.Fault(ctx, "read output of command", err)
	}
	defer out.Body.Close()
	data, err := io.ReadAll(out.Body)
	return string(data), cloud.Fault(ctx, "read output of command", err)
}

func cut(s string, n int) string { return s[:min(len(s), n)] }
