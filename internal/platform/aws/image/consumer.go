// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package image

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	groups "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// The consumers of an image are what was launched from it or would launch it: instances,
// launch templates, parameters, recipes of Image Builder, and what other accounts have of it.

// unused returns CodeConflict for an image that has consumers in the region, that is not made
// yet, or of which AWS doesn't say who uses it. The slowest question comes last, and none is
// asked after a consumer is found.
func (r regional) unused(ctx context.Context, image types.Image) error {
	op := "remove image " + aws.ToString(image.ImageId)
	if image.State == types.ImageStatePending { // AWS does not list all of its snapshots
		return pipeline.Errorf(pipeline.CodeConflict, op, "its copy in %s is not finished", r.region).WithHint("Wait until it is available.")
	}
	for _, ask := range []func(context.Context, types.Image) ([]string, error){r.launchers, r.references, r.elsewhere} {
		by, err := ask(ctx, image)
		if err != nil {
			return r.unanswered(ctx, op, err)
		}
		if len(by) > 0 {
			return pipeline.Errorf(pipeline.CodeConflict, op, "it is used by %s in %s", few(by), r.region).
				WithHint("Destroy the environment, or move it and what else names the image to another build, first.")
		}
	}
	return nil
}

// unanswered returns CodeConflict where AWS refuses to say who uses an image: what could not be
// asked counts as in use. Other errors stay what they are.
func (r regional) unanswered(ctx context.Context, op string, err error) error {
	err = cloud.Fault(ctx, op, err)
	if pipeline.CodeOf(err) != pipeline.CodeNotAllowed && !cloud.Is(err, "InvalidAction", "UnsupportedOperation") {
		return err
	}
	return pipeline.Errorf(pipeline.CodeConflict, op, "it counts as in use, because AWS does not say who uses it in %s: %w", r.region, err)
}

// shown is how many consumers an error names.
const shown = 5

// few names the first of a list, in order, and says how many more there are.
func few(list []string) string {
	slices.Sort(list)
	list = slices.Compact(list)
	if more := len(list) - shown; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:shown], ", "), more)
	}
	return strings.Join(list, ", ")
}

// depth is how many versions of a launch template are looked at, from the newest one on. It is
// AWS's own default: who rolls back goes that far.
const depth = 10

// references names what AWS knows to reference an image in the region. It looks no further than
// the first page with a reference.
func (r regional) references(ctx context.Context, image types.Image) (by []string, err error) {
	option := func(name types.ImageReferenceOptionName, values ...string) []types.ResourceTypeOption {
		return []types.ResourceTypeOption{{OptionName: name, OptionValues: values}}
	}
	pages := ec2.NewDescribeImageReferencesPaginator(r.ec2, &ec2.DescribeImageReferencesInput{
		ImageIds: []string{aws.ToString(image.ImageId)}, MaxResults: aws.Int32(100), ResourceTypes: []types.ResourceTypeRequest{
			{ResourceType: types.ImageReferenceResourceTypeEc2Instance, ResourceTypeOptions: option(types.ImageReferenceOptionNameStateName, instance.Alive.Values...)},
			{ResourceType: types.ImageReferenceResourceTypeEc2LaunchTemplate, ResourceTypeOptions: option(types.ImageReferenceOptionNameVersionDepth, strconv.Itoa(depth))},
			{ResourceType: types.ImageReferenceResourceTypeSsmParameter},
			{ResourceType: types.ImageReferenceResourceTypeImageBuilderImageRecipe},
			{ResourceType: types.ImageReferenceResourceTypeImageBuilderContainerRecipe},
		},
	})
	for pages.HasMorePages() && len(by) == 0 {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, ref := range page.ImageReferences {
			by = append(by, nameOf(aws.ToString(ref.Arn)))
		}
	}
	return by, nil
}

// nameOf puts an ARN into words: "instance i-1", "parameter /penstock/shop/base", "image recipe
// base/1.0.0".
func nameOf(arn string) string {
	_, resource, _ := strings.Cut(arn, "/")
	kind := arn[strings.LastIndex(strings.TrimSuffix(arn, "/"+resource), ":")+1:]
	kind, _, _ = strings.Cut(kind, "/")
	if kind == "parameter" && strings.Contains(resource, "/") { // a name without a path has no slash
		resource = "/" + resource
	}
	return strings.ReplaceAll(kind, "-", " ") + " " + resource
}

// launchers names the launch templates that would launch an image: by its ID, in a version that
// an Auto Scaling group names or that is the default, however old, and by a parameter that this
// installation wrote, in a version or with a label that says the image.
func (r regional) launchers(ctx context.Context, image types.Image) (by []string, err error) {
	versions, err := r.templateVersions(ctx)
	if err != nil {
		return nil, err
	}
	aliases := map[string][]string{} // names of templates, by what they resolve
	for _, v := range versions {
		if v.LaunchTemplateData == nil {
			continue
		}
		of, name := aws.ToString(v.LaunchTemplateData.ImageId), aws.ToString(v.LaunchTemplateName)
		if alias, ok := strings.CutPrefix(of, "resolve:ssm:"); ok {
			alias = pathOf(alias)
			aliases[alias] = append(aliases[alias], name)
		} else if of == aws.ToString(image.ImageId) {
			by = append(by, "launch template "+name)
		}
	}
	said, err := r.resolve(ctx, aliases)
	if err != nil {
		return nil, err
	}
	for alias, id := range said {
		for _, name := range aliases[alias] {
			if id == aws.ToString(image.ImageId) {
				by = append(by, "launch template "+name+" (by parameter "+alias+")")
			}
		}
	}
	return by, nil
}

// templateVersions returns the newest and the default version of each launch template, and
// those that Auto Scaling groups name.
func (r regional) templateVersions(ctx context.Context) ([]types.LaunchTemplateVersion, error) {
	all, err := r.versionsOf(ctx, &ec2.DescribeLaunchTemplateVersionsInput{Versions: []string{"$Latest", "$Default"}})
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, v := range all {
		known[fmt.Sprint(aws.ToString(v.LaunchTemplateId), " ", aws.ToInt64(v.VersionNumber))] = true
	}
	named := map[string][]string{} // versions, by template
	pages := autoscaling.NewDescribeAutoScalingGroupsPaginator(r.groups, &autoscaling.DescribeAutoScalingGroupsInput{MaxRecords: aws.Int32(100)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, g := range page.AutoScalingGroups {
			for _, t := range templatesOf(g) {
				id, v := aws.ToString(t.LaunchTemplateId), aws.ToString(t.Version)
				if v != "" && !strings.HasPrefix(v, "$") && !known[id+" "+v] {
					named[id], known[id+" "+v] = append(named[id], v), true
				}
			}
		}
	}
	for _, id := range stack.Sorted(named) {
		found, err := r.versionsNamed(ctx, id, named[id])
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// versionsNamed returns those of some versions of a launch template that are there: a group may
// outlive its template, or the version that it names. AWS refuses all versions for one that is
// not there, so that each is asked for alone then.
func (r regional) versionsNamed(ctx context.Context, id string, numbers []string) ([]types.LaunchTemplateVersion, error) {
	list, err := r.versionsOf(ctx, &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: aws.String(id), Versions: numbers})
	switch {
	case !cloud.IsNotFound(err):
		return list, err
	case len(numbers) == 1 || !cloud.Is(err, "InvalidLaunchTemplateId.VersionNotFound"):
		return nil, nil
	}
	for _, number := range numbers {
		one, err := r.versionsNamed(ctx, id, []string{number})
		if err != nil {
			return nil, err
		}
		list = append(list, one...)
	}
	return list, nil
}

// versionsOf returns versions of launch templates.
func (r regional) versionsOf(ctx context.Context, in *ec2.DescribeLaunchTemplateVersionsInput) (list []types.LaunchTemplateVersion, err error) {
	in.MaxResults = aws.Int32(200)
	pages := ec2.NewDescribeLaunchTemplateVersionsPaginator(r.ec2, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, page.LaunchTemplateVersions...)
	}
	return list, nil
}

// templatesOf returns the launch templates of an Auto Scaling group.
func templatesOf(g groups.AutoScalingGroup) (list []groups.LaunchTemplateSpecification) {
	if g.LaunchTemplate != nil {
		list = append(list, *g.LaunchTemplate)
	}
	if g.MixedInstancesPolicy == nil || g.MixedInstancesPolicy.LaunchTemplate == nil {
		return list
	}
	mixed := g.MixedInstancesPolicy.LaunchTemplate
	if mixed.LaunchTemplateSpecification != nil {
		list = append(list, *mixed.LaunchTemplateSpecification)
	}
	for _, o := range mixed.Overrides {
		if o.LaunchTemplateSpecification != nil {
			list = append(list, *o.LaunchTemplateSpecification)
		}
	}
	return list
}

// pathOf returns a parameter's name, with a version or a label if there is one, of what a
// launch template may have in its place: its ARN.
func pathOf(alias string) string {
	if _, name, ok := strings.Cut(alias, ":parameter/"); ok && strings.HasPrefix(alias, "arn:") {
		return "/" + name
	}
	return alias
}

// resolve returns what parameters of this installation say, by their names with a version or a
// label: "/penstock/shop/base:3". Those of others are not looked at, and what is not there says
// nothing.
func (r regional) resolve(ctx context.Context, aliases map[string][]string) (map[string]string, error) {
	if len(aliases) == 0 {
		return nil, nil
	}
	mine := map[string]bool{}
	pages := ssm.NewDescribeParametersPaginator(r.ssm, &ssm.DescribeParametersInput{
		MaxResults:       aws.Int32(50),
		ParameterFilters: []ssmtypes.ParameterStringFilter{{Key: aws.String("tag:" + stack.TagStack), Values: []string{r.stack.Settings.Stack}}},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, p := range page.Parameters {
			mine[aws.ToString(p.Name)] = true
		}
	}
	names := slices.DeleteFunc(stack.Sorted(aliases), func(alias string) bool {
		name, _, _ := strings.Cut(alias, ":")
		return !mine[name]
	})
	said := map[string]string{}
	for chunk := range slices.Chunk(names, maxParameters) {
		out, err := r.ssm.GetParameters(ctx, &ssm.GetParametersInput{Names: chunk})
		if err != nil {
			return nil, err
		}
		for _, p := range out.Parameters {
			alias := aws.ToString(p.Name)
			if by := strings.TrimPrefix(aws.ToString(p.Selector), ":"); by != "" {
				alias += ":" + by
			}
			said[alias] = aws.ToString(p.Value)
		}
	}
	return said, nil
}
