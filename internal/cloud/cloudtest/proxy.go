// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"
)

// request is a request to AWS, taken apart.
type request struct {
	*http.Request
	body    []byte
	service string // of the credential scope
	region  string
	action  string
	form    url.Values // of the query protocols
	account *account   // nil for credentials that no test has
	role    string     // of who asks
	tried   bool       // it is judged, and has no effect

	temporary bool     // its credentials are those of a session
	session   *session // nil for none
}

// answer is what the client gets.
type answer struct {
	status int
	header http.Header
	body   []byte
}

var (
	scope = regexp.MustCompile(`Credential=([A-Za-z0-9]+)/[0-9]+/([^/]+)/([^/]+)/aws4_request`)
	place = regexp.MustCompile(`/[^/]+/[^/]+/aws4_request`) // its region and service
)

// ServeHTTP implements http.Handler: it is the endpoint of all services.
func (s *server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	if strings.HasPrefix(hr.URL.Path, systemdPath) {
		s.systemd(w, hr)
		return
	}
	r, err := s.parse(hr)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var f *Fault
	var refused *answer
	if r.account != nil {
		var actions []string
		refused = r.account.outside(r)
		if refused == nil {
			refused = r.account.expired(r)
		}
		if refused == nil {
			refused = r.account.unfit(r)
		}
		if refused == nil {
			actions, refused = r.account.judge(r)
		}
		f = r.account.cloud.called(Call{Service: r.service, Region: r.region, Action: r.action, Path: r.URL.Path, App: r.app(), Role: r.role, Actions: actions, At: time.Now()})
	}
	if f != nil && f.Slow > 0 {
		select {
		case <-time.After(f.Slow):
		case <-hr.Context().Done():
		}
		if f.Code == "" {
			if f.Do != nil {
				f.Do()
			}
			f = nil
		}
	}
	if f != nil && !f.After {
		f.strike(w, r)
		return
	}
	var a answer
	switch {
	case refused != nil:
		a = *refused
	case r.account == nil && r.action == "AssumeRoleWithWebIdentity":
		r.service, r.region = "sts", Region
		a = s.byToken(r)
	case r.account == nil:
		a = s.forward(r)
	default:
		a = r.account.eventually(r, func() answer { return r.account.once(r, func() answer { return s.answer(r) }) })
		a = r.account.unlisted(r, a)
	}
	if f != nil {
		f.strike(w, r)
		return
	}
	if r.account != nil {
		select {
		case <-time.After(r.account.cloud.paced().Latency):
		case <-hr.Context().Done():
		}
	}
	for k, v := range a.header {
		w.Header()[k] = v
	}
	if r.account != nil {
		w.Header().Set("Date", r.account.cloud.date())
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

func (s *server) parse(hr *http.Request) (*request, error) {
	body, err := io.ReadAll(hr.Body)
	if err != nil {
		return nil, err
	}
	r := &request{Request: hr, body: body}
	credential := hr.Header.Get("Authorization")
	if signed := hr.URL.Query().Get("X-Amz-Credential"); signed != "" {
		credential = "Credential=" + signed
	}
	if m := scope.FindStringSubmatch(credential); m != nil {
		r.region, r.service = m[2], m[3]
		if id := accessKey.FindStringSubmatch(m[1]); id != nil {
			r.role, r.tried, r.temporary = id[3], id[1] == try, id[1] == temporary
			s.mu.Lock()
			r.account = s.accounts[id[2]]
			s.mu.Unlock()
		}
	}
	switch target := hr.Header.Get("X-Amz-Target"); {
	case r.service == "route53":
		r.action = recordAction(hr)
	case target != "":
		r.action = target[strings.LastIndex(target, ".")+1:]
	case strings.HasPrefix(hr.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		if r.form, err = url.ParseQuery(string(body)); err != nil {
			return nil, err
		}
		r.action = r.form.Get("Action")
	case operation.MatchString(hr.URL.Path):
		r.action = operation.FindStringSubmatch(hr.URL.Path)[1]
	default:
		r.action = hr.Method
	}
	return r, nil
}

// answer answers a request of an account: by itself, or by moto, mended.
func (s *server) answer(r *request) answer {
	a := r.account
	commands, images, elb, builds := ssmAPI{a}, imageAPI{a}, elbAPI{a}, codeBuildAPI{a}
	handlers := map[string]func(*request) answer{
		"ssm/SendCommand": commands.sendCommand, "ssm/GetCommandInvocation": commands.getCommandInvocation,
		"ssm/CancelCommand": commands.cancelCommand, "ssm/DescribeInstanceInformation": commands.describeInstanceInformation,
		"ec2/RunInstances": a.runInstances, "ec2/DescribeInstances": a.describeInstances,
		"ec2/StopInstances": a.stopInstances, "ec2/StartInstances": a.startInstances,
		"ec2/TerminateInstances": a.terminateInstances,
		"ec2/CreateImage":        a.createImage, "ec2/DescribeImages": images.describeImages,
		"ec2/EnableImageDeprecation": images.guardImage, "ec2/EnableImageDeregistrationProtection": images.guardImage,
		"ec2/DisableImageDeprecation": images.guardImage, "ec2/DisableImageDeregistrationProtection": images.guardImage,
		"ec2/DescribeImageReferences": images.describeReferences, "ec2/CreateImageUsageReport": images.usageReports,
		"ec2/DescribeImageUsageReports": images.usageReports, "ec2/DescribeImageUsageReportEntries": images.usageReports,
		"ec2/DeleteImageUsageReport": images.usageReports, "ssm/PutParameter": commands.putParameter, "ssm/GetParameters": commands.getParameters,
		"ec2/CopyImage": images.copyImage, "ec2/DeregisterImage": images.deregisterImage,
		"ec2/ModifyImageAttribute":                          images.modifyImageAttribute,
		"ec2/DescribeImageAttribute":                        images.describeImageAttribute,
		"ec2/DescribeLaunchTemplateVersions":                a.versionsLeft,
		"ec2/DeleteLaunchTemplateVersions":                  a.deleteVersions,
		"ec2/DescribeSnapshots":                             images.describeSnapshots,
		"ec2/ModifySnapshotAttribute":                       images.modifySnapshotAttribute,
		"ec2/DescribeSnapshotAttribute":                     images.describeSnapshotAttribute,
		"ec2/GetEbsDefaultKmsKeyId":                         a.ebsDefaultKey,
		"ec2/CreateLaunchTemplate":                          a.createLaunchTemplate,
		"ec2/DeleteLaunchTemplate":                          a.deleteLaunchTemplate,
		"autoscaling/CreateAutoScalingGroup":                a.changeGroup,
		"autoscaling/UpdateAutoScalingGroup":                a.changeGroup,
		"autoscaling/SetDesiredCapacity":                    a.changeGroup,
		"autoscaling/DeleteAutoScalingGroup":                a.changeGroup,
		"autoscaling/DescribeAutoScalingGroups":             a.describeGroups,
		"autoscaling/DescribeScalingActivities":             a.describeActivities,
		"elasticloadbalancing/CreateTargetGroup":            elb.createTargetGroup,
		"elasticloadbalancing/DescribeTargetHealth":         elb.describeTargetHealth,
		"elasticloadbalancing/CreateLoadBalancer":           elb.createLoadBalancer,
		"elasticloadbalancing/DescribeLoadBalancers":        elb.describeLoadBalancers,
		"elasticloadbalancing/DeleteLoadBalancer":           elb.deleteLoadBalancer,
		"elasticloadbalancing/ModifyLoadBalancerAttributes": elb.modifyAttributes,
		"elasticloadbalancing/CreateListener":               elb.createListener,
		"elasticloadbalancing/ModifyListener":               elb.modifyListener,
		"elasticloadbalancing/DeleteListener":               elb.deleteListener,
		"elasticloadbalancing/CreateRule":                   elb.createRule,
		"elasticloadbalancing/ModifyRule":                   elb.modifyRule,
		"elasticloadbalancing/DeleteRule":                   elb.deleteRule,
		"dynamodb/TransactWriteItems":                       a.transact,
		"cloudformation/CreateChangeSet":                    a.createChangeSet,
		"cloudformation/ExecuteChangeSet":                   a.executeChangeSet,
		"cloudformation/DescribeStacks":                     a.describeStacks,
		"cloudformation/DescribeStackEvents":                a.describeStackEvents,
		"cloudformation/DeleteStack":                        a.deleteStack,
		"sts/AssumeRole":                                    a.assumeRole,
		"iam/CreatePolicy":                                  a.createPolicy,
		"iam/SimulatePrincipalPolicy":                       a.simulatePolicy,
		"servicequotas/GetServiceQuota":                     a.serviceQuota,
		"sts/GetCallerIdentity":                             a.callerIdentity,
		"codebuild/BatchGetProjects":                        builds.batchGetProjects,
		"codebuild/StartBuild":                              builds.startBuild,
		"codebuild/BatchGetBuilds":                          builds.batchGetBuilds,
		"codebuild/StopBuild":                               builds.stopBuild,
		"route53/ChangeResourceRecordSets":                  a.changeRecords,
		"logs/GetLogEvents":                                 builds.getLogEvents,
	}
	if over := a.beyond(r); over != nil {
		return *over
	}
	if h, ok := handlers[r.service+"/"+r.action]; ok {
		return h(r)
	}
	switch {
	case r.service == "scheduler":
		return a.keepSchedule(r)
	case r.service == "kms":
		return a.onKeys(r)
	case r.service == "monitoring":
		return a.watched(r)
	case r.service == "autoscaling" && attaches.MatchString(r.action):
		return a.attach(r)
	}
	if r.service == "dynamodb" && apart[r.action] {
		r.account.tables.RLock()
		defer r.account.tables.RUnlock()
	}
	return s.forward(r)
}

// attaches matches the names of requests about what Auto Scaling groups have beside their
// instances.
var attaches = regexp.MustCompile(`Polic(y|ies)$|ScheduledUpdateGroupAction$|ScheduledActions?$|LifecycleHooks?$|NotificationConfigurations?$|WarmPool$|Processes$|MetricsCollection$`)

// apart are the DynamoDB calls that moto does not keep apart from transactions: it
// loses writes while one is cancelled, and shows reads what is then taken back.
var apart = map[string]bool{
	"PutItem": true, "UpdateItem": true, "DeleteItem": true, "BatchWriteItem": true, "GetItem": true, "Query": true, "Scan": true, "BatchGetItem": true,
}

func (a *account) transact(r *request) answer {
	a.tables.Lock()
	defer a.tables.Unlock()
	return a.server.forward(r)
}

// looks begin the names of requests that change nothing.
var looks = regexp.MustCompile(`^(Describe|Get|List|Filter|Query)`)

// forward sends a request to moto. Among many at once moto stumbles over itself now and
// then, so that what only looks is asked again.
func (s *server) forward(r *request) answer {
	for try := 1; ; try++ {
		got, stumbled := s.ask(r)
		if !stumbled {
			return got
		}
		if try == 4 || !looks.MatchString(r.action) {
			if r.account != nil {
				r.account.cloud.logf("moto can't do %s %s: %s\n%s", r.service, r.action, r.body, s.cause())
			}
			return r.fail(http.StatusBadRequest, "UnsupportedOperation", "the simulator can't do "+r.action)
		}
		select {
		case <-r.Context().Done():
		case <-time.After(time.Duration(try) * 50 * time.Millisecond):
		}
	}
}

// ask sends a request to moto once, and reports whether it failed at it.
func (s *server) ask(r *request) (got answer, stumbled bool) {
	u := *r.URL
	u.Scheme, u.Host = s.moto.Scheme, s.moto.Host
	req, err := http.NewRequestWithContext(r.Context(), r.Method, u.String(), bytes.NewReader(r.body))
	if err != nil {
		return r.fail(http.StatusBadRequest, "ProxyError", err.Error()), false
	}
	req.Header, req.Host = r.Header.Clone(), r.Host
	req.Header.Del("Accept-Encoding")
	if r.account != nil {
		req.Header.Set("x-moto-account-id", r.account.cloud.ID)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return r.fail(http.StatusServiceUnavailable, "ServiceUnavailable", err.Error()), false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return r.fail(http.StatusServiceUnavailable, "ServiceUnavailable", err.Error()), false
	}
	if resp.StatusCode == http.StatusInternalServerError && r.service != "s3" {
		return answer{}, true
	}
	h := resp.Header.Clone()
	h.Del("Connection")
	if r.Method != http.MethodHead { // where the length is of a body that is not sent
		h.Del("Content-Length")
	}
	return answer{status: resp.StatusCode, header: h, body: body}, false
}

// cause returns the last error that moto logged.
func (s *server) cause() string {
	data, err := os.ReadFile(filepath.Join(s.dir, "moto.log"))
	if err != nil {
		return ""
	}
	lines := strings.Split(string(data), "\n")
	for _, line := range slices.Backward(lines) {
		if strings.Contains(line, "Error") && !strings.Contains(line, "HTTP/1.1") {
			return line
		}
	}
	return ""
}

// versions of the query APIs.
var versions = map[string]string{"ec2": "2016-11-15", "autoscaling": "2011-01-01", "elasticloadbalancing": "2015-12-01", "cloudformation": "2010-05-15"}

// query sends a query request of the proxy's own to moto, for the account.
func (a *account) query(r *request, service, action string, values url.Values) answer {
	values.Set("Action", action)
	values.Set("Version", versions[service])
	own := &request{Request: r.Clone(r.Context()), body: []byte(values.Encode()), service: service, region: r.region, action: action, form: values, account: a}
	own.Header.Set("Authorization", place.ReplaceAllString(r.Header.Get("Authorization"), "/"+r.region+"/"+service+"/aws4_request"))
	own.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	own.Header.Del("X-Amz-Target")
	own.URL = &url.URL{Path: "/"}
	own.Method = http.MethodPost
	return a.server.forward(own)
}

// fail returns an error in the shape of the request's protocol.
func (r *request) fail(status int, code, message string) answer {
	switch r.service {
	case "ec2":
		return xml(status, fmt.Sprintf("<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>test</RequestID></Response>", code, escape(message)))
	case "s3":
		return xml(status, fmt.Sprintf("<Error><Code>%s</Code><Message>%s</Message><RequestId>test</RequestId></Error>", code, escape(message)))
	case "autoscaling", "elasticloadbalancing", "sts", "cloudformation", "iam", "sns", "route53":
		return xml(status, fmt.Sprintf("<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>test</RequestId></ErrorResponse>", code, escape(message)))
	case "monitoring":
		body := cbor.Encode(cbor.Map{"__type": cbor.String(code), "message": cbor.String(message)})
		return answer{status: status, header: http.Header{"Content-Type": {"application/cbor"}, "Smithy-Protocol": {"rpc-v2-cbor"}}, body: body}
	default:
		return reply(status, map[string]string{"__type": code, "message": message})
	}
}

func (f *Fault) strike(w http.ResponseWriter, r *request) {
	if f.Do != nil {
		f.Do()
	}
	if f.Code == "" {
		panic(http.ErrAbortHandler) // drops the connection
	}
	status := f.Status
	if status == 0 {
		status = http.StatusBadRequest
	}
	a := r.fail(status, f.Code, f.Message)
	if len(f.Reasons) > 0 {
		a = cancelled(f)
	}
	for k, v := range a.header {
		w.Header()[k] = v
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

// cancelled is the error of a transaction of DynamoDB, with the reasons.
func cancelled(f *Fault) answer {
	type reason struct{ Code string }
	var reasons []reason
	for _, code := range f.Reasons {
		reasons = append(reasons, reason{code})
	}
	return reply(http.StatusBadRequest, map[string]any{"__type": f.Code, "Message": f.Message, "CancellationReasons": reasons})
}

func xml(status int, body string) answer {
	return answer{status: status, header: http.Header{"Content-Type": {"text/xml"}}, body: []byte(`<?xml version="1.0" encoding="UTF-8"?>` + body)}
}

func reply(status int, v any) answer {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // only plain values are given
	}
	return answer{status: status, header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}}, body: body}
}

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
