// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
)

// kinds are the names in ARNs of what an ID begins with.
var kinds = map[string]string{
	"i": "instance", "ami": "image", "snap": "snapshot", "lt": "launch-template", "vol": "volume", "eni": "network-interface", "subnet": "subnet",
	"sg": "security-group", "vpc": "vpc",
}

var ec2Tag = regexp.MustCompile(`(?s)<item>\s*<key>([^<]*)</key>\s*<resourceId>([^<]*)</resourceId>\s*<resourceType>[^<]*</resourceType>\s*<value(?:/>|>([^<]*)</value>)`)

// ec2 is EC2. What a request makes has the tags that it asks for, each kind its own; what
// is there has the tags that it has.
func (n naming) ec2() ([]iamtest.Request, error) {
	action, form := "ec2:"+n.action, n.form
	context := map[string][]string{"ec2:Region": {n.region}}
	switch n.action {
	case "RunInstances":
		return n.launch(form, ""), nil
	case "CreateImage":
		return n.making(append(n.machines([]string{form.Get("InstanceId")}), n.made("image"), n.made("snapshot"))), nil
	case "CopyImage":
		from := naming{n.request, n.a}
		there := *n.request
		there.region, from.request = form.Get("SourceRegion"), &there
		source := append([]iamtest.Resource{n.made("image"), n.made("snapshot")}, from.image(form.Get("SourceImageId"))...)
		calls := n.making(source)
		if key := form.Get("KmsKeyId"); key != "" {
			calls = append(calls, n.keyed(key)...)
		}
		return calls, nil
	case "DescribeImageReferences":
		return n.asksReferences(), nil
	case "CreateImageUsageReport":
		return n.making(append(n.there(n.region, form.Get("ImageId")), n.made("image-usage-report"))), nil
	case "DeleteImageUsageReport":
		return []iamtest.Request{{Action: action, Context: context, Resources: []iamtest.Resource{n.reportNamed(form.Get("ReportId"))}}}, nil
	case "CreateLaunchTemplate":
		return n.making([]iamtest.Resource{n.made("launch-template")}), nil
	case "DeleteLaunchTemplate":
		id := form.Get("LaunchTemplateId")
		if id == "" {
			found := n.a.query(n.request, "ec2", "DescribeLaunchTemplates", url.Values{"LaunchTemplateName.1": {form.Get("LaunchTemplateName")}})
			if m := templates.FindSubmatch(found.body); m != nil {
				id = string(m[1])
			}
		}
		if id == "" {
			return nil, nil // EC2 says that there is none
		}
		return []iamtest.Request{{Action: action, Context: context, Resources: n.there(n.region, id)}}, nil
	case "CreateTags", "DeleteTags":
		maps.Copy(context, iamtest.Asking(pairs(form, "Tag")))
		return []iamtest.Request{{Action: action, Context: context, Resources: n.there(n.region, numbered(form, "ResourceId")...)}}, nil
	}
	if !iamtest.Takes(action) {
		return one(action), nil
	}
	for _, key := range []string{"InstanceId", "ImageId", "SnapshotId", "VolumeId"} {
		ids := numbered(form, key)
		if id := form.Get(key); id != "" {
			ids = append(ids, id)
		}
		if len(ids) == 0 {
			continue
		}
		return []iamtest.Request{{Action: action, Context: context, Resources: n.there(n.region, ids...)}}, nil
	}
	return nil, fmt.Errorf("what %s names is not known: %v", action, form)
}

// ec2ARN returns the ARN of something of EC2. Images and snapshots have no account in
// theirs.
func (n naming) ec2ARN(region, kind, id string) string {
	account := n.a.cloud.ID
	n.a.mu.Lock()
	defer n.a.mu.Unlock()
	switch {
	case kind == "image" || kind == "snapshot":
		account = ""
	case kind == "subnet" && n.a.lender != "":
		account = n.a.lender
	}
	return fmt.Sprintf("arn:aws:ec2:%s:%s:%s/%s", region, account, kind, id)
}

// made returns what the request makes of a kind, whose ID is not known yet, with the tags
// that it asks for.
func (n naming) made(kind string) iamtest.Resource {
	_, tags := tagsFor(n.form, kind)
	return iamtest.Resource{ARN: n.ec2ARN(n.region, kind, "*"), Context: iamtest.Asking(pairs(tags, "Tag"))}
}

// making returns the calls of a request that makes things: its own, and the one by which
// they get their tags.
func (n naming) making(resources []iamtest.Resource) []iamtest.Request {
	context := map[string][]string{"ec2:Region": {n.region}}
	calls := []iamtest.Request{{Action: "ec2:" + n.action, Context: context, Resources: resources}}
	tag := iamtest.Request{Action: "ec2:CreateTags", Context: map[string][]string{"ec2:CreateAction": {n.action}, "ec2:Region": {n.region}}}
	for _, r := range resources {
		if len(r.Context["aws:TagKeys"]) > 0 && strings.HasSuffix(r.ARN, "/*") {
			tag.Resources = append(tag.Resources, r)
		}
	}
	if len(tag.Resources) > 0 {
		calls = append(calls, tag)
	}
	return calls
}

// there returns what is there, with its tags. Nothing has tags that does not exist.
func (n naming) there(region string, ids ...string) (list []iamtest.Resource) {
	filter := url.Values{"Filter.1.Name": {"resource-id"}}
	for i, id := range ids {
		filter.Set(fmt.Sprintf("Filter.1.Value.%d", i+1), id)
	}
	in := *n.request
	in.region = region
	tags := map[string]map[string]string{}
	for _, m := range ec2Tag.FindAllSubmatch(n.a.query(&in, "ec2", "DescribeTags", filter).body, -1) {
		if tags[string(m[2])] == nil {
			tags[string(m[2])] = map[string]string{}
		}
		tags[string(m[2])][string(m[1])] = string(m[3])
	}
	for _, id := range ids {
		kind, _, _ := strings.Cut(id, "-")
		list = append(list, iamtest.Resource{
			ARN: n.ec2ARN(region, kinds[kind], id), Tags: tags[id], Account: n.a.cloud.ID, // also what another one shares, which allows it
		})
	}
	return list
}

func (n naming) machines(ids []string) []iamtest.Resource { return n.there(n.region, ids...) }

var ownerID = regexp.MustCompile(`<imageOwnerId>([^<]*)</imageOwnerId>`)

// image returns an image that is there, with who owns it, and its snapshots.
func (n naming) image(id string) []iamtest.Resource {
	found := n.a.query(n.request, "ec2", "DescribeImages", url.Values{"ImageId.1": {id}})
	list := n.there(n.region, id)
	owner := ""
	if m := ownerID.FindSubmatch(found.body); m != nil {
		owner = string(m[1])
	}
	list[0].Context = map[string][]string{"ec2:ImageID": {id}}
	if owner != "" {
		list[0].Context["ec2:Owner"] = []string{owner}
	}
	if owner == n.a.cloud.ID {
		for _, m := range snapshotIDs.FindAllSubmatch(found.body, -1) {
			list = append(list, n.there(n.region, string(m[1]))...)
		}
	}
	return list
}

// launch returns the calls of a launch, of which a form says all: that of the request, or
// that of a launch template, by its ID.
func (n naming) launch(form url.Values, template string) []iamtest.Request {
	own := n
	own.request = &request{Request: n.Request, service: n.service, region: n.region, account: n.account, form: form, action: "RunInstances"}
	profile := form.Get("IamInstanceProfile.Name")
	if arn := form.Get("IamInstanceProfile.Arn"); arn != "" {
		_, profile, _ = strings.Cut(arn, "/")
	}
	instance := own.made("instance")
	for key, value := range map[string]string{
		"ec2:MetadataHttpTokens": form.Get("MetadataOptions.HttpTokens"), "ec2:MetadataHttpEndpoint": form.Get("MetadataOptions.HttpEndpoint"),
		"ec2:MetadataHttpPutResponseHopLimit": form.Get("MetadataOptions.HttpPutResponseHopLimit"), "ec2:InstanceType": form.Get("InstanceType"),
		"ec2:InstanceProfile": profile,
	} {
		if value != "" {
			instance.Context[key] = []string{value}
		}
	}
	resources := []iamtest.Resource{instance, own.made("network-interface"), own.made("volume")}
	if market := form.Get("InstanceMarketOptions.MarketType"); market == "spot" {
		instance.Context["ec2:InstanceMarketType"] = []string{market}
		resources = append(resources, own.made("spot-instances-request"))
	}
	ids := slices.Concat(numbered(form, "NetworkInterface.1.SecurityGroupId"), numbered(form, "SecurityGroupId"))
	for n := 1; form.Get(fmt.Sprintf("BlockDeviceMapping.%d.DeviceName", n)) != ""; n++ {
		if from := form.Get(fmt.Sprintf("BlockDeviceMapping.%d.Ebs.SnapshotId", n)); from != "" {
			ids = append(ids, from)
		}
	}
	for _, id := range []string{form.Get("ImageId"), form.Get("NetworkInterface.1.SubnetId"), form.Get("SubnetId"), template} {
		if id != "" {
			ids = append(ids, id)
		}
	}
	resources = append(resources, own.there(n.region, ids...)...)
	calls := own.making(resources)
	if profile != "" {
		calls = append(calls, passing(n.a.roleOf(profile), "ec2.amazonaws.com"))
	}
	return calls
}

// autoscaling is EC2 Auto Scaling. Who makes a group from a launch template must be able to
// launch from it.
func (n naming) autoscaling() ([]iamtest.Request, error) {
	action, form := "autoscaling:"+n.action, n.form
	if strings.HasPrefix(n.action, "Describe") {
		return one(action), nil
	}
	context := iamtest.Asking(pairs(form, "Tags.member"))
	if targets := numbered(form, "TargetGroupARNs.member"); len(targets) > 0 {
		context["autoscaling:TargetGroupARNs"] = targets
	}
	name := form.Get("AutoScalingGroupName")
	if name == "" {
		name = form.Get("Tags.member.1.ResourceId")
	}
	if name == "" {
		return nil, fmt.Errorf("what %s names is not known: %v", action, form)
	}
	group := iamtest.Resource{ARN: n.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/"+name)}
	if n.action != "CreateAutoScalingGroup" {
		found := n.a.query(n.request, "autoscaling", "DescribeAutoScalingGroups", url.Values{"AutoScalingGroupNames.member.1": {name}})
		group.Tags = tagsIn(found.body)
	}
	calls := []iamtest.Request{{Action: action, Context: context, Resources: []iamtest.Resource{group}}}
	for k, v := range form { // a hook tells who listens under a role
		if k == "RoleARN" || strings.HasPrefix(k, "LifecycleHookSpecificationList.") && strings.HasSuffix(k, ".RoleARN") {
			calls = append(calls, passing(v[0], "autoscaling.amazonaws.com"))
		}
	}
	for _, by := range []string{"LaunchTemplate.LaunchTemplateId", "LaunchTemplate.LaunchTemplateName"} {
		n.a.mu.Lock()
		t, ok := n.a.templates[form.Get(by)]
		n.a.mu.Unlock()
		if !ok {
			continue
		}
		data := t.launchData()
		if subnet, _, _ := strings.Cut(form.Get("VPCZoneIdentifier"), ","); subnet != "" {
			data.Set("SubnetId", subnet)
		}
		calls = append(calls, n.launch(data, t.id)...)
		break
	}
	return calls, nil
}
