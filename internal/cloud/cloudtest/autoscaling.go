// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	member       = regexp.MustCompile(`<InstanceId>(i-[0-9a-f]+)</InstanceId>`)
	groupTargets = regexp.MustCompile(`<member>(arn:[^<]*:targetgroup/[^<]+)</member>`)
)

// changeGroup makes the bodies of the instances that a change of an Auto Scaling
// group launches, and ends those that it terminates.
func (a *account) changeGroup(r *request) answer {
	name := r.form.Get("AutoScalingGroupName")
	a.mu.Lock()
	if _, exists := a.groups[name]; exists && r.action == "CreateAutoScalingGroup" { // moto would replace it
		a.mu.Unlock()
		return r.fail(http.StatusBadRequest, "AlreadyExists", "AutoScalingGroup by this name already exists - A group with the name "+name+" already exists")
	}
	if at := a.attached[name]; r.action == "DeleteAutoScalingGroup" && at != nil && at.warm != nil {
		a.mu.Unlock()
		return r.fail(http.StatusBadRequest, "ResourceInUse", "The group has a warm pool: delete that first.")
	}
	for _, by := range []string{"LaunchTemplate.LaunchTemplateId", "LaunchTemplate.LaunchTemplateName"} {
		if t, ok := a.templates[r.form.Get(by)]; ok {
			a.groups[name] = t
		}
	}
	a.mu.Unlock()
	got := a.change(r, name)
	if got.status != http.StatusOK {
		return got
	}
	a.keepAttributes(r, name)
	described := a.query(r, "autoscaling", "DescribeAutoScalingGroups", url.Values{"AutoScalingGroupNames.member.1": {name}})
	alive := map[string]bool{}
	for _, m := range member.FindAllSubmatch(described.body, -1) {
		alive[string(m[1])] = true
	}
	a.mu.Lock()
	from, before := a.groups[name], a.members[name]
	if r.action == "DeleteAutoScalingGroup" {
		delete(a.groups, name)
		delete(a.attached, name)
	}
	a.members[name] = nil
	for id := range alive {
		a.members[name] = append(a.members[name], id)
	}
	a.mu.Unlock()
	for _, id := range before {
		if i := a.instance(id); i != nil && !alive[id] {
			i.drain() // as AWS does with what is behind a load balancer
			i.halt(true)
		}
	}
	for id := range alive {
		if a.instance(id) == nil {
			a.launched(r.region, id, from.image, from.userData, true)
			a.scaled(r, from, id)
		}
	}
	return got
}

// change lets moto change a group. One that is deleted stays for a time, without
// instances and targets.
func (a *account) change(r *request, name string) answer {
	end := a.cloud.paced().End
	if r.action != "DeleteAutoScalingGroup" || end == 0 {
		return a.server.forward(r)
	}
	a.mu.Lock()
	_, ends := a.ending[name]
	if !ends {
		a.ending[name] = time.Now().Add(end)
	}
	a.mu.Unlock()
	if ends {
		return r.fail(http.StatusBadRequest, "ScalingActivityInProgress", "The group is being deleted.")
	}
	described := a.query(r, "autoscaling", "DescribeAutoScalingGroups", url.Values{"AutoScalingGroupNames.member.1": {name}})
	for _, target := range groupTargets.FindAllSubmatch(described.body, -1) {
		a.query(r, "autoscaling", "DetachLoadBalancerTargetGroups", url.Values{"AutoScalingGroupName": {name}, "TargetGroupARNs.member.1": {string(target[1])}})
	}
	return a.query(r, "autoscaling", "UpdateAutoScalingGroup", url.Values{"AutoScalingGroupName": {name}, "MinSize": {"0"}, "MaxSize": {"0"}, "DesiredCapacity": {"0"}})
}

// describeGroups shows groups that end, which moto forgets at once.
func (a *account) describeGroups(r *request) answer {
	a.mu.Lock()
	var ends, ended []string
	for name, at := range a.ending {
		if time.Now().Before(at) {
			ends = append(ends, name)
		} else {
			ended = append(ended, name)
			delete(a.ending, name)
		}
	}
	a.mu.Unlock()
	for _, name := range ended {
		a.query(r, "autoscaling", "DeleteAutoScalingGroup", url.Values{"AutoScalingGroupName": {name}, "ForceDelete": {"true"}})
	}
	got := a.server.forward(r)
	got.body = a.mendGroups(got.body)
	for _, name := range ends {
		element := "<AutoScalingGroupName>" + name + "</AutoScalingGroupName>"
		got.body = []byte(strings.ReplaceAll(string(got.body), element, element+"<Status>Delete in progress</Status>"))
	}
	return got
}

// Activity is a scaling activity of an Auto Scaling group.
type Activity struct{ ID, Status, Message string }

// SetActivities sets the scaling activities that every group of the account shows, the
// newest first. Moto knows none.
func (c *Cloud) SetActivities(list ...Activity) {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.activities = list
}

func (a *account) describeActivities(r *request) answer {
	a.mu.Lock()
	list := a.activities
	a.mu.Unlock()
	if most, err := strconv.Atoi(r.form.Get("MaxRecords")); err == nil {
		list = list[:min(len(list), most)]
	}
	var b strings.Builder
	for _, one := range list {
		fmt.Fprintf(&b, "<member><ActivityId>%s</ActivityId><AutoScalingGroupName>%s</AutoScalingGroupName><StatusCode>%s</StatusCode><StatusMessage>%s</StatusMessage></member>",
			one.ID, escape(r.form.Get("AutoScalingGroupName")), one.Status, escape(one.Message))
	}
	return xml(http.StatusOK, `<DescribeScalingActivitiesResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><DescribeScalingActivitiesResult><Activities>`+
		b.String()+"</Activities></DescribeScalingActivitiesResult></DescribeScalingActivitiesResponse>")
}
