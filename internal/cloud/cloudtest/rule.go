// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// route is what a listener does with requests: by default, or by a rule.
type route struct {
	priority     int
	hosts, paths []string // patterns; none: any
	header       string   // name; empty: any
	values       []string // patterns of the header's value

	weights map[string]int       // by target group
	sticky  bool                 // clients stay with a target group
	since   map[string]time.Time // from when on target groups are in the action
}

// The limits of Elastic Load Balancing on rules.
const (
	maxRules       = 100 // of a load balancer, beside the default ones
	maxActionGroup = 5   // target groups in an action
)

var ruleArn = regexp.MustCompile(`<RuleArn>([^<]+)</RuleArn>`)

// matches reports whether a request meets the conditions of a rule.
func (r *route) matches(hr *http.Request) bool {
	host, _, err := net.SplitHostPort(hr.Host)
	if err != nil {
		host = hr.Host
	}
	any := func(patterns []string, value string) bool {
		return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { ok, _ := path.Match(p, value); return ok || wild(p, value) })
	}
	return any(r.hosts, strings.ToLower(host)) && any(r.paths, hr.URL.Path) && (r.header == "" || any(r.values, hr.Header.Get(r.header)))
}

// wild matches a pattern in which * stands for any characters, a slash among them.
func wild(pattern, value string) bool {
	quoted := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
	return regexp.MustCompile("^" + quoted + "$").MatchString(value)
}

// take takes over what a request says of a route's action.
func (r *route) take(form url.Values, prefix string) {
	weights, since := forwardWeights(form, prefix), map[string]time.Time{}
	for group := range weights {
		since[group] = time.Now()
		if had, ok := r.since[group]; ok {
			since[group] = had
		}
	}
	r.weights, r.since = weights, since
	r.sticky = form.Get(prefix+"ForwardConfig.TargetGroupStickinessConfig.Enabled") == "true"
}

// conditions takes over what a request says of a rule's conditions.
func (r *route) conditions(form url.Values) {
	r.hosts, r.paths, r.header, r.values = nil, nil, "", nil
	for n := 1; ; n++ {
		at := fmt.Sprintf("Conditions.member.%d.", n)
		if !form.Has(at + "Field") {
			return
		}
		switch form.Get(at + "Field") {
		case "host-header":
			r.hosts = numbered(form, at+"HostHeaderConfig.Values.member")
		case "path-pattern":
			r.paths = numbered(form, at+"PathPatternConfig.Values.member")
		case "http-header":
			r.header, r.values = form.Get(at+"HttpHeaderConfig.HttpHeaderName"), numbered(form, at+"HttpHeaderConfig.Values.member")
		}
	}
}

// of returns the listener of a rule, and the rule; nil for none.
func (a elbAPI) ruleOf(arn string) (*listener, *route) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.listeners {
		l.mu.Lock()
		r := l.rules[arn]
		l.mu.Unlock()
		if r != nil {
			return l, r
		}
	}
	return nil, nil
}

// tooMany refuses an action of more target groups than AWS takes.
func tooMany(r *request) *answer {
	if len(forwardWeights(r.form, "Actions.member.1.")) <= maxActionGroup {
		return nil
	}
	got := r.fail(http.StatusBadRequest, "TooManyTargetGroups", "You've reached the limit on the number of target groups per action")
	return &got
}

func (a elbAPI) createRule(r *request) answer {
	a.mu.Lock()
	l := a.listeners[r.form.Get("ListenerArn")]
	rules := 0
	for _, other := range a.listeners {
		if l != nil && other.address == l.address {
			other.mu.Lock()
			rules += len(other.rules)
			other.mu.Unlock()
		}
	}
	a.mu.Unlock()
	if refused := tooMany(r); refused != nil {
		return *refused
	}
	if rules >= maxRules {
		return r.fail(http.StatusBadRequest, "TooManyRules", "The maximum number of rules has been reached")
	}
	got := a.server.forward(r)
	m := ruleArn.FindSubmatch(got.body)
	if l == nil || got.status != http.StatusOK || m == nil {
		return got
	}
	own := &route{}
	own.priority, _ = strconv.Atoi(r.form.Get("Priority"))
	own.conditions(r.form)
	own.take(r.form, "Actions.member.1.")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rules[string(m[1])] = own
	return got
}

func (a elbAPI) modifyRule(r *request) answer {
	if refused := tooMany(r); refused != nil {
		return *refused
	}
	got := a.server.forward(r)
	if l, rule := a.ruleOf(r.form.Get("RuleArn")); rule != nil && got.status == http.StatusOK {
		l.mu.Lock()
		defer l.mu.Unlock()
		if r.form.Has("Conditions.member.1.Field") {
			rule.conditions(r.form)
		}
		if r.form.Has("Actions.member.1.Type") {
			rule.take(r.form, "Actions.member.1.")
		}
	}
	return got
}

// deleteRule says which rule does not exist; moto says that it has removed one.
func (a elbAPI) deleteRule(r *request) answer {
	arn := r.form.Get("RuleArn")
	l, rule := a.ruleOf(arn)
	if rule == nil {
		return r.fail(http.StatusBadRequest, "RuleNotFound", "One or more rules not found")
	}
	got := a.server.forward(r)
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.rules, arn)
	return got
}

// routes returns what a listener does: its rules by their priorities, and then by default. The
// caller holds its lock.
func (l *listener) routes() []*route {
	list := make([]*route, 0, len(l.rules)+1)
	for _, r := range l.rules {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *route) int { return a.priority - b.priority })
	return append(list, &l.route)
}
