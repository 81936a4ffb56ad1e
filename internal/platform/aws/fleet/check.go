// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

const opPrepare = "prepare fleet"

// Check refuses an environment that AWS can't give: CodeInvalid, with the argument and its
// value.
func Check(e pipeline.EnvironmentSpec) error {
	switch {
	case e.SecretsVersion > 0:
		return invalid("Let the service read them from AWS Secrets Manager or SSM, with the instance profile's role.",
			"environment.env_wo can't be used on AWS: instances that start later would not have the values")
	case e.Balancer != nil && e.Balancer.RedirectHTTP && e.Certificate == "":
		return invalid("Set environment.certificate, or remove it.", "environment.load_balancer.redirect_http needs a certificate: there is no HTTPS to redirect to")
	case e.Balancer != nil && e.Balancer.Host != "" && e.Certificate == "":
		return invalid("Set environment.certificate, or remove it.", "environment.load_balancer.host %q needs a certificate that covers it", e.Balancer.Host)
	case e.Address != "":
		return invalid("Remove it.", "environment.address %q has no meaning on AWS", e.Address)
	case e.TrustedProxies != nil:
		return invalid("Remove it.", "environment.trusted_proxies has no meaning on AWS, "+
			"whose load balancers append to X-Forwarded-For and replace X-Forwarded-Proto and -Port")
	}
	return checkVariables(e.Env)
}

// idLength is the most bytes that the names have which Penstock adds to a service's variables.
const idLength = 64

// validVariable is what systemd and a shell take as the name of a variable.
var validVariable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// checkVariables refuses variables that systemd would leave out, and those with which the user
// data of an instance is more than EC2 takes. What Penstock adds to them is counted at its
// longest.
func checkVariables(env map[string]string) error {
	if len(env) == 0 {
		return nil
	}
	control := func(c rune) bool { return unicode.IsControl(c) && c != '\t' && c != '\n' }
	for _, name := range stack.Sorted(env) {
		if !validVariable.MatchString(name) {
			return invalid("Use letters, digits and underscores, and no digit first.", "environment.env has the name %q, which is none of a variable", name)
		}
		if at := strings.IndexFunc(env[name], control); at >= 0 {
			return invalid("Remove it, or encode the value, as with base64encode.",
				"environment.env.%s has the control character %q, with which systemd gives a service no variable", name, env[name][at:at+1])
		}
	}
	all := maps.Clone(env)
	for _, own := range []string{"PENSTOCK_ENVIRONMENT", "PENSTOCK_PIPELINE", "PENSTOCK_STAGE", "PENSTOCK_BUILD"} {
		all[own] = strings.Repeat("x", idLength)
	}
	size := len(instance.UserData(time.Unix(0, 0), firstBoot(all, 65535, true)))
	if size <= instance.MaxUserData {
		return nil
	}
	return invalid(fmt.Sprintf("Shorten them by %d bytes at least, or let the service read long values from SSM or S3.", size-instance.MaxUserData),
		"environment.env is too long for AWS: with its %d variables the user data of an instance has %d bytes, and EC2 takes %d", len(env), size, instance.MaxUserData)
}

// CheckService refuses a service that can't run on AWS. The test port of an environment
// speaks HTTP, and load balancers take HTTP/2 to their targets from listeners of HTTPS only.
func CheckService(s pipeline.Service) error {
	if s.Protocol != "" {
		return invalid("Let the service speak HTTP/1.1 there and remove it, or use the local platform. "+
			"Clients may speak HTTP/2 to a load balancer with a certificate all the same.",
			"service.protocol %q can't be used on AWS: requests reach the instances over HTTP/1.1", s.Protocol)
	}
	return nil
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

// CheckRequest refuses what can't be launched.
func CheckRequest(r pipeline.FleetRequest) error {
	switch {
	case !validID.MatchString(r.Environment) || !validID.MatchString(r.Fleet):
		return invalid("This is a mistake in Penstock: please report it.",
			"the IDs %q and %q of environment and fleet can't name things on AWS", r.Environment, r.Fleet)
	case r.Port < 0 || r.Port > maxListenerPort:
		return invalid(fmt.Sprintf("Set environment.port to a port from 1 to %d: the one %d above it is needed, too.", maxListenerPort, testOffset), "environment.port %d", r.Port)
	case r.Artifact != "" && !exists(r.Artifact):
		return pipeline.Errorf(pipeline.CodeNotFound, opPrepare, "there is no artifact %s", r.Artifact).WithHint("Apply again, which fetches it.")
	case r.Instances < 1:
		return invalid("Set instances to 1 or more.", "a fleet of %d instances", r.Instances)
	case r.Service.Start == "":
		return invalid("Set service.start on the pipeline.", "the service has no start command")
	case r.Image == "":
		return invalid("Set base_image on the commit stage to the image_id of a penstock_baked_image.",
			"there is no image to launch; on AWS an environment needs one")
	case balanced(r) && r.Artifact != "":
		return invalid("Let a stage before this one bake the application image, as acceptance does.",
			"%d instances of a lasting or balanced fleet can't be made from an artifact", r.Instances)
	}
	if err := CheckService(r.Service); err != nil {
		return err
	}
	if len(r.Secrets) > 0 { // of the module: those of the environment itself are refused at plan
		return invalid("Let the module put them into AWS Secrets Manager or SSM, and return where in its output \"env\": the service reads them with the role of its instances.",
			"the module makes the variables %q secret, and no instance on AWS can have secret ones: those that start later would not have the values", stack.Sorted(r.Secrets))
	}
	return Check(pipeline.EnvironmentSpec{Env: r.Env, Address: r.Address, TrustedProxies: r.TrustedProxies})
}
