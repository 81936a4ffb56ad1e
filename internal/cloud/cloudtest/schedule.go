// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

// schedule is a schedule of EventBridge that happens once.
type schedule struct {
	GroupName             string
	ScheduleExpression    string
	ClientToken           string
	ActionAfterCompletion string
	Target                struct {
		Arn, Input, RoleArn string
		RetryPolicy         *struct{ MaximumRetryAttempts int }
	}

	region string
}

// due returns when a schedule happens. It is in UTC, to the second.
func (s schedule) due() (time.Time, error) {
	return time.Parse("at(2006-01-02T15:04:05)", s.ScheduleExpression)
}

// attempts is how often Scheduler makes a request that its service could not answer.
func (s schedule) attempts() int {
	if s.Target.RetryPolicy == nil {
		return 185
	}
	return 1 + s.Target.RetryPolicy.MaximumRetryAttempts
}

// keepSchedule remembers schedules: moto never carries them out. A time that has gone by is
// refused, and a request with the token of one before has no effect: it gets its answer.
func (a *account) keepSchedule(r *request) answer {
	name := path.Base(r.URL.Path)
	var s schedule
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		if err := json.Unmarshal(r.body, &s); err != nil {
			return r.fail(http.StatusBadRequest, "ValidationException", err.Error())
		}
		at, err := s.due()
		if err != nil {
			return r.fail(http.StatusBadRequest, "ValidationException", "Invalid Schedule Expression "+s.ScheduleExpression)
		}
		if at.Before(time.Now().Add(a.cloud.leads())) {
			return r.fail(http.StatusBadRequest, "ValidationException", "The schedule expression "+s.ScheduleExpression+" is in the past")
		}
	}
	if missing := a.missingGroup(r, s.GroupName); missing != nil {
		return *missing
	}
	token := r.Method + " " + name + " " + s.ClientToken
	digest := fmt.Sprintf("%x", sha256.Sum256(r.body))
	a.mu.Lock()
	before, repeated := a.launches[token]
	a.mu.Unlock()
	if s.ClientToken != "" && repeated && before.digest == digest {
		return before.answer
	}
	got := a.server.forward(r)
	if got.status != http.StatusOK {
		return got
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch r.Method {
	case http.MethodPost, http.MethodPut:
		s.region = r.region
		a.schedules[name], a.launches[token] = s, launch{digest, got}
	case http.MethodDelete:
		delete(a.schedules, name)
	}
	return got
}

// missingGroup refuses a schedule in a group that does not exist. That of the stack does:
// moto's CloudFormation makes none.
func (a *account) missingGroup(r *request, name string) *answer {
	if name == "" || name == "default" {
		return nil
	}
	if name != a.roles().stack.Outputs["LauncherScheduleGroup"] {
		got := r.fail(http.StatusNotFound, "ResourceNotFoundException", "Schedule group "+name+" does not exist.")
		return &got
	}
	a.scheduling.Lock()
	defer a.scheduling.Unlock()
	if !a.scheduled[r.region] {
		own := &request{Request: r.Clone(r.Context()), body: []byte("{}"), service: r.service, region: r.region, action: http.MethodPost, account: a}
		own.URL, own.Method = &url.URL{Path: "/schedule-groups/" + name}, http.MethodPost
		if got := a.server.forward(own); got.status != http.StatusOK {
			a.fault("moto makes no schedule group: %s", got.body)
		}
		a.scheduled[r.region] = true
	}
	return nil
}

// RunSchedules carries out the schedules that are due at a time, as AWS would: each
// makes its request, and is gone if it says so. It returns their names.
func (c *Cloud) RunSchedules(now time.Time) (names []string) {
	a := c.account()
	a.mu.Lock()
	due := map[string]schedule{}
	for name, s := range a.schedules {
		at, err := s.due()
		if err != nil {
			c.t.Errorf("schedule %s: %v", name, err)
		} else if !at.After(now) {
			due[name] = s
		}
	}
	a.mu.Unlock()
	for name, s := range due {
		names = append(names, name)
		var err error
		for n := range s.attempts() {
			if err = a.carryOut(s); !errors.Is(err, errBusy) {
				break
			}
			c.logf("schedule %s, attempt %d: %v", name, n+1, err)
		}
		if err != nil {
			c.t.Errorf("schedule %s: %v", name, err)
		}
		if s.ActionAfterCompletion != "DELETE" {
			continue
		}
		at := c.URL + "/schedules/" + name
		if s.GroupName != "" {
			at += "?groupName=" + s.GroupName
		}
		hr, err := http.NewRequest(http.MethodDelete, at, nil)
		if err != nil {
			c.t.Error(err)
			continue
		}
		hr.Header.Set("Authorization", c.authorization(s.region, "scheduler"))
		a.keepSchedule(&request{Request: hr, service: "scheduler", region: s.region, account: a})
	}
	return names
}

// errBusy is the error of a request that its service could not answer, and that Scheduler
// makes again.
var errBusy = errors.New("the service is busy")

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
	hr.Header.Set("Authorization", a.cloud.authorization(s.region, service))
	hr.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	r := &request{Request: hr, body: []byte(form.Encode()), service: service, region: s.region, action: form.Get("Action"), form: form, account: a}
	if err := a.judgeSchedule(s.Target.RoleArn, r); err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	if f := a.cloud.called(Call{Service: service, Region: s.region, Action: r.action, Path: "/", Role: r.role, At: time.Now()}); f != nil { // all of them pass by
		return fmt.Errorf("%s: %w: %s", target, errBusy, f.Code)
	}
	got := a.server.answer(r)
	if got.status != http.StatusOK {
		return fmt.Errorf("%s: %s", target, got.body)
	}
	return nil
}
