// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
)

// Requests to Route 53 say by their paths what they ask for.
var (
	ofZone     = regexp.MustCompile(`^/2013-04-01/hostedzone/(?:hostedzone/)?([A-Z0-9]+)(/rrset)?/?$`)
	ofChange   = regexp.MustCompile(`^/2013-04-01/change/(?:change/)?([A-Za-z0-9]+)$`)
	oneChange  = regexp.MustCompile(`(?s)<Change>.*?</Change>`)
	changeVerb = regexp.MustCompile(`<Action>([A-Z]+)</Action>`)
	recordName = regexp.MustCompile(`(?s)<ResourceRecordSet>.*?<Name>([^<]+)</Name>`)
	recordType = regexp.MustCompile(`<Type>([A-Z]+)</Type>`)
)

// recordAction returns what a request to Route 53 asks for.
func recordAction(r *http.Request) string {
	m := ofZone.FindStringSubmatch(r.URL.Path)
	switch {
	case ofChange.MatchString(r.URL.Path):
		return "GetChange"
	case m == nil:
		return r.Method
	case m[2] != "" && r.Method == http.MethodPost:
		return "ChangeResourceRecordSets"
	case m[2] != "":
		return "ListResourceRecordSets"
	}
	return map[string]string{http.MethodGet: "GetHostedZone", http.MethodDelete: "DeleteHostedZone"}[r.Method]
}

// changeRecords says that the servers do not all know a change yet, as Route 53 does.
func (a *account) changeRecords(r *request) answer {
	got := a.server.forward(r)
	got.body = bytes.Replace(got.body, []byte("<Status>INSYNC</Status>"), []byte("<Status>PENDING</Status>"), 1)
	return got
}

// records is Route 53, which knows no region, and of whose resources no ARN has an account.
func (n naming) records() ([]iamtest.Request, error) {
	if m := ofChange.FindStringSubmatch(n.URL.Path); m != nil {
		return one("route53:GetChange", "arn:aws:route53:::change/"+m[1]), nil
	}
	m := ofZone.FindStringSubmatch(n.URL.Path)
	if m == nil {
		return nil, fmt.Errorf("what %s %s names is not known", n.Method, n.URL.Path)
	}
	calls := one("route53:"+n.action, "arn:aws:route53:::hostedzone/"+m[1])
	if n.action != "ChangeResourceRecordSets" {
		return calls, nil
	}
	context := map[string][]string{}
	for _, change := range oneChange.FindAllString(string(n.body), -1) {
		for key, in := range map[string]*regexp.Regexp{"Actions": changeVerb, "NormalizedRecordNames": recordName, "RecordTypes": recordType} {
			if m := in.FindStringSubmatch(change); m != nil {
				key = "route53:ChangeResourceRecordSets" + key
				context[key] = append(context[key], strings.ToLower(strings.TrimSuffix(m[1], ".")))
				if in != recordName {
					context[key][len(context[key])-1] = m[1]
				}
			}
		}
	}
	calls[0].Context = context
	return calls, nil
}
