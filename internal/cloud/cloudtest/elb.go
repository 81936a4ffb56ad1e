// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// template is a launch template, or what an Auto Scaling group launches from.
type template struct {
	id, image, userData string
	form                url.Values // that made it
}

// target is a target group.
type target struct {
	port   int
	path   string
	expect string
}

// balancer is a load balancer: a loopback address.
type balancer struct {
	address   string
	protected bool // against deletion
}

// listener forwards what it gets to its target groups.
type listener struct {
	api     elbAPI
	address string

	mu     sync.Mutex
	server *httptest.Server
	port   string
	secure *tls.Config       // of HTTPS; nil for HTTP
	route                    // by default
	rules  map[string]*route // by ARN
}

var (
	arns      = regexp.MustCompile(`<(TargetGroupArn|LoadBalancerArn|ListenerArn)>([^<]+)</`)
	dnsName   = regexp.MustCompile(`<DNSName>[^<]*</DNSName>`)
	templates = regexp.MustCompile(`<launchTemplateId>(lt-[0-9a-f]+)</launchTemplateId>`)
	health    = regexp.MustCompile(`(?s)<TargetHealthDescriptions>.*</TargetHealthDescriptions>`)
	targetID  = regexp.MustCompile(`<Id>(i-[0-9a-f]+)</Id>`)
)

func arn(body []byte, kind string) string {
	for _, m := range arns.FindAllSubmatch(body, -1) {
		if string(m[1]) == kind {
			return string(m[2])
		}
	}
	return ""
}

func (a *account) createLaunchTemplate(r *request) answer {
	token, digest := "template "+r.form.Get("ClientToken"), fmt.Sprintf("%x", sha256.Sum256([]byte(r.form.Encode())))
	a.mu.Lock()
	before, repeated := a.launches[token]
	_, there := a.templates[r.form.Get("LaunchTemplateName")]
	repeated = repeated && there
	a.mu.Unlock()
	switch {
	case repeated && before.digest != digest:
		return mismatch(r)
	case repeated:
		return before.answer
	}
	if text, err := base64.StdEncoding.DecodeString(r.form.Get("LaunchTemplateData.UserData")); err == nil && len(text) > maxUserData {
		return r.fail(http.StatusBadRequest, "InvalidUserData.Malformed", "User data is limited to 16384 bytes")
	}
	id := r.form.Get("LaunchTemplateData.ImageId")
	form := url.Values{}
	maps.Copy(form, r.form)
	if a.sharedBy(r.region, id) != nil { // moto knows no images that other accounts share
		form.Set("LaunchTemplateData.ImageId", BaseImage)
	}
	got := a.query(r, "ec2", "CreateLaunchTemplate", form)
	if m := templates.FindSubmatch(got.body); got.status == http.StatusOK && m != nil {
		t := template{string(m[1]), id, r.form.Get("LaunchTemplateData.UserData"), r.form}
		a.mu.Lock()
		if r.form.Get("ClientToken") != "" {
			a.launches[token] = launch{digest, got}
		}
		a.templates[string(m[1])], a.templates[r.form.Get("LaunchTemplateName")] = t, t
		a.mu.Unlock()
	}
	return got
}

// deleteLaunchTemplate says which template does not exist; moto says something else.
func (a *account) deleteLaunchTemplate(r *request) answer {
	name := r.form.Get("LaunchTemplateName")
	a.mu.Lock()
	_, known := a.templates[name]
	delete(a.templates, name)
	a.mu.Unlock()
	if name != "" && !known {
		return r.fail(http.StatusBadRequest, "InvalidLaunchTemplateName.NotFoundException", "At least one of the launch templates specified in the request does not exist.")
	}
	return a.server.forward(r)
}

// elbAPI are the load balancers of an account, and what they send requests to.
type elbAPI struct{ *account }

func (a elbAPI) createTargetGroup(r *request) answer {
	got := a.server.forward(r)
	if id := arn(got.body, "TargetGroupArn"); got.status == http.StatusOK {
		t := target{path: r.form.Get("HealthCheckPath"), expect: r.form.Get("Matcher.HttpCode")}
		t.port, _ = strconv.Atoi(r.form.Get("Port"))
		a.mu.Lock()
		a.targets[id] = t
		a.mu.Unlock()
	}
	return got
}

// describeTargetHealth says what the targets themselves answer.
func (a elbAPI) describeTargetHealth(r *request) answer {
	got := a.server.forward(r)
	if got.status != http.StatusOK {
		return got
	}
	group := r.form.Get("TargetGroupArn")
	list := ""
	for _, m := range targetID.FindAllSubmatch(got.body, -1) {
		state, reason, why := a.targetState(r.Context(), group, string(m[1]))
		if reason != "" {
			reason = "<Reason>" + reason + "</Reason><Description>" + why + "</Description>"
		}
		list += fmt.Sprintf("<member><Target><Id>%s</Id><Port>%d</Port></Target><TargetHealth><State>%s</State>%s</TargetHealth></member>", m[1], a.target(group).port, state, reason)
	}
	got.body = health.ReplaceAll(got.body, []byte("<TargetHealthDescriptions>"+list+"</TargetHealthDescriptions>"))
	return got
}

func (a elbAPI) target(arn string) target {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.targets[arn]
}

// targetState returns the state of a target with its reason, as AWS has them. A target group
// that no listener uses checks nothing, and a target is not used before it was checked.
func (a elbAPI) targetState(ctx context.Context, group, id string) (state, reason, why string) {
	i := a.instance(id)
	a.mu.Lock()
	since, used := time.Time{}, false
	for _, l := range a.listeners {
		l.mu.Lock()
		for _, r := range l.routes() {
			if _, ok := r.weights[group]; ok && (!used || r.since[group].Before(since)) {
				since, used = r.since[group], true
			}
		}
		l.mu.Unlock()
	}
	a.mu.Unlock()
	switch {
	case i == nil || i.state() != "":
		return "unused", "Target.InvalidState", "Target is not in the running state"
	case i.drains():
		return "draining", "Target.DeregistrationInProgress", "Target deregistration is in progress"
	case !used:
		return "unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer"
	}
	if launched := i.launched(); launched.After(since) {
		since = launched
	}
	age, register := time.Since(since), a.cloud.paced().Register
	switch {
	case age < register/2:
		return "initial", "Elb.RegistrationInProgress", "Target registration is in progress"
	case age < register:
		return "initial", "Elb.InitialHealthChecking", "Initial health checks in progress"
	case a.healthy(ctx, group, id):
		return "healthy", "", ""
	}
	return "unhealthy", "Target.FailedHealthChecks", "Health checks failed"
}

func (a elbAPI) healthy(ctx context.Context, group, id string) bool {
	i, t := a.instance(id), a.target(group)
	if i == nil || i.state() != "" || i.drains() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(i.address, strconv.Itoa(t.port))+t.path, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode < 300 || t.expect == "200-499" && resp.StatusCode < 500
}

func (a elbAPI) createLoadBalancer(r *request) answer {
	got := a.server.forward(r)
	if id := arn(got.body, "LoadBalancerArn"); got.status == http.StatusOK {
		h := fnv.New32a()
		_, _ = h.Write([]byte(id))
		n := h.Sum32()
		a.mu.Lock()
		if a.balancers[id] == nil {
			a.balancers[id] = &balancer{address: fmt.Sprintf("127.%d.%d.%d", 120+n%100, n>>8%250, 1+n>>16%250)}
		}
		a.mu.Unlock()
	}
	return a.mendBalancers(got)
}

func (a elbAPI) describeLoadBalancers(r *request) answer {
	return a.mendBalancers(a.server.forward(r))
}

// mendBalancers puts the addresses of the load balancers in place of their names.
func (a elbAPI) mendBalancers(got answer) answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	item := regexp.MustCompile(`(?s)<member>\s*<LoadBalancerArn>.*?</DNSName>|<LoadBalancerArn>.*?</DNSName>`)
	got.body = item.ReplaceAllFunc(got.body, func(b []byte) []byte {
		if known := a.balancers[arn(b, "LoadBalancerArn")]; known != nil {
			return dnsName.ReplaceAll(b, []byte("<DNSName>"+known.address+"</DNSName>"))
		}
		return b
	})
	return got
}

// modifyAttributes takes note of the protection against deletion, which moto knows and does
// not give.
func (a elbAPI) modifyAttributes(r *request) answer {
	got := a.server.forward(r)
	a.mu.Lock()
	defer a.mu.Unlock()
	if b := a.balancers[r.form.Get("LoadBalancerArn")]; b != nil && got.status == http.StatusOK {
		for i := 1; r.form.Has(fmt.Sprintf("Attributes.member.%d.Key", i)); i++ {
			if r.form.Get(fmt.Sprintf("Attributes.member.%d.Key", i)) == "deletion_protection.enabled" {
				b.protected = r.form.Get(fmt.Sprintf("Attributes.member.%d.Value", i)) == "true"
			}
		}
	}
	return got
}

func (a elbAPI) deleteLoadBalancer(r *request) answer {
	a.mu.Lock()
	b := a.balancers[r.form.Get("LoadBalancerArn")]
	protected := b != nil && b.protected
	a.mu.Unlock()
	if protected {
		return r.fail(http.StatusBadRequest, "OperationNotPermitted", "Load balancer cannot be deleted because deletion protection is enabled")
	}
	got := a.server.forward(r)
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.balancers, r.form.Get("LoadBalancerArn"))
	return got
}

// defaultAction begins the parameters of a listener's default action.
const defaultAction = "DefaultActions.member.1."

// forwardWeights reads the weights of an action, whose parameters begin with prefix.
func forwardWeights(form url.Values, prefix string) map[string]int {
	weights := map[string]int{}
	if one := form.Get(prefix + "TargetGroupArn"); one != "" {
		weights[one] = 1
	}
	for n := 1; ; n++ {
		at := fmt.Sprintf("%sForwardConfig.TargetGroups.member.%d.", prefix, n)
		group := form.Get(at + "TargetGroupArn")
		if group == "" {
			return weights
		}
		w, err := strconv.Atoi(form.Get(at + "Weight"))
		if err != nil {
			w = 1
		}
		weights[group] = w
	}
}

// once answers a repeated request to make what the same request has made, and nobody has
// changed anything since, as before: Elastic Load Balancing makes it at most once.
func (a *account) once(r *request, do func() answer) answer {
	if r.service != "elasticloadbalancing" {
		return do()
	}
	creates, key := strings.HasPrefix(r.action, "Create") && r.action != "CreateRule", r.form.Encode()
	a.mu.Lock()
	before, repeated := a.repeats[key]
	a.mu.Unlock()
	if creates && repeated {
		return before
	}
	got := do()
	a.mu.Lock()
	defer a.mu.Unlock()
	if creates && got.status == http.StatusOK {
		a.repeats[key] = got
	} else if !looks.MatchString(r.action) {
		clear(a.repeats)
	}
	return got
}

func (a elbAPI) createListener(r *request) answer {
	a.mu.Lock()
	b := a.balancers[r.form.Get("LoadBalancerArn")]
	a.mu.Unlock()
	if b == nil {
		return a.server.forward(r)
	}
	own := &listener{api: a, address: b.address, rules: map[string]*route{}}
	own.forward(r.form)
	if code, err := own.listen(r.form); err != nil {
		return r.fail(http.StatusBadRequest, code, err.Error())
	}
	got := a.server.forward(r)
	if got.status != http.StatusOK {
		own.close()
		return got
	}
	a.mu.Lock()
	a.listeners[arn(got.body, "ListenerArn")] = own
	a.mu.Unlock()
	return got
}

// listen serves where and as a request says, and no longer as it did before.
func (l *listener) listen(form url.Values) (code string, err error) {
	port, secure := form.Get("Port"), (*tls.Config)(nil)
	if form.Get("Protocol") == "HTTPS" {
		if secure, err = l.api.secured(form); err != nil {
			return "CertificateNotFound", err
		}
	}
	l.mu.Lock()
	before, samePort := l.server, l.port == port
	same := samePort && (l.secure == nil) == (secure == nil)
	if same && secure != nil {
		l.secure = secure
	}
	l.mu.Unlock()
	if same || port == "" {
		return "", nil
	}
	if samePort {
		_ = before.Config.Close()
	}
	socket, err := net.Listen("tcp", net.JoinHostPort(l.address, port))
	if err != nil {
		return "DuplicateListener", err
	}
	next := &httptest.Server{Listener: socket, Config: &http.Server{Handler: l, ReadHeaderTimeout: time.Minute}}
	l.mu.Lock()
	l.server, l.port, l.secure = next, port, secure
	l.mu.Unlock()
	if secure != nil {
		next.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.secure, nil
		}}
		next.StartTLS()
	} else {
		next.Start()
	}
	if before != nil {
		go func() { _ = before.Config.Shutdown(l.api.ctx) }() // what it has begun may end
	}
	return "", nil
}

func (a elbAPI) modifyListener(r *request) answer {
	a.mu.Lock()
	l := a.listeners[r.form.Get("ListenerArn")]
	a.mu.Unlock()
	if l != nil {
		if code, err := l.listen(r.form); err != nil {
			return r.fail(http.StatusBadRequest, code, err.Error())
		}
	}
	got := a.server.forward(r)
	if got.status == http.StatusOK && l != nil && r.form.Has("DefaultActions.member.1.Type") {
		l.forward(r.form)
	}
	return got
}

func (a elbAPI) deleteListener(r *request) answer {
	got := a.server.forward(r)
	a.mu.Lock()
	l := a.listeners[r.form.Get("ListenerArn")]
	delete(a.listeners, r.form.Get("ListenerArn"))
	a.mu.Unlock()
	if l != nil {
		l.close()
	}
	return got
}

func (l *listener) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.server.Config.Close()
}

// ServeHTTP forwards a request to a healthy target of a target group, chosen by weight.
func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The whole request is taken first: a service may answer before it has read it.
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	group := l.choose(w, r)
	var healthy, late []string
	for _, id := range l.api.registered(r, group) {
		i := l.api.instance(id)
		if i == nil {
			continue
		}
		at := net.JoinHostPort(i.address, strconv.Itoa(l.api.target(group).port))
		switch state, reason, _ := l.api.targetState(r.Context(), group, id); {
		case state == "healthy":
			healthy = append(healthy, at)
		case (reason == "Target.NotInUse" || state == "draining") && l.api.healthy(r.Context(), group, id):
			late = append(late, at)
		}
	}
	if len(healthy) == 0 { // the request was routed to the group before the listener left it
		healthy = late
	}
	if len(healthy) == 0 {
		http.Error(w, "no healthy target", http.StatusServiceUnavailable)
		return
	}
	to := &url.URL{Scheme: "http", Host: healthy[rand.IntN(len(healthy))]}
	(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(to) }}).ServeHTTP(w, r)
}

// forward takes over what a request says of a listener's default action.
func (l *listener) forward(form url.Values) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.take(form, defaultAction)
}

// stuck is the cookie by which a client stays with a target group.
const stuck = "AWSALBTG"

func (l *listener) choose(w http.ResponseWriter, r *http.Request) (group string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, route := range l.routes() {
		if route.matches(r) {
			return route.choose(w, r)
		}
	}
	return ""
}

func (r *route) choose(w http.ResponseWriter, asked *http.Request) (group string) {
	if r.sticky {
		if c, err := asked.Cookie(stuck); err == nil {
			for group, weight := range r.weights {
				if weight > 0 && c.Value == url.QueryEscape(group) {
					return group
				}
			}
		}
		defer func() { http.SetCookie(w, &http.Cookie{Name: stuck, Value: url.QueryEscape(group), Path: "/"}) }()
	}
	total := 0
	for _, n := range r.weights {
		total += n
	}
	if total == 0 {
		return ""
	}
	at := rand.IntN(total)
	for group, n := range r.weights {
		if at < n {
			return group
		}
		at -= n
	}
	return ""
}

// regionOf is the region of an ARN.
func regionOf(arn string) string {
	if parts := strings.Split(arn, ":"); len(parts) > 3 {
		return parts[3]
	}
	return Region
}

// registered asks moto for the targets of a group, in its region.
func (a elbAPI) registered(r *http.Request, group string) []string {
	hr := r.Clone(r.Context())
	region := regionOf(group)
	hr.Header = http.Header{"Authorization": {a.cloud.authorization(region, "elasticloadbalancing")}}
	got := a.query(&request{Request: hr, service: "elasticloadbalancing", region: region, account: a.account}, "elasticloadbalancing", "DescribeTargetHealth", url.Values{"TargetGroupArn": {group}})
	var ids []string
	for _, m := range targetID.FindAllSubmatch(got.body, -1) {
		ids = append(ids, string(m[1]))
	}
	return ids
}
