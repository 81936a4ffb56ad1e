// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// The lengths to which AWS cuts what a command printed.
const (
	maxOutput      = 24000
	maxErrorOutput = 8000
)

// command is a command on one instance.
type command struct {
	id, instance string
	cancel       context.CancelFunc

	mu      sync.Mutex
	status  string
	details string // empty: as the status
	code    int
	ended   time.Time
	out     bytes.Buffer
	err     bytes.Buffer
}

type sendCommandInput struct {
	DocumentName       string
	InstanceIds        []string
	Parameters         map[string][]string
	OutputS3BucketName string
	OutputS3KeyPrefix  string
	TimeoutSeconds     int
}

// ssmAPI are the commands of Systems Manager on the instances of an account.
type ssmAPI struct{ *account }

// sendCommand runs the shell script on the instances.
func (a ssmAPI) sendCommand(r *request) answer {
	var in sendCommandInput
	if err := json.Unmarshal(r.body, &in); err != nil {
		return r.fail(http.StatusBadRequest, "SerializationException", err.Error())
	}
	if in.DocumentName != "AWS-RunShellScript" {
		return r.fail(http.StatusBadRequest, "InvalidDocument", "")
	}
	if len(in.Parameters["commands"]) == 0 {
		return r.fail(http.StatusBadRequest, "InvalidParameters", "commands is required")
	}
	for _, id := range in.InstanceIds {
		if i := a.instance(id); i == nil || !i.known() {
			return r.fail(http.StatusBadRequest, "InvalidInstanceId", "Instances not in a valid state for account")
		}
	}
	var raw [16]byte
	_, _ = rand.Read(raw[:])
	id := fmt.Sprintf("%x-%x-%x-%x-%x", raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:])
	for _, target := range in.InstanceIds {
		ctx, cancel := context.WithCancel(a.ctx)
		c := &command{id: id, instance: target, cancel: cancel, status: "Pending", code: -1}
		a.mu.Lock()
		a.commands[id+"/"+target] = c
		a.mu.Unlock()
		i := a.instance(target)
		i.active.Go(func() { a.execute(ctx, r, i, c, in) })
	}
	return reply(http.StatusOK, map[string]any{"Command": map[string]any{
		"CommandId": id, "DocumentName": in.DocumentName, "InstanceIds": in.InstanceIds, "Status": "Pending",
		"StatusDetails": "Pending", "TargetCount": len(in.InstanceIds), "RequestedDateTime": float64(time.Now().UnixMilli()) / 1000,
	}})
}

// execute runs a command in the instance's directory, and stores its output.
func (a ssmAPI) execute(ctx context.Context, r *request, i *instance, c *command, in sendCommandInput) {
	limit := time.Hour
	if t := in.Parameters["executionTimeout"]; len(t) == 1 {
		if n, err := strconv.Atoi(t[0]); err == nil {
			limit = time.Duration(n) * time.Second
		}
	}
	if most := a.cloud.paced().Command; most > 0 {
		limit = min(limit, most)
	}
	if !a.deliver(ctx, c, in) {
		return
	}
	timed, stop := context.WithTimeout(ctx, limit)
	defer stop()
	var out, errOut bytes.Buffer
	code := a.attend(timed, i, c, in, &out, &errOut)
	status, details := "Failed", ""
	switch {
	case code == 0:
		status = "Success"
	case ctx.Err() != nil:
		status = "Cancelled"
	case timed.Err() != nil:
		status, details = "TimedOut", "ExecutionTimedOut"
	}
	late := a.cloud.paced().Output
	if late == 0 {
		a.store(r, c, in, &out, &errOut)
	}
	c.mu.Lock()
	if i.answers() { // else nothing reports how it ended
		c.status, c.details, c.code, c.out, c.err, c.ended = status, details, code, out, errOut, time.Now()
	}
	c.mu.Unlock()
	if late > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(late):
			a.store(r, c, in, bytes.NewBuffer(out.Bytes()), bytes.NewBuffer(errOut.Bytes()))
		}
	}
}

// store puts what a command printed into the bucket that its sender names.
func (a ssmAPI) store(r *request, c *command, in sendCommandInput, out, errOut *bytes.Buffer) {
	if in.OutputS3BucketName != "" {
		prefix := path.Join(in.OutputS3KeyPrefix, c.id, c.instance, "awsrunShellScript", "0.awsrunShellScript")
		for name, text := range map[string]*bytes.Buffer{"stdout": out, "stderr": errOut} {
			if text.Len() > 0 {
				a.putObject(r, in.OutputS3BucketName, path.Join(prefix, name), text.Bytes())
			}
		}
	}
}

// The ways in which commands don't reach an instance.
const (
	Undeliverable    = "Undeliverable"    // SSM gives up at once
	DeliveryTimedOut = "DeliveryTimedOut" // SSM gives up when the time for it has passed
	Delayed          = "Delayed"          // SSM tries on, until it is cancelled
)

// SetDelivery makes commands from now on not reach their instance, in one of those ways;
// empty lets them.
func (c *Cloud) SetDelivery(how string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delivery = how
}

// deliver reports whether a command reaches its instance.
func (a ssmAPI) deliver(ctx context.Context, c *command, in sendCommandInput) bool {
	a.cloud.mu.Lock()
	how := a.cloud.delivery
	a.cloud.mu.Unlock()
	end := func(status, details string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.status, c.details, c.ended = status, details, time.Now()
	}
	switch how {
	case Undeliverable:
		end("Failed", how)
	case DeliveryTimedOut:
		seconds := in.TimeoutSeconds
		if seconds == 0 {
			seconds = 3600
		}
		select {
		case <-ctx.Done():
			end("Cancelled", "")
		case <-time.After(time.Duration(seconds) * a.cloud.minute() / 60):
			end("TimedOut", how)
		}
	case Delayed:
		end(Delayed, "")
		<-ctx.Done()
		end("Cancelled", "")
	}
	return how == ""
}

const (
	// rebootCode is the exit status by which a command asks the agent to restart the machine,
	// and to run the command once more then.
	rebootCode = 194

	// mostRuns is how often the agent runs a command on a machine that restarts.
	mostRuns = 15
)

// attend is the agent: it runs a command, and runs it again after a restart that the command
// asked for, or that came while it ran.
func (a ssmAPI) attend(ctx context.Context, i *instance, c *command, in sendCommandInput, out, errOut *bytes.Buffer) (code int) {
	for range mostRuns {
		for !i.answers() { // what is sent to a machine that restarts waits for its agent
			select {
			case <-ctx.Done():
				return -1
			case <-time.After(5 * time.Millisecond):
			}
		}
		out.Reset() // of a command that is run again only the last output is shown
		errOut.Reset()
		c.mu.Lock()
		c.status = "InProgress"
		c.mu.Unlock()
		code, down := a.runOnce(ctx, i, c, in, out, errOut)
		switch {
		case ctx.Err() != nil:
			return -1
		case down:
		case code == rebootCode:
			i.restart()
		default:
			return code
		}
	}
	return -1
}

// runOnce runs a command in the instance's directory. The agent and its worker talk through
// files: without them nothing reports how the command ended.
func (a ssmAPI) runOnce(ctx context.Context, i *instance, c *command, in sendCommandInput, out, errOut *bytes.Buffer) (code int, down bool) {
	script := filepath.Join(i.root, ".bin", "command-"+c.id)
	channel := filepath.Join(i.root, "var/lib/amazon/ssm", i.id, "channels", c.id)
	if err := os.MkdirAll(channel, 0o700); err != nil {
		a.cloud.logf("make the channel of a command: %v", err)
	}
	code = -1
	if err := os.WriteFile(script, []byte(strings.Join(in.Parameters["commands"], "\n")+"\n"), 0o700); err == nil {
		code, down = i.spawn(ctx, process.Spec{Args: []string{"/bin/sh", script}, Dir: i.root, Env: i.environ(), Stdout: out, Stderr: errOut, Grace: time.Second})
		_ = os.Remove(script)
	}
	if !down && os.Remove(channel) != nil {
		errOut.WriteString("the command removed the channel of the agent")
		return -1, false
	}
	return code, down
}

// CommandEnded returns the time at which the last command of an instance ended.
func (c *Cloud) CommandEnded(instance string) (last time.Time) {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, one := range a.commands {
		one.mu.Lock()
		if one.instance == instance && one.ended.After(last) {
			last = one.ended
		}
		one.mu.Unlock()
	}
	return last
}

// interrupt ends the commands of an instance that goes down.
func (a *account) interrupt(instance string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.commands {
		if c.instance == instance {
			c.cancel()
		}
	}
}

// putObject stores an object as the instance's agent would.
func (a ssmAPI) putObject(r *request, bucket, key string, data []byte) {
	req, err := http.NewRequest(http.MethodPut, a.server.moto.String()+"/"+bucket+"/"+key, bytes.NewReader(data))
	if err != nil {
		a.cloud.logf("put %s: %v", key, err)
		return
	}
	req.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/ssm/", "/s3/", 1))
	req.Header.Set("x-moto-account-id", a.cloud.ID)
	if _, refused := a.judge(&request{Request: req, service: "s3", region: r.region, action: http.MethodPut, account: a.account, role: Instance}); refused != nil {
		a.cloud.logf("put %s: %s", key, refused.body) // the agent tells nobody
		return
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		a.cloud.logf("put %s: %v", key, err)
		return
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		a.cloud.logf("put %s: %s", key, resp.Status)
	}
}

func (a ssmAPI) getCommandInvocation(r *request) answer {
	var in struct{ CommandId, InstanceId string }
	if err := json.Unmarshal(r.body, &in); err != nil {
		return r.fail(http.StatusBadRequest, "SerializationException", err.Error())
	}
	a.mu.Lock()
	c := a.commands[in.CommandId+"/"+in.InstanceId]
	a.mu.Unlock()
	if c == nil {
		return r.fail(http.StatusBadRequest, "InvocationDoesNotExist", "")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return reply(http.StatusOK, map[string]any{
		"CommandId": c.id, "InstanceId": c.instance, "Status": c.status, "StatusDetails": cmp.Or(c.details, c.status), "ResponseCode": c.code,
		"StandardOutputContent": cut(c.out.String(), maxOutput), "StandardErrorContent": cut(c.err.String(), maxErrorOutput),
	})
}

func cut(s string, n int) string { return s[:min(n, len(s))] }

func (a ssmAPI) cancelCommand(r *request) answer {
	var in struct{ CommandId string }
	if err := json.Unmarshal(r.body, &in); err != nil {
		return r.fail(http.StatusBadRequest, "SerializationException", err.Error())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.commands {
		if c.id == in.CommandId {
			c.cancel()
		}
	}
	return reply(http.StatusOK, map[string]any{})
}

func (a ssmAPI) describeInstanceInformation(*request) answer {
	list := []map[string]any{}
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, i := range a.instances {
		if i.answers() {
			list = append(list, map[string]any{"InstanceId": id, "PingStatus": "Online", "PlatformType": "Linux"})
		}
	}
	return reply(http.StatusOK, map[string]any{"InstanceInformationList": list})
}
