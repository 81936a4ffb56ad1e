// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"bytes"
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

	mu     sync.Mutex
	status string
	code   int
	ended  time.Time
	out    bytes.Buffer
	err    bytes.Buffer
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
		if i := a.instance(id); i == nil || !i.answers() {
			return r.fail(http.StatusBadRequest, "InvalidInstanceId", "Instances not in a valid state for account")
		}
	}
	var raw [16]byte
	_, _ = rand.Read(raw[:])
	id := fmt.Sprintf("%x-%x-%x-%x-%x", raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:])
	for _, target := range in.InstanceIds {
		ctx, cancel := context.WithCancel(a.ctx)
		c := &command{id: id, instance: target, cancel: cancel, status: "InProgress", code: -1}
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
	timed, stop := context.WithTimeout(ctx, limit)
	defer stop()
	script := filepath.Join(i.root, ".bin", "command-"+c.id)
	// The agent and its worker talk through files. Without them nothing reports how the
	// command ended.
	channel := filepath.Join(i.root, "var/lib/amazon/ssm", i.id, "channels", c.id)
	if err := os.MkdirAll(channel, 0o700); err != nil {
		a.cloud.logf("make the channel of a command: %v", err)
	}
	status, code := "Failed", -1
	var out, errOut bytes.Buffer
	if err := os.WriteFile(script, []byte(strings.Join(in.Parameters["commands"], "\n")+"\n"), 0o700); err == nil {
		p, err := process.Start(timed, process.Spec{Args: []string{"/bin/sh", script}, Dir: i.root, Env: i.environ(), Stdout: &out, Stderr: &errOut, Grace: time.Second})
		if err == nil {
			exit, _ := p.Wait()
			code = exit.Code
		}
		_ = os.Remove(script)
	}
	if os.Remove(channel) != nil {
		code = -1
		errOut.WriteString("the command removed the channel of the agent")
	}
	switch {
	case code == 0:
		status = "Success"
	case ctx.Err() != nil:
		status = "Cancelled"
	case timed.Err() != nil:
		status = "TimedOut"
	}
	if in.OutputS3BucketName != "" {
		prefix := path.Join(in.OutputS3KeyPrefix, c.id, c.instance, "awsrunShellScript", "0.awsrunShellScript")
		for name, text := range map[string]*bytes.Buffer{"stdout": &out, "stderr": &errOut} {
			if text.Len() > 0 {
				a.putObject(r, in.OutputS3BucketName, path.Join(prefix, name), text.Bytes())
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if i.answers() { // else nothing reports how it ended
		c.status, c.code, c.out, c.err, c.ended = status, code, out, errOut, time.Now()
	}
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
		"CommandId": c.id, "InstanceId": c.instance, "Status": c.status, "StatusDetails": c.status, "ResponseCode": c.code,
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
