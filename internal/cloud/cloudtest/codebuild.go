// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// Project is a project of CodeBuild. Its builds run on this machine.
type Project struct {
	Type  string // of its environments; empty means that of this machine
	Size  string // of its machines, as in "BUILD_GENERAL1_LARGE"; empty means a small one
	Fault string // why no build gets a machine; empty: each does
	Lost  bool   // builds are stopped and forgotten when they have started, as if somebody deleted them

	Spec      string            // what builds do that bring nothing to do; empty: there are none
	Variables map[string]string // of its builds
}

// logGroup returns the log group of a project: that of the stack, whose projects share one.
func logGroup(project string) string {
	return "/aws/codebuild/" + strings.TrimSuffix(strings.TrimSuffix(project, "-runner"), "-apply")
}

// SetProject makes a project of CodeBuild, or changes it.
func (c *Cloud) SetProject(name string, p Project) {
	if p.Type == "" {
		p.Type = map[string]string{"amd64": "LINUX_CONTAINER", "arm64": "ARM_CONTAINER"}[runtime.GOARCH]
	}
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.projects[name] = p
}

// Builds returns the statuses of all builds by ID.
func (c *Cloud) Builds() map[string]string {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	all := map[string]string{}
	for id, b := range a.builds {
		all[id], _ = b.describe()["buildStatus"].(string)
	}
	return all
}

// BuildLogs returns all that builds have printed.
func (c *Cloud) BuildLogs() string {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	var all strings.Builder
	for _, b := range a.builds {
		for _, e := range b.events() {
			all.WriteString(e.Message)
		}
	}
	return all.String()
}

// started is a build as it was asked for.
type started struct{ build, digest string }

// build is a build of a project.
type build struct {
	id, project string
	in          startBuildInput
	fault       string
	lost        bool
	ready       time.Time // from when on it has its machine
	cancel      context.CancelFunc
	done        chan struct{}

	mu      sync.Mutex
	status  string
	phases  []phase
	printed []event
	partial string
}

// phase is a phase of a build. The last one that is not complete is under way.
type phase struct {
	name, status, message string
	began, ended          time.Time
}

type event struct {
	Timestamp int64  `json:"timestamp"`
	Message   string `json:"message"`
}

type startBuildInput struct {
	ProjectName                  string
	IdempotencyToken             string
	BuildspecOverride            string
	SourceTypeOverride           string
	EnvironmentVariablesOverride []struct{ Name, Value, Type string }
	TimeoutInMinutesOverride     int

	variables map[string]string // of the project
}

// codeBuildAPI is CodeBuild of an account, which runs its builds on this machine.
type codeBuildAPI struct{ *account }

func (a codeBuildAPI) batchGetProjects(r *request) answer {
	var in struct{ Names []string }
	if err := json.Unmarshal(r.body, &in); err != nil {
		return r.fail(http.StatusBadRequest, "SerializationException", err.Error())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	found, missing := []any{}, []string{}
	for _, name := range in.Names {
		if p, ok := a.projects[name]; ok {
			found = append(found, map[string]any{"name": name, "environment": map[string]any{"type": p.Type, "image": "test", "computeType": cmp.Or(p.Size, "BUILD_GENERAL1_SMALL")}})
		} else {
			missing = append(missing, name)
		}
	}
	return reply(http.StatusOK, map[string]any{"projects": found, "projectsNotFound": missing})
}

// startBuild starts a build, or returns the one that the token started with the same
// parameters.
func (a codeBuildAPI) startBuild(r *request) answer {
	var in startBuildInput
	if err := json.Unmarshal(r.body, &in); err != nil {
		return r.fail(http.StatusBadRequest, "SerializationException", err.Error())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.projects[in.ProjectName]
	if !ok {
		return r.fail(http.StatusBadRequest, "ResourceNotFoundException", "Project cannot be found: "+in.ProjectName)
	}
	if in.BuildspecOverride == "" && p.Spec != "" {
		in.BuildspecOverride, in.SourceTypeOverride, in.TimeoutInMinutesOverride, in.variables = p.Spec, "NO_SOURCE", 480, p.Variables
	}
	var spec struct {
		Version string
		Phases  struct{ Build struct{ Commands []string } }
	}
	if err := yaml.Unmarshal([]byte(in.BuildspecOverride), &spec); err != nil || spec.Version != "0.2" || len(spec.Phases.Build.Commands) == 0 {
		return r.fail(http.StatusBadRequest, "InvalidInputException", fmt.Sprintf("YAML_FILE_ERROR: %v", err))
	}
	if in.TimeoutInMinutesOverride < 5 || in.TimeoutInMinutesOverride > 2160 || in.SourceTypeOverride != "NO_SOURCE" || len(in.IdempotencyToken) > 64 {
		return r.fail(http.StatusBadRequest, "InvalidInputException", "a parameter is out of its range")
	}
	if before, ok := a.started[in.IdempotencyToken]; ok && in.IdempotencyToken != "" {
		if before.digest != string(r.body) {
			return r.fail(http.StatusBadRequest, "InvalidInputException", "the idempotency token was used with other parameters")
		}
		return reply(http.StatusOK, map[string]any{"build": a.builds[before.build].describe()})
	}
	pace := a.cloud.paced()
	if pace.Minute == 0 {
		pace.Minute = time.Minute
	}
	ctx, cancel := context.WithCancel(a.ctx)
	b := &build{
		id: in.ProjectName + ":" + strings.ToLower(rand.Text()), project: in.ProjectName, in: in, fault: p.Fault, lost: p.Lost,
		ready: time.Now().Add(pace.Build), cancel: cancel, done: make(chan struct{}), status: "IN_PROGRESS",
	}
	b.enter("SUBMITTED")
	b.enter("QUEUED")
	a.builds[b.id] = b
	a.started[in.IdempotencyToken] = started{b.id, string(r.body)}
	limit := time.Duration(in.TimeoutInMinutesOverride) * pace.Minute
	if b.lost {
		cancel()
	}
	go func() {
		defer close(b.done)
		a.build(ctx, b, spec.Phases.Build.Commands, limit)
	}()
	return reply(http.StatusOK, map[string]any{"build": b.describe()})
}

// build takes a build through its phases.
func (a codeBuildAPI) build(ctx context.Context, b *build, commands []string, limit time.Duration) {
	defer b.cancel()
	timed, stop := context.WithTimeout(ctx, limit)
	defer stop()
	b.enter("PROVISIONING")
	select {
	case <-timed.Done():
	case <-time.After(time.Until(b.ready)):
	}
	switch {
	case timed.Err() != nil:
		b.end(ctx, timed, "SUCCEEDED", "")
		return
	case b.fault != "":
		b.end(ctx, timed, "FAULT", b.fault)
		return
	}
	for _, name := range []string{"DOWNLOAD_SOURCE", "INSTALL", "PRE_BUILD", "BUILD"} {
		b.enter(name)
		fmt.Fprintf(b, "[Container] Entering phase %s\n", name)
	}
	status, message := "SUCCEEDED", ""
	for _, command := range commands {
		fmt.Fprintf(b, "[Container] Running command %s\n", command)
		if code := a.command(timed, b, command); code != 0 {
			status, message = "FAILED", fmt.Sprintf("COMMAND_EXECUTION_ERROR: Error while executing command: %s. Reason: exit status %d", command, code)
			fmt.Fprintf(b, "[Container] Command did not exit successfully %s exit status %d\n", command, code)
			break
		}
	}
	b.end(ctx, timed, status, message)
}

// command runs a command of a buildspec in the build's directory.
func (a codeBuildAPI) command(ctx context.Context, b *build, line string) (code int) {
	dir := filepath.Join(a.dir, "builds", strings.ReplaceAll(b.id, ":", "-"))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		fmt.Fprintln(b, err)
		return 1
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "LANG=C.UTF-8", "CODEBUILD_BUILD_ID=" + b.id}
	for name, value := range b.in.variables {
		env = append(env, name+"="+value)
	}
	for _, v := range b.in.EnvironmentVariablesOverride {
		env = append(env, v.Name+"="+v.Value)
	}
	p, err := process.Start(ctx, process.Spec{Args: []string{"/bin/sh", "-c", line}, Dir: dir, Env: env, Stdout: b, Stderr: b, Grace: time.Second})
	if err != nil {
		fmt.Fprintln(b, err)
		return 1
	}
	exit, err := p.Wait()
	if err != nil && exit.Code == 0 {
		return -1
	}
	return exit.Code
}

// Write takes what a build prints: an event for each line.
func (b *build) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.partial += string(p)
	for {
		line, rest, whole := strings.Cut(b.partial, "\n")
		if !whole {
			return len(p), nil
		}
		b.printed = append(b.printed, event{time.Now().UnixMilli(), line + "\n"})
		b.partial = rest
	}
}

func (b *build) events() []event {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.printed
}

// enter ends the phase under way and begins the next.
func (b *build) enter(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leave("SUCCEEDED", "")
	b.phases = append(b.phases, phase{name: name, began: time.Now()})
}

func (b *build) leave(status, message string) {
	if n := len(b.phases); n > 0 {
		p := &b.phases[n-1]
		p.status, p.message, p.ended = status, message, time.Now()
	}
}

// end ends a build: with the status, unless it was stopped or took too long.
func (b *build) end(ctx, timed context.Context, status, message string) {
	switch {
	case ctx.Err() != nil:
		status, message = "STOPPED", ""
	case timed.Err() != nil:
		status, message = "TIMED_OUT", "BUILD_TIMED_OUT: Build has timed out."
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leave(status, message)
	b.status = status
	b.phases = append(b.phases, phase{name: "COMPLETED", began: time.Now()})
}

func (b *build) wait() { b.cancel(); <-b.done }

// describe returns a build as the API does, with times as numbers.
func (b *build) describe() map[string]any {
	b.mu.Lock()
	defer b.mu.Unlock()
	seconds := func(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
	phases := []any{}
	for _, p := range b.phases {
		at := map[string]any{"phaseType": p.name, "startTime": seconds(p.began)}
		if p.status != "" {
			at["phaseStatus"], at["endTime"] = p.status, seconds(p.ended)
		}
		if p.message != "" {
			at["contexts"] = []any{map[string]any{"message": p.message, "statusCode": strings.SplitN(p.message, ":", 2)[0]}}
		}
		phases = append(phases, at)
	}
	variables := []any{}
	for _, v := range b.in.EnvironmentVariablesOverride {
		variables = append(variables, map[string]any{"name": v.Name, "value": v.Value, "type": v.Type})
	}
	all := map[string]any{
		"id": b.id, "projectName": b.project, "buildStatus": b.status, "buildComplete": b.status != "IN_PROGRESS",
		"currentPhase": b.phases[len(b.phases)-1].name, "phases": phases, "startTime": seconds(b.phases[0].began),
		"source":      map[string]any{"type": "NO_SOURCE", "buildspec": b.in.BuildspecOverride},
		"environment": map[string]any{"type": "LINUX_CONTAINER", "image": "test", "computeType": "BUILD_GENERAL1_SMALL", "environmentVariables": variables},
		"logs":        map[string]any{},
	}
	if len(b.printed) > 0 || b.status != "IN_PROGRESS" {
		all["logs"] = map[string]any{"groupName": logGroup(b.project), "streamName": stream(b.id)}
	}
	return all
}

// stream returns the name of a build's log stream.
func stream(id string) string { return id[strings.LastIndex(id, ":")+1:] }

func (a codeBuildAPI) batchGetBuilds(r *request) answer {
	var in struct{ IDs []string }
	if err := json.Unmarshal(r.body, &in); err != nil {
		return r.fail(http.StatusBadRequest, "SerializationException", err.Error())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	found, missing := []any{}, []string{}
	for _, id := range in.IDs {
		if b := a.builds[id]; b != nil && !b.lost {
			found = append(found, b.describe())
		} else {
			missing = append(missing, id)
		}
	}
	return reply(http.StatusOK, map[string]any{"builds": found, "buildsNotFound": missing})
}

func (a codeBuildAPI) stopBuild(r *request) answer {
	var in struct{ ID string }
	if err := json.Unmarshal(r.body, &in); err != nil {
		return r.fail(http.StatusBadRequest, "SerializationException", err.Error())
	}
	a.mu.Lock()
	b := a.builds[in.ID]
	a.mu.Unlock()
	if b == nil || b.lost {
		return r.fail(http.StatusBadRequest, "ResourceNotFoundException", "Build cannot be found")
	}
	b.cancel()
	return reply(http.StatusOK, map[string]any{"build": b.describe()})
}

// logPage is how many events a page has: few, so that tests have several pages.
const logPage = 50

func (a codeBuildAPI) getLogEvents(r *request) answer {
	var in struct {
		LogGroupName, LogStreamName, NextToken string
		StartFromHead                          bool
	}
	if err := json.Unmarshal(r.body, &in); err != nil {
		return r.fail(http.StatusBadRequest, "SerializationException", err.Error())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, b := range a.builds {
		if logGroup(b.project) != in.LogGroupName || stream(id) != in.LogStreamName || len(b.events()) == 0 {
			continue
		}
		if !in.StartFromHead {
			return r.fail(http.StatusBadRequest, "InvalidParameterException", "the test cloud reads logs from their head")
		}
		from := 0
		if in.NextToken != "" {
			if _, err := fmt.Sscanf(in.NextToken, "f/%d", &from); err != nil {
				return r.fail(http.StatusBadRequest, "InvalidParameterException", "The specified nextToken is invalid.")
			}
		}
		events := b.events()[from:]
		events = events[:min(len(events), logPage)]
		if events == nil {
			events = []event{}
		}
		return reply(http.StatusOK, map[string]any{
			"events": events, "nextForwardToken": fmt.Sprintf("f/%d", from+len(events)), "nextBackwardToken": fmt.Sprintf("b/%d", from),
		})
	}
	return r.fail(http.StatusBadRequest, "ResourceNotFoundException", "The specified log stream does not exist.")
}
