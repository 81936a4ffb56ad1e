// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const (
	opPrepare = "prepare fleet"

	// defaultPort is where the service listens when service.port does not say.
	defaultPort = 8080

	// cleanUpTimeout bounds what is done after a failure or a cancel.
	cleanUpTimeout = 5 * time.Minute
)

// Prepare brings up a fleet: one instance by itself, several or lasting ones as an
// Auto Scaling group behind a load balancer.
func (p *Platform) Prepare(ctx context.Context, r pipeline.FleetRequest) (f pipeline.Fleet, err error) {
	ctx, err = p.fenced(ctx)
	if err != nil {
		return f, err
	}
	if err := p.checkRequest(r); err != nil {
		return f, err
	}
	defer func() {
		if err == nil {
			return
		}
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
		defer cancel()
		if failed := p.Discard(undo, r.Environment, r.Fleet); failed != nil {
			err = fmt.Errorf("%w; and then: %w", err, failed)
		}
	}()
	if balanced(r) {
		return p.prepareGroup(ctx, &r)
	}
	return p.prepareInstance(ctx, r)
}

// balanced reports whether the fleet needs a load balancer.
func balanced(r pipeline.FleetRequest) bool { return r.Persistent || r.Instances > 1 }

// Check implements pipeline.Platform.
func (p *Platform) Check(e pipeline.EnvironmentSpec) error {
	switch {
	case e.SecretsVersion > 0:
		return invalid("Let the service read them from AWS Secrets Manager or SSM, with the instance profile's role.",
			"environment.env_wo can't be used on AWS: instances that start later would not have the values")
	case e.Address != "":
		return invalid("Remove it.", "environment.address %q has no meaning on AWS", e.Address)
	case e.TrustedProxies != nil:
		return invalid("Remove it.", "environment.trusted_proxies has no meaning on AWS, whose load balancers append to X-Forwarded-For and replace X-Forwarded-Proto and -Port")
	}
	return nil
}

// CheckService implements pipeline.Platform. The test port of an environment speaks HTTP,
// and load balancers take HTTP/2 to their targets from listeners of HTTPS only.
func (p *Platform) CheckService(s pipeline.Service) error {
	if s.Protocol != "" {
		return invalid("Let the service speak HTTP/1.1 there and remove it, or use the local platform. Clients may speak HTTP/2 to a load balancer with a certificate all the same.",
			"service.protocol %q can't be used on AWS: requests reach the instances over HTTP/1.1", s.Protocol)
	}
	return nil
}

// Trust implements pipeline.Platform. Check refuses what would need it.
func (p *Platform) Trust(context.Context, string, []string) error {
	return p.Check(pipeline.EnvironmentSpec{TrustedProxies: []string{}})
}

func invalid(hint, format string, args ...any) error {
	return pipeline.Errorf(pipeline.CodeInvalid, opPrepare, format, args...).WithHint("%s", hint)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// validID is what names load balancers, target groups and schedules.
var validID = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,22}[A-Za-z0-9])?$`)

// checkRequest refuses what can't be launched.
func (p *Platform) checkRequest(r pipeline.FleetRequest) error {
	switch {
	case !validID.MatchString(r.Environment) || !validID.MatchString(r.Fleet):
		return invalid("This is a mistake in Penstock: please report it.", "the IDs %q and %q of environment and fleet can't name things on AWS", r.Environment, r.Fleet)
	case r.Port < 0 || r.Port >= 65535:
		return invalid("Set environment.port to a port from 1 to 65534: the one above it is needed, too.", "environment.port %d", r.Port)
	case r.Artifact != "" && !exists(r.Artifact):
		return pipeline.Errorf(pipeline.CodeNotFound, opPrepare, "there is no artifact %s", r.Artifact).WithHint("Apply again, which fetches it.")
	case r.Instances < 1:
		return invalid("Set instances to 1 or more.", "a fleet of %d instances", r.Instances)
	case r.Service.Start == "":
		return invalid("Set service = { start = … } on the pipeline.", "the service has no start command")
	case r.Image == "":
		return invalid("Set base_image on the commit stage to the image_id of a penstock_baked_image.", "there is no image to launch; on AWS an environment needs one")
	case balanced(r) && r.Artifact != "":
		return invalid("Let a stage before this one bake the application image, as acceptance does.",
			"%d instances of a lasting or balanced fleet can't be made from an artifact", r.Instances)
	}
	if err := p.CheckService(r.Service); err != nil {
		return err
	}
	return p.Check(pipeline.EnvironmentSpec{Address: r.Address, SecretsVersion: int64(len(r.Secrets)), TrustedProxies: r.TrustedProxies})
}

func port(s pipeline.Service) int { return cmp.Or(s.Port, defaultPort) }

// serviceEnv gives the service's variables.
func serviceEnv(r pipeline.FleetRequest) map[string]string {
	env := maps.Clone(r.Env)
	if env == nil {
		env = map[string]string{}
	}
	env["PENSTOCK_ENVIRONMENT"] = r.Environment
	return env
}

// fleetTags are the tags of a fleet's instances.
func (p *Platform) fleetTags(r pipeline.FleetRequest) map[string]string {
	tags := map[string]string{
		tagRole: roleInstance, tagEnvironment: r.Environment, tagFleet: r.Fleet, tagPort: fmt.Sprint(port(r.Service)),
		"Name": cmp.Or(r.Labels.Pipeline, "penstock") + " " + cmp.Or(r.Labels.Stage, r.Environment),
	}
	if r.Artifact != "" {
		tags[tagInstalled] = "true"
	}
	if token := p.token(); token != "" {
		tags[tagFence] = token
	}
	if !r.ExpiresAt.IsZero() {
		tags[tagExpires] = timestamp(r.ExpiresAt)
	}
	return tags
}

// prepareInstance brings up a fleet of one instance.
func (p *Platform) prepareInstance(ctx context.Context, r pipeline.FleetRequest) (_ pipeline.Fleet, err error) {
	first := r.Artifact != "" || r.DataFrom != "" || r.Migrate || r.Seed // something has to run before the service
	env := serviceEnv(r)
	start := userData(p.untilExpiry(r.ExpiresAt), env, port(r.Service), !first)
	list, err := p.run(ctx, launch{
		token: r.Fleet, image: r.Image, instanceType: r.InstanceType, count: 1, userData: start, tags: p.tags(r.Labels, p.fleetTags(r)), group: p.Settings.InstanceGroup,
	})
	if err != nil {
		return pipeline.Fleet{}, err
	}
	id := aws.ToString(list[0].InstanceId)
	logf(r.Log, "instance %s of image %s", id, r.Image)
	defer func() {
		if err != nil {
			p.untilListed(ctx, id)
		}
	}()
	if !r.ExpiresAt.IsZero() {
		if err := p.endInstancesAt(ctx, r.Fleet, r.ExpiresAt, id); err != nil {
			return pipeline.Fleet{}, err
		}
	}
	i, err := p.awaitState(ctx, id, types.InstanceStateNameRunning, startLimit)
	if err != nil {
		return pipeline.Fleet{}, err
	}
	if first {
		if err := p.ready(ctx, i, r); err != nil {
			return pipeline.Fleet{}, err
		}
	}
	f := pipeline.Fleet{ID: r.Fleet, Endpoint: p.endpoint(i, port(r.Service))}
	return f, p.awaitHealthy(ctx, id, f.Endpoint, r.Service.HealthCheck)
}

// ready does on an instance what comes before the service serves, once, and starts it.
func (p *Platform) ready(ctx context.Context, i types.Instance, r pipeline.FleetRequest) error {
	if tag(i.Tags, tagReady) == "true" {
		return nil
	}
	if err := p.readyOnce(ctx, aws.ToString(i.InstanceId), r); err != nil {
		return err
	}
	return p.home().tag(ctx, opPrepare, idsOf([]types.Instance{i}), map[string]string{tagReady: "true"})
}

func (p *Platform) readyOnce(ctx context.Context, id string, r pipeline.FleetRequest) error {
	if r.Artifact != "" {
		if err := p.install(ctx, id, r); err != nil {
			return err
		}
	}
	if r.DataFrom != "" {
		if err := p.copyData(ctx, r.DataFrom, id, r.Log); err != nil {
			return err
		}
	}
	own := func(what, line string) error {
		logf(r.Log, "%s on instance %s", what, id)
		return p.must(ctx, id, command{what: what, script: preamble + variables() + line, timeout: time.Hour, log: r.Log, live: true})
	}
	if r.Migrate && r.Service.Migrate != "" {
		if err := own("service.migrate", r.Service.Migrate); err != nil {
			return err
		}
	}
	if r.Seed && r.Service.Seed != "" {
		if err := own("service.seed", r.Service.Seed); err != nil {
			return err
		}
	}
	return p.must(ctx, id, command{what: "the start of the service", script: preamble + "systemctl start penstock\n", timeout: 5 * time.Minute, log: r.Log})
}

// endpoint gives where an instance's service answers.
func (p *Platform) endpoint(i types.Instance, port int) string {
	host := aws.ToString(i.PrivateIpAddress)
	if p.Settings.PublicEndpoints {
		host = cmp.Or(aws.ToString(i.PublicIpAddress), host)
	}
	return fmt.Sprintf("http://%s:%d", host, port)
}

// ofEnvironment lists an environment's instances, by ID.
func (p *Platform) ofEnvironment(ctx context.Context, environment string, more ...types.Filter) ([]types.Instance, error) {
	filters := append([]types.Filter{filter("tag:"+tagStack, p.Settings.Stack), filter("tag:"+tagEnvironment, environment), alive}, more...)
	list, err := p.list(ctx, filters...)
	slices.SortFunc(list, func(a, b types.Instance) int {
		return cmp.Compare(aws.ToString(a.InstanceId), aws.ToString(b.InstanceId))
	})
	return list, err
}

// Shift sends the traffic to the prepared fleet, and ends the one before.
func (p *Platform) Shift(ctx context.Context, environment, fleet string, t pipeline.Traffic) (pipeline.EnvironmentReport, error) {
	ctx, err := p.fenced(ctx)
	if err != nil {
		return pipeline.EnvironmentReport{}, err
	}
	lb, err := p.balancer(ctx, environment)
	if err != nil {
		return pipeline.EnvironmentReport{}, err
	}
	var endpoint string
	if lb != nil {
		endpoint, err = p.shiftGroup(ctx, *lb, environment, fleet, t)
	} else {
		endpoint, err = p.shiftInstance(ctx, environment, fleet, t.Log)
	}
	if err != nil {
		return pipeline.EnvironmentReport{}, err
	}
	reports, err := p.Describe(ctx, environment)
	if err != nil { // the traffic has gone over all the same
		p.Logger.Warn("read environment", "environment", environment, "error", err)
		return pipeline.EnvironmentReport{ID: environment, Status: pipeline.EnvRunning, Serving: fleet, Endpoint: endpoint}, nil
	}
	return reports[environment], nil
}

func (p *Platform) shiftInstance(ctx context.Context, environment, fleet string, log io.Writer) (endpoint string, err error) {
	list, err := p.ofEnvironment(ctx, environment)
	if err != nil {
		return "", err
	}
	var old, next []types.Instance
	for _, i := range list {
		if err := p.superseded(opShift, tag(i.Tags, tagFence)); err != nil {
			return "", err
		}
		if tag(i.Tags, tagFleet) == fleet {
			next = append(next, i)
			endpoint = p.endpoint(i, atoi(tag(i.Tags, tagPort)))
		} else {
			old = append(old, i)
		}
	}
	if len(next) == 0 {
		return "", noFleet(opShift, environment, fleet)
	}
	if err := p.home().tag(ctx, opShift, idsOf(next), p.serving(endpoint)); err != nil {
		return "", err
	}
	if len(old) > 0 {
		if err := p.home().tag(ctx, opShift, idsOf(old), map[string]string{tagServing: "false"}); err != nil {
			return "", err
		}
	}
	p.leave(log, environment, p.endInstances(ctx, old))
	return endpoint, nil
}

// endInstances ends instances that have no load balancer, and the schedules of their
// ends, also of those that have ended already. Those of groups are ended without: theirs
// are others.
func (p *Platform) endInstances(ctx context.Context, list []types.Instance) error {
	fleets := map[string]bool{}
	var left []string
	for _, i := range list {
		if ended(i) == nil {
			left = append(left, aws.ToString(i.InstanceId))
		}
		if tag(i.Tags, "aws:autoscaling:groupName") == "" {
			fleets[tag(i.Tags, tagFleet)] = true
		}
	}
	for _, fleet := range sortedKeys(fleets) {
		if err := p.removeSchedule(ctx, fleet, kindInstances); err != nil {
			return err
		}
	}
	return p.terminate(ctx, left...)
}

func noFleet(op, environment, fleet string) error {
	return pipeline.Errorf(pipeline.CodeNotFound, op, "environment %s has no fleet %s", environment, fleet)
}

// Discard removes a prepared fleet, and an environment that has no other.
func (p *Platform) Discard(ctx context.Context, environment, fleet string) error {
	ctx, err := p.fenced(ctx)
	if err != nil {
		return err
	}
	lb, err := p.balancer(ctx, environment)
	if err != nil {
		return err
	}
	if lb != nil {
		return p.discardGroup(ctx, *lb, environment, fleet)
	}
	list, err := p.ofEnvironment(ctx, environment)
	if err != nil {
		return err
	}
	serves := false
	var own []types.Instance
	for _, i := range list {
		mine := tag(i.Tags, tagFleet) == fleet
		if tag(i.Tags, tagServing) == "true" {
			if mine {
				return nil // it got the traffic
			}
			serves = true
		}
		if mine {
			own = append(own, i)
		}
	}
	if !serves {
		return p.Destroy(ctx, environment)
	}
	return p.endInstances(ctx, own)
}

// Resize changes the number of instances that serve.
func (p *Platform) Resize(ctx context.Context, environment string, instances int) error {
	ctx, err := p.fenced(ctx)
	if err != nil {
		return err
	}
	const op = "resize environment"
	if instances < 1 {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "instances %d is less than 1", instances).WithHint("Set instances to 1 or more.")
	}
	lb, err := p.balancer(ctx, environment)
	switch {
	case err != nil:
		return err
	case lb != nil:
		return p.resizeGroup(ctx, environment, instances)
	}
	list, err := p.ofEnvironment(ctx, environment)
	switch {
	case err != nil:
		return err
	case len(list) == 0:
		return pipeline.Errorf(pipeline.CodeNotFound, op, "environment %s is gone", environment).WithHint("Apply again, which restores it.")
	case instances != 1:
		return pipeline.Errorf(pipeline.CodeInvalid, op, "environment %s has no load balancer, and can't have %d instances", environment, instances).
			WithHint("Destroy it and launch it anew with that number.")
	}
	return nil
}

// Exec runs a command in the root of the service on the fleet's first instance, or on
// each.
func (p *Platform) Exec(ctx context.Context, environment, fleet string, c pipeline.Command, log io.Writer) (int, error) {
	list, err := p.ofEnvironment(ctx, environment, filter("tag:"+tagFleet, fleet))
	if err != nil {
		return 0, err
	}
	if len(list) == 0 {
		return 0, noFleet("run command", environment, fleet)
	}
	script := preamble + variables() + exports(c.Env)
	if c.Dir != "" {
		script += "cd " + quote(c.Dir) + "\n"
	}
	if !c.Everywhere {
		list = list[:1]
	}
	what := "step " + cmp.Or(c.Name, "command")
	for _, id := range idsOf(list) {
		exit, _, err := p.execute(ctx, id, command{what: what, script: script + c.Line, timeout: c.Timeout, secrets: c.Secrets, log: log, live: true})
		if err != nil || exit != 0 {
			return exit, err
		}
	}
	return 0, nil
}

// LogCommand implements pipeline.Platform.
func (p *Platform) LogCommand(lines int, follow bool) string {
	line := fmt.Sprintf("exec journalctl -u penstock --no-pager -o cat -n %d", lines)
	if follow {
		line += " -f"
	}
	return line
}

// Destroy ends an environment: groups, instances, load balancer, schedules. Those of
// instances that have ended are found while AWS still lists these.
func (p *Platform) Destroy(ctx context.Context, environment string) error {
	ctx, err := p.fenced(ctx)
	if err != nil {
		return err
	}
	if err := p.removeSchedule(ctx, environment, kindBalancer); err != nil {
		return err
	}
	if err := p.destroyGroups(ctx, environment); err != nil {
		return err
	}
	list, err := p.list(ctx, filter("tag:"+tagStack, p.Settings.Stack), filter("tag:"+tagEnvironment, environment))
	if err != nil {
		return err
	}
	return p.endInstances(ctx, list)
}
