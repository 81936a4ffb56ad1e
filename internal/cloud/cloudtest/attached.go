// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What is attached to Auto Scaling groups. Moto keeps policies by their names alone, so that
// two groups can't have one of the same name, and it has no notifications.

// attached is what one Auto Scaling group has beside its instances, each by its name.
type attached struct {
	attributes    map[string]any            // of the group itself
	policies      map[string]map[string]any // by PolicyName
	actions       map[string]map[string]any // by ScheduledActionName
	hooks         map[string]map[string]any // by LifecycleHookName
	notifications map[string]map[string]any // by topic and type
	suspended     map[string]bool           // processes
	metrics       map[string]bool           // that are collected
	warm          map[string]any            // nil for no warm pool
}

// groupAttributes are the parameters of a group that moto forgets, or can't change.
var groupAttributes = []string{
	"TerminationPolicies", "DefaultCooldown", "DefaultInstanceWarmup", "InstanceMaintenancePolicy", "MaxInstanceLifetime", "CapacityRebalance",
	"NewInstancesProtectedFromScaleIn",
}

// processes are those that can be suspended.
var processes = []string{
	"Launch", "Terminate", "AddToLoadBalancer", "AlarmNotification", "AZRebalance", "HealthCheck", "InstanceRefresh", "ReplaceUnhealthy", "ScheduledActions",
}

// groupMetrics are those that a group may collect.
var groupMetrics = []string{
	"GroupMinSize", "GroupMaxSize", "GroupDesiredCapacity", "GroupInServiceInstances", "GroupPendingInstances", "GroupStandbyInstances",
	"GroupTerminatingInstances", "GroupTotalInstances",
}

// tree returns the parameters of a query as structures: maps, lists and texts.
func tree(form url.Values) map[string]any {
	root := map[string]any{}
	for key, values := range form {
		at, parts := root, strings.Split(key, ".")
		for _, part := range parts[:len(parts)-1] {
			next, ok := at[part].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[part] = next
			}
			at = next
		}
		at[parts[len(parts)-1]] = values[0]
	}
	return listed(root).(map[string]any)
}

// listed makes lists of what a query counts.
func listed(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for k, child := range m {
		m[k] = listed(child)
	}
	counted, ok := m["member"].(map[string]any)
	if !ok {
		return m
	}
	var list []any
	for i := 1; counted[strconv.Itoa(i)] != nil; i++ {
		list = append(list, counted[strconv.Itoa(i)])
	}
	return list
}

// render returns structures as XML.
func render(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var b strings.Builder
		for _, k := range slices.Sorted(maps.Keys(v)) {
			fmt.Fprintf(&b, "<%s>%s</%s>", k, render(v[k]), k)
		}
		return b.String()
	case []any:
		var b strings.Builder
		for _, one := range v {
			b.WriteString("<member>" + render(one) + "</member>")
		}
		return b.String()
	default:
		return escape(fmt.Sprint(v))
	}
}

// scaled answers a request of Auto Scaling.
func scaled(action string, result map[string]any) answer {
	return xml(http.StatusOK, fmt.Sprintf(`<%sResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><%sResult>%s</%sResult></%sResponse>`,
		action, action, render(result), action, action))
}

// all returns structures in the order of their names.
func all(by map[string]map[string]any) []any {
	list := []any{}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		list = append(list, by[name])
	}
	return list
}

// attachment returns what a group has; the caller holds the account's lock.
func (a *account) attachment(group string) *attached {
	had := a.attached[group]
	if had == nil {
		had = &attached{
			attributes: map[string]any{"TerminationPolicies": []any{"Default"}, "DefaultCooldown": "300"},
			policies:   map[string]map[string]any{}, actions: map[string]map[string]any{}, hooks: map[string]map[string]any{},
			notifications: map[string]map[string]any{}, suspended: map[string]bool{}, metrics: map[string]bool{},
		}
		a.attached[group] = had
	}
	return had
}

// attach changes or shows what a group has beside its instances.
func (a *account) attach(r *request) answer {
	in := tree(r.form)
	name := r.form.Get("AutoScalingGroupName")
	a.mu.Lock()
	defer a.mu.Unlock()
	if strings.HasPrefix(r.action, "Describe") {
		return a.attachments(r, name)
	}
	if _, there := a.groups[name]; !there {
		return r.fail(http.StatusBadRequest, "ValidationError", "Group "+name+" not found")
	}
	at := a.attachment(name)
	own := maps.Clone(in)
	delete(own, "Action")
	delete(own, "Version")
	result := map[string]any{}
	switch r.action {
	case "PutScalingPolicy":
		if why := a.wrongPolicy(name, in); why != "" {
			return r.fail(http.StatusBadRequest, "ValidationError", why)
		}
		arn := fmt.Sprintf("arn:aws:autoscaling:%s:%s:scalingPolicy:%08x-0000-0000-0000-000000000000:autoScalingGroupName/%s:policyName/%s", r.region, a.cloud.ID, len(name), name, in["PolicyName"])
		own["PolicyARN"], result["PolicyARN"] = arn, arn
		if own["PolicyType"] == nil {
			own["PolicyType"] = "SimpleScaling"
		}
		if own["Enabled"] == nil {
			own["Enabled"] = "true"
		}
		at.policies[text(in, "PolicyName")] = own
	case "DeletePolicy":
		delete(at.policies, text(in, "PolicyName"))
	case "PutScheduledUpdateGroupAction":
		if why := wrongAction(in); why != "" {
			return r.fail(http.StatusBadRequest, "ValidationError", why)
		}
		at.actions[text(in, "ScheduledActionName")] = own
	case "DeleteScheduledAction":
		delete(at.actions, text(in, "ScheduledActionName"))
	case "PutLifecycleHook":
		at.hooks[text(in, "LifecycleHookName")] = own
	case "DeleteLifecycleHook":
		delete(at.hooks, text(in, "LifecycleHookName"))
	case "PutNotificationConfiguration":
		for _, kind := range list(in["NotificationTypes"]) {
			at.notifications[text(in, "TopicARN")+" "+kind] = map[string]any{"AutoScalingGroupName": name, "TopicARN": in["TopicARN"], "NotificationType": kind}
		}
	case "DeleteNotificationConfiguration":
		maps.DeleteFunc(at.notifications, func(k string, _ map[string]any) bool { return strings.HasPrefix(k, text(in, "TopicARN")+" ") })
	case "PutWarmPool":
		delete(own, "AutoScalingGroupName")
		at.warm = own
	case "DeleteWarmPool":
		if at.warm == nil {
			return r.fail(http.StatusBadRequest, "ValidationError", "No warm pool found for Auto Scaling group "+name)
		}
		at.warm = nil
	case "SuspendProcesses", "ResumeProcesses":
		for _, p := range some(list(in["ScalingProcesses"]), processes) {
			at.suspended[p] = r.action == "SuspendProcesses"
		}
	case "EnableMetricsCollection", "DisableMetricsCollection":
		for _, m := range some(list(in["Metrics"]), groupMetrics) {
			at.metrics[m] = r.action == "EnableMetricsCollection"
		}
	}
	return scaled(r.action, result)
}

func text(in map[string]any, key string) string { s, _ := in[key].(string); return s }

func list(v any) (texts []string) {
	all, _ := v.([]any)
	for _, one := range all {
		texts = append(texts, fmt.Sprint(one))
	}
	return texts
}

// some returns the listed, and where none is, all.
func some(listed, all []string) []string {
	if len(listed) == 0 {
		return all
	}
	return listed
}

// attachments answers what asks for one kind of them; without a group for those of all.
func (a *account) attachments(r *request, name string) answer {
	names := some(numbered(r.form, "AutoScalingGroupNames.member"), []string{name})
	if names[0] == "" {
		names = slices.Sorted(maps.Keys(a.groups))
	}
	found := []any{}
	for _, name := range names {
		at := a.attachment(name)
		switch r.action {
		case "DescribePolicies":
			found = append(found, all(at.policies)...)
		case "DescribeScheduledActions":
			found = append(found, all(at.actions)...)
		case "DescribeLifecycleHooks":
			found = append(found, all(at.hooks)...)
		case "DescribeNotificationConfigurations":
			found = append(found, all(at.notifications)...)
		case "DescribeWarmPool":
			if at.warm == nil {
				return scaled(r.action, map[string]any{"Instances": found})
			}
			return scaled(r.action, map[string]any{"Instances": found, "WarmPoolConfiguration": at.warm})
		}
	}
	return scaled(r.action, map[string]any{map[string]string{
		"DescribePolicies": "ScalingPolicies", "DescribeScheduledActions": "ScheduledUpdateGroupActions", "DescribeLifecycleHooks": "LifecycleHooks",
		"DescribeNotificationConfigurations": "NotificationConfigurations",
	}[r.action]: found})
}

var requestLabel = regexp.MustCompile(`^app/[^/]+/[0-9a-f]+/(targetgroup/[^/]+/[0-9a-f]+)$`)

// wrongPolicy returns what AWS refuses of a scaling policy.
func (a *account) wrongPolicy(group string, in map[string]any) string {
	kind, configured := text(in, "PolicyType"), in["TargetTrackingConfiguration"] != nil
	if (kind == "TargetTrackingScaling") != configured {
		return "TargetTrackingConfiguration does not fit the policy type " + kind
	}
	if !configured {
		return ""
	}
	config, _ := in["TargetTrackingConfiguration"].(map[string]any)
	metric, _ := config["PredefinedMetricSpecification"].(map[string]any)
	if text(metric, "PredefinedMetricType") != "ALBRequestCountPerTarget" {
		return ""
	}
	label := requestLabel.FindStringSubmatch(text(metric, "ResourceLabel"))
	if label == nil {
		return "You must specify a valid resource label in the format app/<lb name>/<id>/targetgroup/<tg name>/<id>."
	}
	for _, arn := range a.groupTargets[group] {
		if strings.HasSuffix(arn, ":"+label[1]) {
			return ""
		}
	}
	return "The load balancer target group " + label[1] + " is not attached to the Auto Scaling group."
}

// wrongAction returns what AWS refuses of a scheduled action.
func wrongAction(in map[string]any) string {
	start, err := time.Parse(time.RFC3339, text(in, "StartTime"))
	switch {
	case err == nil && start.Before(time.Now()):
		return "Given start time is in the past"
	case err != nil && text(in, "Recurrence") == "":
		return "Either a start time or a recurrence is required"
	case in["MinSize"] == nil && in["MaxSize"] == nil && in["DesiredCapacity"] == nil:
		return "At least one of MinSize, MaxSize and DesiredCapacity is required"
	}
	return ""
}

// keepAttributes keeps what a request says of a group that moto does not keep.
func (a *account) keepAttributes(r *request, group string) {
	in := tree(r.form)
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.action == "CreateAutoScalingGroup" {
		delete(a.attached, group)
		a.groupTargets[group] = list(in["TargetGroupARNs"])
	}
	at := a.attachment(group)
	for _, k := range groupAttributes {
		if v, ok := in[k]; ok {
			at.attributes[k] = v
		}
	}
	hooks, _ := in["LifecycleHookSpecificationList"].([]any)
	for _, h := range hooks {
		if hook, ok := h.(map[string]any); ok {
			hook["AutoScalingGroupName"] = group
			at.hooks[text(hook, "LifecycleHookName")] = hook
		}
	}
}

var (
	forgotten   = elements(append([]string{"SuspendedProcesses", "EnabledMetrics", "WarmPoolConfiguration"}, groupAttributes...)...)
	groupMember = regexp.MustCompile(`<AutoScalingGroupName>([^<]+)</AutoScalingGroupName>`)
)

// elements matches elements of some names.
func elements(names ...string) *regexp.Regexp {
	var each []string
	for _, name := range names {
		each = append(each, `<`+name+` ?/>|<`+name+`>.*?</`+name+`>`)
	}
	return regexp.MustCompile(`(?s)` + strings.Join(each, "|"))
}

// mendGroups says of groups what they have beside their instances.
func (a *account) mendGroups(body []byte) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return groupMember.ReplaceAllFunc(forgotten.ReplaceAll(body, nil), func(b []byte) []byte {
		at := a.attachment(string(groupMember.FindSubmatch(b)[1]))
		more := maps.Clone(at.attributes)
		suspended, metrics := []any{}, []any{}
		for _, p := range processes {
			if at.suspended[p] {
				suspended = append(suspended, map[string]any{"ProcessName": p, "SuspensionReason": "User suspended"})
			}
		}
		for _, m := range groupMetrics {
			if at.metrics[m] {
				metrics = append(metrics, map[string]any{"Metric": m, "Granularity": "1Minute"})
			}
		}
		more["SuspendedProcesses"], more["EnabledMetrics"] = suspended, metrics
		if at.warm != nil {
			more["WarmPoolConfiguration"] = at.warm
		}
		return slices.Concat(b, []byte(render(more)))
	})
}
