// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package instance

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
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

const (
	// registerLimit is how long an instance may take from its launch until its agent
	// has registered: a slow boot, and a slow pull of the agent's updates.
	registerLimit = 10 * time.Minute

	// maxInline is the length of output that SSM returns with the status; output of that
	// length may have been cut.
	maxInline = 24000

	// cancelTimeout bounds the request that cancels a command.
	cancelTimeout = 20 * time.Second
)

// Command is a script to run on an instance.
type Command struct {
	What    string // for messages: "service.install"
	Stage   string // that runs the instance; empty for a self-service environment, whose files launchers may read, too
	Script  string
	Timeout time.Duration // 0 means pipeline.DefaultStepTimeout
	Secrets pipeline.Secrets
	Mask    []pipeline.Secret // of others, which its output may not show either
	Log     io.Writer         // nil discards
	Live    bool              // its output goes to the log while it runs, at the price of a request more for each look
}

func (c Command) redactor() *pipeline.Redactor {
	return pipeline.NewRedactor(slices.Concat(c.Secrets.Values(), c.Mask)...)
}

// Must runs a command and returns an error when it does not end well.
func (i *Instances) Must(ctx context.Context, id string, c Command) error {
	_, err := i.MustPrint(ctx, id, c)
	return err
}

// MustPrint runs a command as Must does, and returns its output.
func (i *Instances) MustPrint(ctx context.Context, id string, c Command) (string, error) {
	exit, output, err := i.Execute(ctx, id, c)
	if err != nil || exit == 0 {
		return output, err
	}
	return "", pipeline.Errorf(pipeline.CodeFailed, c.What, "%s failed on instance %s: exit status %d%s", c.What, id, exit, LastLines(output)).
		WithHint("Correct %s. Its whole output is in the run's log.", c.What)
}

// LastLines renders the end of what a command printed, for the text of an error.
func LastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if lines[0] == "" && len(lines) == 1 {
		return "; it printed nothing"
	}
	return "\nThe last lines of its output:\n  " + strings.Join(lines[max(0, len(lines)-12):], "\n  ")
}

// Execute runs a script through Run Command, writes its output to the log, where it is
// live as it comes, and returns its exit status and output. A cancelled context cancels
// the command. Secrets go by an object that is removed afterwards, as SSM keeps parameters
// of commands, and are masked on the instance, as SSM keeps the output, too.
func (i *Instances) Execute(ctx context.Context, id string, c Command) (exit int, output string, err error) {
	if c.Timeout <= 0 {
		c.Timeout = pipeline.DefaultStepTimeout
	}
	script, upload := c.Script, ""
	if len(c.redactor().Pieces()) > 0 || len(c.Secrets) > 0 {
		var remove func()
		if script, remove, err = i.hide(ctx, c); err != nil {
			return 0, "", err
		}
		defer remove()
	}
	printed := &live{log: io.Discard, mask: c.redactor()}
	if c.Log != nil {
		printed.log = c.Log
	}
	var watched *live
	if c.Live && c.Log != nil {
		if upload, watched, err = i.watchOutput(ctx, c); err != nil {
			return 0, "", err
		}
		printed = watched
		defer i.Remove(ctx, File{key: watched.key})
	}
	sent, err := i.send(ctx, id, onceScript(rand.Text(), script, upload), c)
	if err != nil {
		return 0, "", err
	}
	result, err := i.follow(ctx, id, sent, c, watched)
	if err != nil {
		return 0, "", err
	}
	output, err = i.output(ctx, outputKey(c.Stage, id, sent), aws.ToString(result.StandardOutputContent))
	if err != nil {
		return 0, "", err
	}
	printed.rest(output)
	output = runlog.Text(printed.mask, output)
	switch result.Status {
	case types.CommandInvocationStatusSuccess, types.CommandInvocationStatusFailed:
		return int(result.ResponseCode), output, nil
	case types.CommandInvocationStatusTimedOut:
		return 0, output, pipeline.Errorf(pipeline.CodeFailed, c.What, "%s did not end within %s on instance %s%s",
			c.What, c.Timeout, id, LastLines(output)).
			WithHint("Make it faster, or give it a longer timeout.")
	default:
		return 0, output, pipeline.Errorf(pipeline.CodeFailed, c.What, "%s on instance %s: SSM says %s", c.What, id,
			cmp.Or(aws.ToString(result.StatusDetails), string(result.Status)))
	}
}

// send sends the command. The wait for the agent is this call, repeated: that needs
// no further permission. SSM has no client tokens: the script itself runs but once.
func (i *Instances) send(ctx context.Context, id, script string, c Command) (sent string, err error) {
	in := &ssm.SendCommandInput{
		DocumentName: aws.String("AWS-RunShellScript"),
		InstanceIds:  []string{id},
		Comment:      aws.String(stack.Cut("penstock: "+c.What, 100)),
		Parameters: map[string][]string{
			"commands": strings.Split(script, "\n"), "executionTimeout": {fmt.Sprint(max(int(c.Timeout/time.Second), 1))},
		},
		OutputS3BucketName: aws.String(i.stack.Settings.Bucket),
		OutputS3KeyPrefix:  aws.String(outputPrefix(c.Stage)),
	}
	err = i.stack.Wait(ctx, "the agent of instance "+id, registerLimit, func(ctx context.Context) (poll.Probe, error) {
		out, err := i.ssm.SendCommand(ctx, in)
		if err == nil {
			sent = aws.ToString(out.Command.CommandId)
			return poll.Probe{Done: true}, nil
		}
		if !cloud.Is(err, "InvalidInstanceId") {
			return poll.Probe{}, err
		}
		return poll.Probe{State: "it has not registered with SSM"}, i.CheckAlive(ctx, id)
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return "", pipeline.Errorf(pipeline.CodeFailed, c.What, "%w", err).
			WithHint("The image needs the SSM agent, the role of the instance profile the stack's MachinePolicy, " +
				"and the subnet a way to the SSM endpoints.")
	}
	return sent, cloud.Fault(ctx, c.What, err)
}

// follow waits for the end of a command. An instance that ends meanwhile is an
// error, as SSM would report it only after a long time.
func (i *Instances) follow(ctx context.Context, id, sent string, c Command, watched *live) (result *ssm.GetCommandInvocationOutput, err error) {
	select { // no command has ended when it was just sent
	case <-ctx.Done():
	case <-time.After(i.stack.Pause / 2):
	}
	looks := 0
	err = i.stack.Wait(ctx, c.What+" on instance "+id, c.Timeout+5*time.Minute, func(ctx context.Context) (poll.Probe, error) {
		out, err := i.ssm.GetCommandInvocation(ctx, &ssm.GetCommandInvocationInput{CommandId: aws.String(sent), InstanceId: aws.String(id)})
		if cloud.Is(err, "InvocationDoesNotExist") { // it comes to exist a moment after the command
			return poll.Probe{State: "sent"}, nil
		}
		if err != nil {
			return poll.Probe{}, err
		}
		switch out.Status {
		case types.CommandInvocationStatusPending, types.CommandInvocationStatusInProgress,
			types.CommandInvocationStatusDelayed, types.CommandInvocationStatusCancelling:
		default:
			result = out
			return poll.Probe{Done: true}, nil
		}
		watched.next(ctx)
		if looks++; looks%4 == 0 {
			if err := i.CheckAlive(ctx, id); err != nil {
				return poll.Probe{}, err
			}
		}
		return poll.Probe{State: string(out.Status)}, nil
	})
	if err != nil && ctx.Err() != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
		defer cancel()
		_, cancelled := i.ssm.CancelCommand(stop, &ssm.CancelCommandInput{CommandId: aws.String(sent), InstanceIds: []string{id}})
		err = errors.Join(err, cancelled)
	}
	return result, cloud.Fault(ctx, c.What, err)
}

// outputPrefix is where SSM puts the output of commands in the bucket.
func outputPrefix(stage string) string { return "output/" + stack.Purpose(stage) }

// outputKey is where it puts that of a command.
func outputKey(stage, id, sent string) string {
	return path.Join(outputPrefix(stage), sent, id, "awsrunShellScript", "0.awsrunShellScript", "stdout")
}

// output returns the whole output of a command, and removes it from the bucket. What SSM
// puts there later, the bucket's life cycle removes.
func (i *Instances) output(ctx context.Context, key, inline string) (string, error) {
	if inline == "" {
		return "", nil
	}
	defer i.Remove(ctx, File{key: key})
	if len(inline) < maxInline {
		return inline, nil
	}
	out, err := i.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(i.stack.Settings.Bucket), Key: aws.String(key)})
	if cloud.IsNotFound(err) { // the instance may not write there
		return inline + "\n(the rest of the output is missing in s3://" + i.stack.Settings.Bucket + "/" + key + ")", nil
	}
	if err != nil {
		return "", cloud.Fault(ctx, "read output of command", err)
	}
	defer out.Body.Close()
	data, err := io.ReadAll(out.Body)
	return string(data), cloud.Fault(ctx, "read output of command", err)
}
