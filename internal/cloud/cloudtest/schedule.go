// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

// schedule is a schedule of EventBridge that happens once.
type schedule struct {
	ScheduleExpression string
	Target             struct{ Arn, Input, RoleArn string }
}

// keepSchedule remembers schedules: moto never carries them out.
func (a *account) keepSchedule(r *request) answer {
	got := a.server.forward(r)
	name := path.Base(r.URL.Path)
	if got.status != http.StatusOK {
		return got
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch r.Method {
	case http.MethodPost, http.MethodPut:
		var s schedule
		if err := json.Unmarshal(r.body, &s); err != nil {
			a.cloud.logf("schedule %s: %v", name, err)
		}
		a.schedules[name] = s
	case http.MethodDelete:
		delete(a.schedules, name)
	}
	return got
}

// RunSchedules carries out the schedules that are due at a time, as AWS would: each
// makes its request, and is gone. It returns their names.
func (c *Cloud) RunSchedules(now time.Time) (names []string) {
	a := c.account()
	a.mu.Lock()
	due := map[string]schedule{}
	for name, s := range a.schedules {
		at, err := time.Parse("at(2006-01-02T15:04:05)", s.ScheduleExpression)
		if err != nil {
			c.t.Errorf("schedule %s: %v", name, err)
		} else if !at.After(now) {
			due[name] = s
		}
	}
	a.mu.Unlock()
	for name, s := range due {
		names = append(names, name)
		if err := a.carryOut(s); err != nil {
			c.t.Errorf("schedule %s: %v", name, err)
		}
		hr, err := http.NewRequest(http.MethodDelete, c.URL+"/schedules/"+name, nil)
		if err != nil {
			c.t.Error(err)
			continue
		}
		hr.Header.Set("Authorization", c.authorization("scheduler"))
		a.keepSchedule(&request{Request: hr, service: "scheduler", region: Region, account: a})
	}
	return names
}

// carryOut makes the request of a schedule's universal target.
func (a *account) carryOut(s schedule) error {
	_, target, _ := strings.Cut(s.Target.Arn, ":aws-sdk:")
	var input struct {
		InstanceIds          []string
		AutoScalingGroupName string
		ForceDelete          bool
		LoadBalancerArn      string
	}
	if err := json.Unmarshal([]byte(s.Target.Input), &input); err != nil {
		return err
	}
	service, form := "", url.Values{}
	switch target {
	case "ec2:terminateInstances":
		service = "ec2"
		form.Set("Action", "TerminateInstances")
		for n, id := range input.InstanceIds {
			form.Set(fmt.Sprintf("InstanceId.%d", n+1), id)
		}
	case "autoscaling:deleteAutoScalingGroup":
		service = "autoscaling"
		form = url.Values{"Action": {"DeleteAutoScalingGroup"}, "AutoScalingGroupName": {input.AutoScalingGroupName}, "ForceDelete": {fmt.Sprint(input.ForceDelete)}}
	case "elasticloadbalancingv2:deleteLoadBalancer":
		service = "elasticloadbalancing"
		form = url.Values{"Action": {"DeleteLoadBalancer"}, "LoadBalancerArn": {input.LoadBalancerArn}}
	default:
		return fmt.Errorf("the target %q is new to the test cloud", target)
	}
	form.Set("Version", versions[service])
	hr, err := http.NewRequest(http.MethodPost, a.cloud.URL+"/", nil)
	if err != nil {
		return err
	}
	hr.Header.Set("Authorization", a.cloud.authorization(service))
	hr.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	r := &request{Request: hr, body: []byte(form.Encode()), service: service, region: Region, action: form.Get("Action"), form: form, account: a}
	if err := a.judgeSchedule(s.Target.RoleArn, r); err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	got := a.server.answer(r)
	if got.status != http.StatusOK {
		return fmt.Errorf("%s: %s", target, got.body)
	}
	return nil
}
