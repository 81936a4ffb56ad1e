// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/forge"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
	"github.com/penstock-io/terraform-provider-penstock/internal/source"
	"github.com/penstock-io/terraform-provider-penstock/internal/step"
)

// check is a string validator made of a function that returns what is wrong.
type check struct {
	what string
	f    func(string) error
}

func (c check) Description(context.Context) string         { return c.what }
func (c check) MarkdownDescription(context.Context) string { return c.what }

func (c check) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if err := c.f(req.ConfigValue.ValueString()); err != nil {
		text := fmt.Sprintf("%s = %q: %v.", req.Path, req.ConfigValue.ValueString(), err)
		if hint := reason.Hint(err); hint != "" {
			text += " " + hint
		}
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid value", text)
	}
}

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

var notANumber = regexp.MustCompile(`[^0-9]`)

// isName accepts the names of pipelines, stages, images and environments.
func isName() validator.String {
	return stringvalidator.All(
		stringvalidator.RegexMatches(validName, "must be 1 to 63 lower-case letters, digits, dots, dashes and underscores, and begin with a letter or digit"),
		stringvalidator.RegexMatches(notANumber, "must not be a number, because commands take numbers for builds"),
	)
}

// noNamespace is Terraform's name for the workspace that there always is: its pipelines
// keep the names that they have without workspaces.
const noNamespace = "default"

var validNamespace = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,39}$`)

// isNamespace accepts what can stand before the name of a pipeline.
func isNamespace() validator.String {
	return stringvalidator.RegexMatches(validNamespace,
		"must be 1 to 40 lower-case letters, digits, dashes and underscores, and begin with a letter or digit; of a workspace with another name make one with lower() and replace()")
}

// isHistory accepts how long a history is kept.
func isHistory() validator.String {
	return check{"a duration, such as \"30d\" or \"12h\", or \"0s\" for none", func(s string) error {
		_, err := parseHistory(s)
		return err
	}}
}

// isAnchor accepts what names an event of a history.
func isAnchor() validator.String {
	return check{"an event's number, a colon and its hash, as `penstock ledger head` prints it", func(s string) error {
		_, err := pipeline.ParseAnchor(s)
		return err
	}}
}

var days = regexp.MustCompile(`^([0-9]{1,5})d$`)

// parseHistory reads a duration that may be of days.
func parseHistory(s string) (time.Duration, error) {
	if m := days.FindStringSubmatch(s); m != nil {
		n, err := strconv.Atoi(m[1])
		return time.Duration(n) * 24 * time.Hour, err
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("it is not a duration; write a number and a unit (d, h, m, s), such as \"30d\", or \"0s\" to keep no history")
	}
	return d, nil
}

// isDuration accepts positive durations such as "90s" or "1h30m".
func isDuration() validator.String {
	return check{"a positive duration, such as \"30s\" or \"1h30m\"", func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("it is not a duration; write a number and a unit (ms, s, m, h), such as \"30s\"")
		}
		if d <= 0 {
			return fmt.Errorf("it must be more than zero")
		}
		return nil
	}}
}

// The durations that AWS takes for a copy.
const (
	minCopyTime  = 15 * time.Minute
	maxCopyTime  = 48 * time.Hour
	copyTimeStep = 15 * time.Minute
)

// isCopyTime accepts durations in which AWS can be asked to finish a copy.
func isCopyTime() validator.String {
	return check{"a duration from 15m to 48h in steps of 15 minutes, such as \"30m\"", func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("it is not a duration; write a number and a unit (m, h), such as \"30m\"")
		}
		if d < minCopyTime || d > maxCopyTime || d%copyTimeStep != 0 {
			return fmt.Errorf("it must be from 15m to 48h, in steps of 15 minutes")
		}
		return nil
	}}
}

// isInside accepts slash-separated paths that stay in the source.
func isInside() validator.String {
	return check{"a path in the source, relative to its root", func(s string) error {
		if s == "" || path.IsAbs(s) || s != path.Clean(s) && s != path.Clean(s)+"/" || path.Clean(s) == ".." || strings.HasPrefix(path.Clean(s), "../") {
			return fmt.Errorf("it must be a plain path relative to the repository's root, without \"..\"")
		}
		return nil
	}}
}

// isDirectory accepts directories of a repository.
func isDirectory() validator.String {
	return check{"a directory of the repository", source.ValidateDirectory}
}

// isWeb accepts addresses of pages that the board may link to.
func isWeb() validator.String {
	return check{"the address of a repository's pages", func(s string) error {
		if wrong := forge.CheckWeb(s); wrong != "" {
			return pipeline.Errorf(pipeline.CodeInvalid, "check address", "%s", wrong).
				WithHint("Use an address such as https://git.example.com/team/shop, or that of a commit with {commit} for its ID.")
		}
		return nil
	}}
}

// isReport accepts paths and patterns of files in a checkout.
func isReport() validator.String {
	return check{"a path or pattern in the checkout", step.CheckReport}
}

// isAddress accepts what an endpoint can listen on.
func isAddress() validator.String {
	return check{"an IP address", func(s string) error {
		if _, err := netip.ParseAddr(s); err != nil && s != "localhost" {
			return fmt.Errorf("it is not an IP address; set one of the machine's, or leave it out for loopback")
		}
		return nil
	}}
}

// isProxy accepts an address, or a network in CIDR notation.
func isProxy() validator.String {
	return check{"an IP address or a network in CIDR notation", func(s string) error {
		_, err := pipeline.ParseProxy(s)
		return err
	}}
}

func isRegexp() validator.String {
	return check{"a regular expression (RE2)", func(s string) error {
		_, err := regexp.Compile(s)
		return err
	}}
}

func isHTTPPath() validator.String {
	return stringvalidator.RegexMatches(regexp.MustCompile(`^/`), "must begin with \"/\"")
}

// isUser is what useradd takes as a name on every distribution.
func isUser() validator.String {
	return stringvalidator.RegexMatches(regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,30}$`),
		"must be 1 to 31 lower-case letters, digits, dashes and underscores, and begin with a letter or an underscore")
}

func isAMI() validator.String {
	return stringvalidator.RegexMatches(regexp.MustCompile(`^ami-[0-9a-f]{8,17}$`), `must be the ID of an AMI, such as "ami-0123456789abcdef0"`)
}

func isCertificate() validator.String {
	return stringvalidator.RegexMatches(regexp.MustCompile(`^arn:[a-z-]+:(acm:[a-z0-9-]+:[0-9]{12}:certificate|iam::[0-9]{12}:server-certificate)/.+$`),
		`must be the ARN of a certificate, such as "arn:aws:acm:eu-west-1:123456789012:certificate/0123"`)
}

func isInstanceProfile() validator.String {
	return stringvalidator.RegexMatches(regexp.MustCompile(`^[A-Za-z0-9+=,.@_-]{1,128}$`), `must be the name of an instance profile, not its ARN, such as "shop-production"`)
}

func isSecurityGroup() validator.String {
	return stringvalidator.RegexMatches(regexp.MustCompile(`^sg-[0-9a-f]{8,17}$`), `must be the ID of a security group, such as "sg-0123456789abcdef0"`)
}

func isRoleARN() validator.String {
	return matches(cloud.IsRoleARN, `must be the ARN of a role, such as "arn:aws:iam::123456789012:role/deployer"`)
}

func isExternalID() validator.String {
	return matches(cloud.IsExternalID, "must be an external ID: "+cloud.ExternalIDs)
}

func isRegion() validator.String {
	return matches(cloud.IsRegion, `must be a region, such as "eu-west-2"`)
}

// matches accepts what a function does.
func matches(is func(string) bool, want string) validator.String {
	return check{want, func(value string) error {
		if !is(value) {
			return errors.New(want)
		}
		return nil
	}}
}

func isHTTPURL() validator.String {
	return stringvalidator.RegexMatches(regexp.MustCompile(`^https?://[^/]+`), "must be an absolute http or https URL")
}

func isMethod() validator.String {
	return stringvalidator.OneOf("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}

func isBuildID() validator.String {
	return check{"a build ID", func(s string) error {
		if !pipeline.ValidBuildID(s) {
			return fmt.Errorf("a build ID is \"b-\" and ten hexadecimal digits; `penstock builds PIPELINE` lists them")
		}
		return nil
	}}
}

func isRepository() validator.String {
	return check{"a git repository: a URL or a path", source.ValidateRepository}
}

func isRef() validator.String { return check{"a git ref", source.ValidateRef} }

func isGlob() validator.String { return check{"a pattern of paths", source.ValidateGlob} }
