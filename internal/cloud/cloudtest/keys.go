// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
)

// Keys of KMS have an owner, a policy and grants. What uses one for a volume is judged by
// them as who launches: a caller, or Auto Scaling as its service-linked role.

// scalingRole is the role that Auto Scaling has in an account, as it launches and ends.
func (a *account) scalingRole() iamtest.Principal {
	return iamtest.Principal{ARN: fmt.Sprintf("arn:aws:iam::%s:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling", a.cloud.ID), Account: a.cloud.ID}
}

// keyAccount returns the account that a key is of.
func (a *account) keyAccount(id string) *account {
	if parts := strings.Split(id, ":"); len(parts) > 5 && parts[4] != a.cloud.ID {
		for _, other := range a.server.others(a) {
			if other.cloud.ID == parts[4] {
				return other
			}
		}
	}
	return a
}

// key returns a key with its aliases and what allows its use: its policy, which leaves it to
// the account that it is of where a test says nothing else, and its grants.
func (n naming) key(id string) iamtest.Resource {
	of := n
	of.a = n.a.keyAccount(id)
	var aliases struct {
		Aliases []struct{ AliasName, TargetKeyId string }
	}
	of.ask("ListAliases", map[string]string{}, &aliases)
	if name := id[strings.LastIndex(id, ":")+1:]; strings.HasPrefix(name, "alias/") {
		for _, a := range aliases.Aliases {
			if a.AliasName == name {
				id = a.TargetKeyId
			}
		}
	}
	if !strings.HasPrefix(id, "arn:") {
		id = of.arn("kms", "key/"+id)
	}
	r := iamtest.Resource{ARN: id, Context: map[string][]string{}}
	for _, a := range aliases.Aliases {
		if a.TargetKeyId != "" && strings.HasSuffix(id, "/"+a.TargetKeyId) {
			r.Context["kms:ResourceAliases"] = append(r.Context["kms:ResourceAliases"], a.AliasName)
		}
	}
	of.a.mu.Lock()
	r.Policy = of.a.keyPolicies[id]
	of.a.mu.Unlock()
	if r.Policy == nil {
		r.Policy = iamtest.Policy{{Effect: "Allow", Principals: map[string][]string{"AWS": {"arn:aws:iam::" + of.a.cloud.ID + ":root"}}, Actions: []string{"kms:*"}}}
	}
	r.Grants = of.granted(id)
	return r
}

// granted returns the grants of a key as a policy.
func (n naming) granted(key string) (p iamtest.Policy) {
	for _, g := range n.grants(key) {
		s := iamtest.Statement{Effect: "Allow", Principals: map[string][]string{"AWS": {g.GranteePrincipal}}}
		for _, operation := range g.Operations {
			s.Actions = append(s.Actions, "kms:"+operation)
		}
		p = append(p, s)
	}
	return p
}

// grant lets somebody do something with a key.
type grant struct {
	GranteePrincipal string
	Operations       []string
}

// grants returns the grants of a key.
func (n naming) grants(key string) []grant {
	var list struct{ Grants []grant }
	n.ask("ListGrants", map[string]string{"KeyId": key}, &list)
	return list.Grants
}

// onKeys answers requests to KMS: those that name a key of another account get there. Who
// may make a grant by a grant only can't give away more than it has.
func (a *account) onKeys(r *request) answer {
	var in struct {
		KeyId      string //nolint:revive // as AWS has it
		Operations []string
	}
	if err := json.Unmarshal(r.body, &in); err != nil {
		return r.fail(http.StatusBadRequest, "SerializationException", err.Error())
	}
	of := a.keyAccount(in.KeyId)
	if of == a {
		return a.server.forward(r)
	}
	there := *r
	there.account = of
	of.mu.Lock()
	_, named := of.keyPolicies[in.KeyId]
	of.mu.Unlock()
	if r.action == "CreateGrant" && !named {
		has := map[string]bool{}
		for _, g := range (naming{&there, of}).grants(in.KeyId) {
			if g.GranteePrincipal == "arn:aws:iam::"+a.cloud.ID+":root" {
				for _, operation := range g.Operations {
					has[operation] = true
				}
			}
		}
		for _, operation := range in.Operations {
			if !has[operation] {
				return r.deny("a grant lets the account " + a.cloud.ID + " make grants on " + in.KeyId + ", and not for " + operation + ", which it does not have itself")
			}
		}
	}
	return a.server.forward(&there)
}

// keyed returns the calls that EC2 makes in a caller's name to use a key for volumes.
func (n naming) keyed(key string) (calls []iamtest.Request) {
	resource := n.key(key)
	for _, action := range []string{"kms:CreateGrant", "kms:Decrypt", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo"} {
		calls = append(calls, iamtest.Request{Action: action, Resources: []iamtest.Resource{resource}, Context: map[string][]string{
			"kms:ViaService": {"ec2." + n.region + ".amazonaws.com"}, "kms:CallerAccount": {n.a.cloud.ID}, "kms:GrantIsForAWSResource": {"true"},
		}})
	}
	return calls
}

// launchKeys returns the keys that a launch uses, of which a form says all: those of the
// image's snapshots, whoever owns it, and that of the new volume. This is the one that is
// asked for; else that of the snapshot, where the account owns it; else the account's
// default.
func (n naming) launchKeys(form url.Values) (keys []string) {
	id, own := form.Get("ImageId"), false
	for _, a := range append([]*account{n.a}, n.a.server.others(n.a)...) {
		a.mu.Lock()
		_, theirs := a.images[id]
		a.mu.Unlock()
		if !theirs {
			continue
		}
		found := a.query(n.request, "ec2", "DescribeImages", url.Values{"ImageId.1": {id}})
		for _, m := range snapshotIDs.FindAllSubmatch(found.body, -1) {
			a.mu.Lock()
			key := a.keys[string(m[1])]
			a.mu.Unlock()
			keys, own = append(keys, key), own || a == n.a && key != ""
		}
	}
	key := form.Get("BlockDeviceMapping.1.Ebs.KmsKeyId")
	if key == "" && !own {
		n.a.mu.Lock()
		key = n.a.defaultKey
		n.a.mu.Unlock()
	}
	keys = append(keys, key)
	slices.Sort(keys)
	return slices.DeleteFunc(slices.Compact(keys), func(k string) bool { return k == "" })
}

// unusable returns why a launch can't use a key; nil when it can. EC2 accepts the launch
// all the same, and the instance ends at once.
func (a *account) unusable(r *request) error {
	who, known := a.who(r)
	if !known || r.role == Owner {
		return nil
	}
	return naming{r, a}.usable(who, r.form)
}

// usable returns why who launches can't use a key that the launch needs.
func (n naming) usable(who iamtest.Principal, form url.Values) error {
	for _, key := range n.launchKeys(form) {
		for _, call := range n.keyed(key) {
			if err := who.May(call); err != nil {
				return err
			}
		}
	}
	return nil
}

// launchData returns what a launch template says as a launch does.
func (t template) launchData() url.Values {
	data := url.Values{}
	for k, v := range t.form {
		if k, ok := strings.CutPrefix(k, "LaunchTemplateData."); ok {
			data[k] = v
		}
	}
	return data
}

// scaled ends an instance that Auto Scaling has launched and whose keys it can't use. The
// group's activities say so.
func (a *account) scaled(r *request, from template, id string) {
	why := naming{r, a}.usable(a.scalingRole(), from.launchData())
	if why == nil {
		return
	}
	a.cloud.logf("instance %s can't use its key: %v", id, why)
	const ended = "Client.InternalError: Client error on launch"
	a.query(r, "ec2", "TerminateInstances", url.Values{"InstanceId.1": {id}})
	a.instance(id).fail("Client.InternalError", ended)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.activities = append([]Activity{{ID: "launch-" + id, Status: "Failed", Message: "Launching a new EC2 instance: " + id + ". Status Reason: Instance became unhealthy while waiting for instance to be in InService state. Termination Reason: " + ended}}, a.activities...)
}

// ebsDefaultKey answers GetEbsDefaultKmsKeyId.
func (a *account) ebsDefaultKey(r *request) answer {
	a.mu.Lock()
	key := a.defaultKey
	a.mu.Unlock()
	if key == "" {
		key = "alias/aws/ebs"
	}
	return xml(http.StatusOK, "<GetEbsDefaultKmsKeyIdResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>test</requestId><kmsKeyId>"+key+"</kmsKeyId></GetEbsDefaultKmsKeyIdResponse>")
}

// ask makes a request of the proxy's own to moto's Key Management Service.
func (n naming) ask(action string, in, out any) {
	body, err := json.Marshal(in)
	if err != nil {
		panic(err) // only plain values are given
	}
	own := &request{Request: n.Clone(n.Context()), body: body, service: "kms", region: n.region, action: action, account: n.a}
	own.Method, own.URL = http.MethodPost, &url.URL{Path: "/"}
	own.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/20260101/%s/kms/aws4_request, SignedHeaders=host, Signature=0", n.a.cloud.AccessKey(), n.region))
	own.Header.Set("X-Amz-Target", "TrentService."+action)
	own.Header.Set("Content-Type", "application/x-amz-json-1.1")
	if got := n.a.server.forward(own); got.status != http.StatusOK || json.Unmarshal(got.body, out) != nil {
		n.a.cloud.logf("%s: %s", action, got.body)
	}
}
