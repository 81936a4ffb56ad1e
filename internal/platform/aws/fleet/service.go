// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/regular"
)

const (
	// defaultPort is where the service listens when service.port does not say.
	defaultPort = 8080

	// bootAllowance is what a machine may need from running to its service's start,
	// beside the service's own start_timeout.
	bootAllowance = 3 * time.Minute
)

// hops returns how many hops the answers of the metadata service may take.
func hops(r pipeline.FleetRequest) int {
	return instance.Hops(r.Machine.Hops, r.Service.Install, r.Service.Start)
}

func port(s pipeline.Service) int { return cmp.Or(s.Port, defaultPort) }

func startTimeout(s pipeline.Service) time.Duration {
	if s.HealthCheck == nil {
		return pipeline.DefaultStartTimeout
	}
	return cmp.Or(s.HealthCheck.StartTimeout, pipeline.DefaultStartTimeout)
}

// access returns what a fleet's instances may do, and who reaches them: what it asks for,
// else what tests have, or what lasts has. What a module has made comes in addition.
func access(s stack.Settings, r pipeline.FleetRequest) stack.Access {
	own := stack.Access{Profile: r.Profile, Groups: r.Groups}.Or(s.Test)
	if r.Lasting {
		own = stack.Access{Profile: r.Profile, Groups: r.Groups}.Or(s.Lasting)
	}
	own.Groups = slices.Concat(own.Groups, r.ExtraGroups)
	return own
}

// serviceEnv returns the service's variables.
func serviceEnv(r pipeline.FleetRequest) map[string]string {
	env := maps.Clone(r.Env)
	if env == nil {
		env = map[string]string{}
	}
	env["PENSTOCK_ENVIRONMENT"] = r.Environment
	return env
}

// services are the services on the instances of fleets, of either kind.
type services struct {
	stack     *stack.Stack
	instances *instance.Instances
}

// list lists an environment's instances, by ID.
func (v *services) list(ctx context.Context, environment string, more ...types.Filter) ([]types.Instance, error) {
	filters := append([]types.Filter{v.stack.Mine(), stack.Filter("tag:"+TagEnvironment, environment), instance.Alive}, more...)
	list, err := v.instances.List(ctx, filters...)
	slices.SortFunc(list, func(a, b types.Instance) int { return cmp.Compare(instance.ID(a), instance.ID(b)) })
	return list, err
}

// endpoint returns where an instance's service answers.
func (v *services) endpoint(i types.Instance, port int) string {
	host := aws.ToString(i.PrivateIpAddress)
	if v.stack.Settings.PublicEndpoints {
		host = cmp.Or(aws.ToString(i.PublicIpAddress), host)
	}
	return fmt.Sprintf("http://%s:%d", host, port)
}

// ready does on an instance what comes before the service serves, once, and starts it. On an
// instance where that was done, it runs the hooks that run again.
func (v *services) ready(ctx context.Context, i types.Instance, r pipeline.FleetRequest) error {
	if stack.Tag(i.Tags, tagReady) == "true" {
		again := slices.DeleteFunc(slices.Clone(r.Hooks), func(h pipeline.Hook) bool { return !h.Again })
		return v.hooks(ctx, instance.ID(i), r, again)
	}
	if err := v.readyOnce(ctx, instance.ID(i), r); err != nil {
		return err
	}
	return v.instances.SetTags(ctx, opPrepare, []types.Instance{i}, map[string]string{tagReady: "true"})
}

func (v *services) readyOnce(ctx context.Context, id string, r pipeline.FleetRequest) error {
	if r.Artifact != "" {
		if err := v.install(ctx, id, r); err != nil {
			return err
		}
	}
	if r.DataFrom != "" {
		if err := v.copyData(ctx, id, r); err != nil {
			return err
		}
	}
	if err := v.hooks(ctx, id, r, r.Hooks); err != nil {
		return err
	}
	return v.instances.Must(ctx, id, instance.Command{
		What: "the start of the service", Stage: r.Labels.Stage, Script: startScript(), Timeout: 5 * time.Minute, Log: r.Log,
	})
}

// hooks runs hooks on an instance, in order. The data of an environment is new to each of
// its instances, unless it is kept elsewhere.
func (v *services) hooks(ctx context.Context, id string, r pipeline.FleetRequest, hooks []pipeline.Hook) error {
	for _, h := range hooks {
		err := h.Run(ctx, func(ctx context.Context) (string, error) {
			stack.Logf(r.Log, "%s on instance %s", h.Name, id)
			printed, err := v.instances.MustPrint(ctx, id, instance.Command{
				What: h.Name, Stage: r.Labels.Stage, Script: asService(instance.Exports(h.Env) + h.Line), Timeout: h.Timeout, Secrets: h.Secrets, Log: r.Log, Live: true,
			})
			return pipeline.LastLine(printed), err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// install puts the artifact on an instance, and leaves the unit that starts the
// service.
func (v *services) install(ctx context.Context, id string, r pipeline.FleetRequest) error {
	const what = "service.install"
	file, err := regular.Open(r.Artifact)
	if err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, what, "%w", err)
	}
	defer file.Close()
	artifact, err := v.instances.SendFile(ctx, r.Labels.Stage, file)
	if err != nil {
		return err
	}
	defer v.instances.Remove(ctx, artifact)
	stack.Logf(r.Log, "%s on instance %s", what, id)
	script := installScript(artifact.Fetch("PENSTOCK_ARTIFACT", filepath.Base(r.Artifact)), r.Service)
	return v.instances.Must(ctx, id, instance.Command{What: what, Stage: r.Labels.Stage, Script: script, Timeout: time.Hour, Log: r.Log, Live: true})
}

// boot is the allowance for a boot. It shrinks with the pauses of tests.
func (v *services) boot() time.Duration { return bootAllowance * v.stack.Pause / stack.DefaultPause }

// awaitHealthy waits until an instance's service is healthy, as seen from here.
func (v *services) awaitHealthy(ctx context.Context, of types.Instance, endpoint string, check *pipeline.HealthCheck) error {
	start, timeout := pipeline.DefaultStartTimeout, pipeline.DefaultHealthTimeout
	if check != nil {
		start, timeout = cmp.Or(check.StartTimeout, start), cmp.Or(check.Timeout, timeout)
	}
	looks, id := 0, instance.ID(of)
	err := v.stack.Wait(ctx, "the service on instance "+id, start+v.boot(), func(ctx context.Context) (poll.Probe, error) {
		state := healthOf(ctx, endpoint, check, timeout)
		if looks++; state != "" && looks%4 == 0 {
			if err := v.instances.CheckAlive(ctx, id); err != nil {
				return poll.Probe{}, err
			}
		}
		return poll.Probe{Done: state == "", State: state}, nil
	})
	if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		return cloud.Fault(ctx, opPrepare, err)
	}
	printed := v.printed(ctx, of)
	return pipeline.Errorf(pipeline.CodeFailed, opPrepare, "%w%s", err, instance.LastLines(printed)).
		WithHint("Let the service listen on $HOST:$PORT, correct health_check or raise its start_timeout, "+
			"and make %s reachable from where Terraform runs.%s", endpoint, userHint(printed))
}

// refusals is how programs say that their user may not do something.
var refusals = regexp.MustCompile(`(?i)permission denied|operation not permitted|\b(EACCES|EPERM)\b`)

// userHint is the remedy where a service says that it may not do something.
func userHint(printed string) string {
	if !refusals.MatchString(printed) {
		return ""
	}
	return " The service runs as service.user, which is not root by default: let service.install give $PENSTOCK_USER what it needs."
}

// printed returns what an instance's service printed last, or why it can't be read.
func (v *services) printed(ctx context.Context, of types.Instance) string {
	_, tail, err := v.instances.Execute(ctx, instance.ID(of), instance.Command{
		What: "reading the service's log", Stage: stack.Tag(of.Tags, stack.TagStage), Script: instance.Preamble + "journalctl -u penstock --no-pager -n 20\n", Timeout: time.Minute,
	})
	if err != nil {
		return err.Error()
	}
	return tail
}

// copyData copies the data directory of an environment's first instance that serves, as
// a crash would have left it. The sender says the digest of what it sent: what comes from
// the bucket is that, or is refused.
func (v *services) copyData(ctx context.Context, to string, r pipeline.FleetRequest) error {
	what := "copying the data of environment " + r.DataFrom
	list, err := v.list(ctx, r.DataFrom, stack.Filter("tag:"+TagServing, "true"))
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return pipeline.Errorf(pipeline.CodeNotFound, opPrepare, "environment %s, whose data is to be copied, has no instance that serves", r.DataFrom).
			WithHint("Restore it with an apply first, or set environment.data_from to another stage.")
	}
	file, send, err := v.instances.Relay(ctx, r.Labels.Stage, what)
	if err != nil {
		return err
	}
	defer v.instances.Remove(ctx, file)
	stack.Logf(r.Log, "%s to instance %s", what, to)
	sent, err := v.instances.MustPrint(ctx, instance.ID(list[0]), instance.Command{
		What: what, Stage: stack.Tag(list[0].Tags, stack.TagStage), Script: packData(send), Timeout: time.Hour, Log: r.Log,
	})
	if err != nil {
		return err
	}
	sum := dataSum.FindStringSubmatch(sent)
	if sum == nil {
		return pipeline.Errorf(pipeline.CodeFailed, opPrepare, "%s: the sender did not say what it sent%s", what, instance.LastLines(sent))
	}
	return v.instances.Must(ctx, to, instance.Command{
		What: what, Stage: r.Labels.Stage, Script: unpackData(file.Digested(sum[1])), Timeout: time.Hour, Log: r.Log,
	})
}

// leave reports what could not be removed after a finished deployment.
func (v *services) leave(log io.Writer, environment string, err error) {
	if err != nil {
		stack.Logf(log, "what the deployment before left can't all be removed now; the next one tries again: %v", err)
		v.stack.Logger.Warn("remove what served before", "environment", environment, "error", err)
	}
}
