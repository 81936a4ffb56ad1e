// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
)

// Credentials of STS: who assumes a role, with the credentials of a user, of another role or
// with the token of an identity provider, gets a session, and what it asks for is judged
// under that role, until the session ends.

// session is what somebody has who has assumed a role.
type session struct {
	role, name string
	tags       map[string]string
	ends       time.Time
}

// temporary begins access keys of sessions.
const temporary = "ASIA"

// session returns the session of a request's token; nil for none that holds.
func (r *request) sessionToken() string {
	if token := r.Header.Get("X-Amz-Security-Token"); token != "" {
		return token
	}
	return r.URL.Query().Get("X-Amz-Security-Token")
}

// expired returns the answer of a request with credentials of a session that has ended, or
// that was never; nil for the others.
func (a *account) expired(r *request) *answer {
	if !r.temporary {
		return nil
	}
	a.mu.Lock()
	s := a.sessions[r.sessionToken()]
	a.mu.Unlock()
	code, why := "InvalidClientTokenId", "The security token included in the request is invalid."
	if s != nil && s.role == r.role {
		if !time.Now().Add(a.cloud.leads()).After(s.ends) {
			r.session = s
			return nil
		}
		code, why = "ExpiredToken", "The security token included in the request is expired"
	}
	if r.service != "sts" && r.form == nil && r.service != "s3" {
		code = map[string]string{"ExpiredToken": "ExpiredTokenException", "InvalidClientTokenId": "UnrecognizedClientException"}[code]
	}
	got := r.fail(http.StatusForbidden, code, why)
	return &got
}

// who returns who makes a request.
func (a *account) who(r *request) (p iamtest.Principal, known bool) {
	if r.role == Owner {
		root := iamtest.Statement{Effect: "Allow", Actions: []string{"*"}, Resources: []string{"*"}}
		return iamtest.Principal{ARN: "arn:aws:iam::" + a.cloud.ID + ":root", Account: a.cloud.ID, Policies: iamtest.Policy{root}}, true
	}
	p, known = a.roles().by[r.role]
	if r.session != nil {
		p.Tags = r.session.tags
	}
	return p, known
}

// roleAt returns a role of any account, by its ARN.
func (a *account) roleAt(arn string) (of *account, name string, p iamtest.Principal) {
	for _, other := range append([]*account{a}, a.server.others(a)...) {
		if !strings.Contains(arn, ":iam::"+other.cloud.ID+":role/") {
			continue
		}
		for name, p := range other.roles().by {
			if p.ARN == arn {
				return other, name, p
			}
		}
	}
	return nil, "", p
}

// assuming returns the calls that IAM judges when a role is assumed: that of the request, and
// the right to give the session tags.
func (n naming) assuming() []iamtest.Request {
	_, _, role := n.a.roleAt(n.form.Get("RoleArn"))
	resource := iamtest.Resource{ARN: n.form.Get("RoleArn"), Account: role.Account, Policy: role.Trust}
	context := iamtest.Asking(pairs(n.form, "Tags.member"))
	context["sts:RoleSessionName"] = []string{n.form.Get("RoleSessionName")}
	if id := n.form.Get("ExternalId"); id != "" {
		context["sts:ExternalId"] = []string{id}
	}
	calls := []iamtest.Request{{Action: "sts:" + n.action, Resources: []iamtest.Resource{resource}, Context: context}}
	if len(context["aws:TagKeys"]) > 0 {
		calls = append(calls, iamtest.Request{Action: "sts:TagSession", Resources: []iamtest.Resource{resource}, Context: context})
	}
	return calls
}

// assumeRole gives who may assume a role a session. Roles have been judged; the account's
// owner, who may ask for any, is judged here, by whom the role trusts.
func (a *account) assumeRole(r *request) answer {
	who, _ := a.who(r)
	for _, call := range (naming{r, a}).assuming() {
		if err := who.May(call); err != nil {
			return r.deny(err.Error())
		}
	}
	return a.begin(r, r.session != nil)
}

// begin begins a session of the role that a request names.
func (a *account) begin(r *request, chained bool) answer {
	of, name, role := a.roleAt(r.form.Get("RoleArn"))
	if of == nil {
		return r.deny("there is no role " + r.form.Get("RoleArn"))
	}
	if of.isClosed(r.region) {
		return r.fail(http.StatusForbidden, "RegionDisabledException", "STS is not activated in this region for account:"+of.cloud.ID+". Your account administrator can activate STS in this region using the IAM Console.")
	}
	longest, seconds := 3600, 3600
	if set, ok := of.roles().stack.Properties(name)["MaxSessionDuration"].(string); ok && !chained {
		longest, _ = strconv.Atoi(set)
	}
	if asked := r.form.Get("DurationSeconds"); asked != "" {
		seconds, _ = strconv.Atoi(asked)
	}
	switch {
	case seconds > longest && chained:
		return r.fail(http.StatusBadRequest, "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
	case seconds > longest:
		return r.fail(http.StatusBadRequest, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	token := rand.Text() + rand.Text()
	s := &session{role: name, name: r.form.Get("RoleSessionName"), tags: pairs(r.form, "Tags.member"), ends: time.Now().Add(of.cloud.leads() + time.Duration(seconds)*time.Second)}
	of.mu.Lock()
	of.sessions[token] = s
	of.mu.Unlock()
	return xml(http.StatusOK, fmt.Sprintf(`<%sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult><Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials><AssumedRoleUser><AssumedRoleId>AROATEST:%s</AssumedRoleId><Arn>%s</Arn></AssumedRoleUser></%[1]sResult></%[1]sResponse>`,
		r.action, temporary+of.cloud.ID+name, token, s.ends.UTC().Format(time.RFC3339), escape(s.name), assumed(role.ARN, s.name)))
}

// assumed is the ARN of who has a session of a role.
func assumed(role, name string) string {
	at, of, _ := strings.Cut(role, ":role/")
	of = of[strings.LastIndex(of, "/")+1:]
	return strings.Replace(at, ":iam:", ":sts:", 1) + ":assumed-role/" + of + "/" + name
}

// byToken assumes a role with the token of an identity provider, which asks for no
// credentials. The signature of the token is not looked at; its claims are what the role's
// trust policy asks for.
func (s *server) byToken(r *request) answer {
	var claims struct{ Iss, Sub, Aud string }
	parts := strings.Split(r.form.Get("WebIdentityToken"), ".")
	body := []byte(nil)
	if len(parts) == 3 {
		body, _ = base64.RawURLEncoding.DecodeString(parts[1])
	}
	if json.Unmarshal(body, &claims) != nil || claims.Iss == "" {
		return r.fail(http.StatusBadRequest, "InvalidIdentityToken", "The token is none")
	}
	s.mu.Lock()
	var of *account
	for id, a := range s.accounts {
		if strings.Contains(r.form.Get("RoleArn"), ":iam::"+id+":role/") {
			of = a
		}
	}
	s.mu.Unlock()
	if of == nil {
		return r.deny("there is no role " + r.form.Get("RoleArn"))
	}
	provider := strings.TrimPrefix(claims.Iss, "https://")
	who := iamtest.Principal{Federated: "arn:aws:iam::" + of.cloud.ID + ":oidc-provider/" + provider, Account: of.cloud.ID}
	call := (naming{r, of}).assuming()[0]
	call.Context[provider+":sub"], call.Context[provider+":aud"] = []string{claims.Sub}, []string{claims.Aud}
	if err := who.May(call); err != nil {
		var refusal *iamtest.Refusal
		if !errors.As(err, &refusal) {
			of.fault("%v", err)
		}
		return r.deny(err.Error())
	}
	return of.begin(r, false)
}

// callerIdentity says who has a session.
func (a *account) callerIdentity(r *request) answer {
	if r.session == nil {
		return a.server.forward(r)
	}
	arn := assumed(a.roles().by[r.role].ARN, r.session.name)
	return xml(http.StatusOK, fmt.Sprintf(`<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Arn>%s</Arn><UserId>AROATEST:%s</UserId><Account>%s</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`, arn, escape(r.session.name), a.cloud.ID))
}
