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

	// deliveryLimit is how long SSM may try to hand a command to a registered agent; its own
	// limit is an hour. A machine that restarts needs minutes.
	deliveryLimit = 10 * time.Minute

	minDelivery = 30 * time.Second // that SSM takes

	// endLimit is how long after a command's own limits SSM may take to say how it ended.
	endLimit = 5 * time.Minute

	// outputLimit is how long after the end of a command its output may come to the bucket.
	outputLimit = 30 * time.Second

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
	hint := fmt.Sprintf("Correct %s. Its whole output is in the run's log.", c.What)
	if exit < 0 || exit == 137 || exit == 143 { // SIGKILL, SIGTERM
		hint = "Something killed it: the kernel for lack of memory, or a shutdown of the machine. " +
			fmt.Sprintf("Choose a larger instance_type; a command that restarts its machine ends with exit status %d.", RebootStatus)
	}
	return "", pipeline.Errorf(pipeline.CodeFailed, c.What, "%s failed on instance %s: exit status %d%s", c.What, id, exit, LastLines(output)).
		WithHint("%s", hint)
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
		if result.ResponseCode == lackStatus && strings.HasPrefix(output, lacks) {
			return 0, output, c.lacking(id, output)
		}
		if !undelivered[details(result)] {
			return int(result.ResponseCode), output, nil
		}
	}
	return 0, output, c.unfinished(id, result, output)
}

// lacking is the error of a command on an image without all that Penstock needs.
func (c Command) lacking(id, output string) error {
	missing := strings.Join(strings.Fields(strings.TrimPrefix(output, lacks)), ", ")
	return pipeline.Errorf(pipeline.CodeInvalid, c.What, "the image of instance %s lacks %s, which %s needs", id, missing, c.What).
		WithHint("Start from an image that has it. Penstock needs %s, and the SSM agent; the guide to AWS says what for, and which images have them.", strings.Join(Needs, ", "))
}

// details returns what SSM says of a command beside its status, without the blanks that its
// documentation has and its answers have not.
func details(of *ssm.GetCommandInvocationOutput) string {
	return strings.ReplaceAll(cmp.Or(aws.ToString(of.StatusDetails), string(of.Status)), " ", "")
}

// undelivered are the details of commands that did not reach their instance.
var undelivered = map[string]bool{"DeliveryTimedOut": true, "Undeliverable": true}

// unfinished returns the error of a command that did not run to its end.
func (c Command) unfinished(id string, result *ssm.GetCommandInvocationOutput, output string) error {
	failed := func(format string, args ...any) *pipeline.Error {
		return pipeline.Errorf(pipeline.CodeFailed, c.What, format, args...)
	}
	switch how := details(result); {
	case undelivered[how]:
		return c.unreached(id, how)
	case result.Status == types.CommandInvocationStatusTimedOut:
		return failed("%s did not end within %s on instance %s%s", c.What, c.Timeout, id, LastLines(output)).
			WithHint("Make it faster, or give it a longer timeout.")
	case result.Status == types.CommandInvocationStatusCancelled:
		return failed("%s was cancelled on instance %s, by a request to SSM that this run did not make", c.What, id).
			WithHint("CloudTrail has who called CancelCommand. Apply again.")
	default:
		return failed("%s on instance %s: SSM says %s%s", c.What, id, how, LastLines(output)).
			WithHint("The page \"Understanding command statuses\" of Systems Manager says what that means.")
	}
}

// unreached returns the error of a command that does not reach its instance.
func (c Command) unreached(id, how string) error {
	return pipeline.Errorf(pipeline.CodeFailed, c.What, "%s did not reach instance %s: SSM says %s", c.What, id, how).
		WithHint("Its agent registered, but no longer answers: the machine hangs, lacks memory or disk, or can no longer reach the SSM endpoints. " +
			"Look at its system log in the EC2 console, and apply again, on a larger instance_type if memory is short.")
}

// send sends the command. The wait for the agent is this call, repeated: that needs
// no further permission. SSM has no client tokens: the script itself runs but once.
func (i *Instances) send(ctx context.Context, id, script string, c Command) (sent string, err error) {
	in := &ssm.SendCommandInput{
		DocumentName:   aws.String("AWS-RunShellScript"),
		InstanceIds:    []string{id},
		TimeoutSeconds: aws.Int32(int32(max(i.scaled(deliveryLimit), minDelivery) / time.Second)),
		Comment:        aws.String(stack.Cut("penstock: "+c.What, 100)),
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
			WithHint("The image needs the SSM agent, enabled, the role of the instance profile the stack's MachinePolicy, "+
				"and the subnet a way to the endpoints ssm, ssmmessages and ec2messages of region %s. The guide to AWS says what else an image needs.",
				i.stack.Config.Region)
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
	looks, giveUp := 0, time.Now().Add(max(i.scaled(deliveryLimit+time.Minute), minDelivery))
	err = i.stack.Wait(ctx, c.What+" on instance "+id, c.Timeout+deliveryLimit+endLimit, func(ctx context.Context) (poll.Probe, error) {
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
		if reached := out.Status == types.CommandInvocationStatusInProgress; !reached && time.Now().After(giveUp) {
			return poll.Probe{}, c.unreached(id, details(out))
		}
		watched.next(ctx)
		if looks++; looks%4 == 0 {
			if err := i.CheckAlive(ctx, id); err != nil {
				return poll.Probe{}, err
			}
		}
		return poll.Probe{State: string(out.Status)}, nil
	})
	if err != nil { // nobody follows it any more
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
		defer cancel()
		_, cancelled := i.ssm.CancelCommand(stop, &ssm.CancelCommandInput{CommandId: aws.String(sent), InstanceIds: []string{id}})
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			err = pipeline.Errorf(pipeline.CodeFailed, c.What, "%w; it was cancelled", err).
				WithHint("SSM does not say how it ended. Look at the instance's system log in the EC2 console, and at the command in Systems Manager; then apply again.")
		}
		err = errors.Join(err, cancelled)
	}
	return result, cloud.Fault(ctx, c.What, err)
}

// scaled returns a limit that shrinks with the pauses of tests.
func (i *Instances) scaled(limit time.Duration) time.Duration {
	return limit * i.stack.Pause / stack.DefaultPause
}

// outputPrefix is where SSM puts the output of commands in the bucket.
func outputPrefix(stage string) string { return "output/" + stack.Purpose(stage) }

// outputKey is where it puts that of a command.
func outputKey(stage, id, sent string) string {
	return path.Join(outputPrefix(stage), sent, id, "awsrunShellScript", "0.awsrunShellScript", "stdout")
}

// output returns the whole output of a command, and removes it from the bucket, where it comes
// a while after the status. What SSM puts there later, the bucket's life cycle removes.
func (i *Instances) output(ctx context.Context, key, inline string) (whole string, err error) {
	if inline == "" {
		return "", nil
	}
	defer i.Remove(ctx, File{key: key})
	if len(inline) < maxInline {
		return inline, nil
	}
	err = i.stack.Wait(ctx, "the output of a command", outputLimit, func(ctx context.Context) (poll.Probe, error) {
		out, err := i.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(i.stack.Settings.Bucket), Key: aws.String(key)})
		if cloud.IsNotFound(err) {
			return poll.Probe{State: "not there yet"}, nil
		}
		if err != nil {
			return poll.Probe{}, err
		}
		defer out.Body.Close()
		data, err := io.ReadAll(out.Body)
		whole = string(data)
		return poll.Probe{Done: err == nil}, err
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil { // the instance may not write there
		return inline + "\n(the rest of the output is missing in s3://" + i.stack.Settings.Bucket + "/" + key + ")", nil
	}
	return whole, cloud.Fault(ctx, "read output of command", err)
}
