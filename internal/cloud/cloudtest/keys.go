// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
)

// Keys of KMS have an owner, a policy and grants. What uses one for a volume is judged by
// them as who launches: a caller, or Auto Scaling as its service-linked role.

// scalingRole is the role that Auto Scaling has in an account, as it launches and ends, and
// spotRole that of EC2 Spot, which launches spot instances for whoever asks for them.
func (a *account) scalingRole() iamtest.Principal {
	return a.serviceRole("autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling")
}

func (a *account) spotRole() iamtest.Principal {
	return a.serviceRole("spot.amazonaws.com/AWSServiceRoleForEC2Spot")
}

func (a *account) serviceRole(name string) iamtest.Principal {
	return iamtest.Principal{ARN: fmt.Sprintf("arn:aws:iam::%s:role/aws-service-role/%s", a.cloud.ID, name), Account: a.cloud.ID}
}

// Reasons by which EC2 ends an instance whose volumes' key it can't use.
const (
	launchError = "Client.InternalError"
	keyState    = "Client.InvalidKMSKey.InvalidState"
)

// reasonText is what EC2 says beside them.
var reasonText = map[string]string{
	launchError: launchError + ": Client error on launch",
	keyState:    keyState + ": The KMS key provided is in an incorrect state",
}

// changesState are the operations that change whether a key can be used.
var changesState = regexp.MustCompile(`^(EnableKey|DisableKey|ScheduleKeyDeletion|CancelKeyDeletion)$`)

// needsEnabled are the operations that need an enabled key.
var needsEnabled = regexp.MustCompile(`^(CreateGrant|Encrypt|Decrypt|ReEncrypt|GenerateDataKey.*|GetPublicKey|Sign|Verify)$`)

// state returns the state of a key, of whichever account it is, and its ARN.
func (n naming) state(id string) (state, arn string) {
	of := n
	of.a = n.a.keyAccount(id)
	var out struct {
		KeyMetadata struct{ KeyState, Arn string }
	}
	of.ask("DescribeKey", map[string]string{"KeyId": id}, &out)
	return out.KeyMetadata.KeyState, out.KeyMetadata.Arn
}

// inState refuses an operation on a key that is not enabled, as KMS does.
func (a *account) inState(r *request, id string) (answer, bool) {
	if !needsEnabled.MatchString(r.action) {
		return answer{}, false
	}
	switch state, arn := (naming{r, a}).state(id); state {
	case "Disabled":
		return r.fail(http.StatusBadRequest, "DisabledException", arn+" is disabled."), true
	case "PendingDeletion":
		return r.fail(http.StatusBadRequest, "KMSInvalidStateException", arn+" is pending deletion."), true
	}
	return answer{}, false
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
	owner := map[string][]string{"AWS": {"arn:aws:iam::" + of.a.cloud.ID + ":root"}}
	of.a.mu.Lock()
	r.Policy = of.a.keyPolicies[id]
	of.a.mu.Unlock()
	switch {
	case r.Policy != nil:
	case slices.ContainsFunc(r.Context["kms:ResourceAliases"], ofAWS):
		r.Policy = iamtest.Policy{
			{Effect: "Allow", Principals: map[string][]string{"AWS": {"*"}}, Actions: []string{"kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"}, Conditions: map[string]map[string]any{
				"StringEquals": {"kms:CallerAccount": of.a.cloud.ID, "kms:ViaService": "ec2." + n.region + ".amazonaws.com"},
			}},
			{Effect: "Allow", Principals: owner, Actions: []string{"kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant"}},
		}
	default:
		r.Policy = iamtest.Policy{{Effect: "Allow", Principals: owner, Actions: []string{"kms:*"}}}
	}
	r.Grants = of.granted(id)
	return r
}

// managed says of a key with an alias of AWS's own that AWS manages it, which moto does not.
func (n naming) managed(id string, got answer) answer {
	if n.action != "DescribeKey" || got.status != http.StatusOK {
		return got
	}
	if slices.ContainsFunc(n.key(id).Context["kms:ResourceAliases"], ofAWS) {
		got.body = bytes.Replace(got.body, []byte(`"CUSTOMER"`), []byte(`"AWS"`), 1)
	}
	return got
}

// ofAWS says of an alias whether AWS manages its key: accounts use it through the service that it
// is of, and can't let others do so.
func ofAWS(alias string) bool { return strings.HasPrefix(alias, "alias/aws/") }

// granted returns the grants of a key as a policy.
func (n naming) granted(key string) (p iamtest.Policy) {
	for _, g := range n.known(key) {
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
	Name, GrantId    string //nolint:revive // as AWS has it
	GranteePrincipal string
	Operations       []string
}

// granting is a request to make a grant, or another one that names a key.
type granting struct {
	KeyId string //nolint:revive // as AWS has it
	grant
}

// again returns the grant of the same name and content that a key has: KMS makes no second.
func (n naming) again(in granting) (answer, bool) {
	for _, g := range n.grants(in.KeyId) {
		if in.Name != "" && g.Name == in.Name && g.GranteePrincipal == in.GranteePrincipal && slices.Equal(slices.Sorted(slices.Values(g.Operations)), slices.Sorted(slices.Values(in.Operations))) {
			return reply(http.StatusOK, map[string]any{"GrantId": g.GrantId, "GrantToken": g.GrantId}), true
		}
	}
	return answer{}, false
}

// grants returns the grants of a key.
func (n naming) grants(key string) []grant {
	var list struct{ Grants []grant }
	n.ask("ListGrants", map[string]string{"KeyId": key}, &list)
	return list.Grants
}

// known returns the grants of a key that KMS knows by now, wherever it is asked.
func (n naming) known(key string) []grant {
	return slices.DeleteFunc(n.grants(key), func(g grant) bool {
		n.a.mu.Lock()
		defer n.a.mu.Unlock()
		return time.Now().Before(n.a.grantKnown[g.GrantId])
	})
}

// makeGrant makes a grant of the account's, which KMS knows after a time.
func (a *account) makeGrant(r *request) answer {
	got := a.server.forward(r)
	var made struct{ GrantId string } //nolint:revive // as AWS has it
	if later := a.cloud.paced().Grant; later > 0 && json.Unmarshal(got.body, &made) == nil && made.GrantId != "" {
		a.mu.Lock()
		a.grantKnown[made.GrantId] = time.Now().Add(later)
		a.mu.Unlock()
	}
	return got
}

// onKeys answers requests to KMS: those that name a key of another account get there. Who
// may make a grant by a grant only can't give away more than it has.
func (a *account) onKeys(r *request) answer {
	var in granting
	if err := json.Unmarshal(r.body, &in); err != nil {
		return r.fail(http.StatusBadRequest, "SerializationException", err.Error())
	}
	if refused, ok := a.inState(r, in.KeyId); ok {
		return refused
	}
	if id := in.KeyId[strings.LastIndex(in.KeyId, "/")+1:]; changesState.MatchString(r.action) { // moto knows them by their IDs only
		r.body = bytes.ReplaceAll(r.body, []byte(in.KeyId), []byte(id))
		return a.server.forward(r)
	}
	if r.action == "ReplicateKey" && !strings.Contains(in.KeyId, "mrk-") {
		return r.fail(http.StatusBadRequest, "UnsupportedOperationException", in.KeyId+" is not a multi-Region primary key.")
	}
	of := a.keyAccount(in.KeyId)
	there := *r
	there.account = of
	if r.action == "CreateGrant" {
		if made, ok := (naming{&there, of}).again(in); ok {
			return made
		}
	}
	if of == a && r.action == "CreateGrant" {
		return a.makeGrant(r)
	}
	if of == a {
		return naming{r, a}.managed(in.KeyId, a.server.forward(r))
	}
	of.mu.Lock()
	_, named := of.keyPolicies[in.KeyId]
	of.mu.Unlock()
	if r.action == "CreateGrant" && !named {
		has := map[string]bool{}
		for _, g := range (naming{&there, of}).known(in.KeyId) {
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
	if r.action == "CreateGrant" {
		return of.makeGrant(&there)
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
// image's snapshots, whoever owns it, and that of the new volume.
func (n naming) launchKeys(form url.Values) (keys []string) {
	for _, of := range append([]*account{n.a}, n.a.server.others(n.a)...) {
		keys = append(keys, n.imageKeys(of, form.Get("ImageId"))...)
	}
	keys = append(keys, n.volumeKey(form))
	slices.Sort(keys)
	return slices.DeleteFunc(slices.Compact(keys), func(k string) bool { return k == "" })
}

// imageKeys returns the keys of the snapshots of an image, where an account owns it.
func (n naming) imageKeys(of *account, image string) (keys []string) {
	of.mu.Lock()
	_, theirs := of.images[image]
	of.mu.Unlock()
	if !theirs {
		return nil
	}
	found := of.query(n.request, "ec2", "DescribeImages", url.Values{"ImageId.1": {image}})
	for _, m := range snapshotIDs.FindAllSubmatch(found.body, -1) {
		of.mu.Lock()
		if key := of.keys[string(m[1])]; key != "" {
			keys = append(keys, key)
		}
		of.mu.Unlock()
	}
	return keys
}

// volumeKey returns the key of the new volume of a launch: the one that is asked for; else that
// of the snapshot, where the account owns it; else the account's default.
func (n naming) volumeKey(form url.Values) string {
	if key := form.Get("BlockDeviceMapping.1.Ebs.KmsKeyId"); key != "" {
		return key
	}
	if keys := n.imageKeys(n.a, form.Get("ImageId")); len(keys) > 0 {
		return keys[0]
	}
	n.a.mu.Lock()
	defer n.a.mu.Unlock()
	return n.a.defaultKey
}

// unusable returns the reason by which a launch ends at once, as it can't use a key; empty when
// it can. EC2 accepts the launch all the same.
func (a *account) unusable(r *request) (code string, why error) {
	var all []iamtest.Principal
	if who, known := a.who(r); known { // an owner, too, where the key is another account's
		all = append(all, who)
	}
	return naming{r, a}.usable(r.form, all...)
}

// usable returns why those who launch can't use a key that the launch needs. A spot instance
// is launched by EC2 Spot, too.
func (n naming) usable(form url.Values, all ...iamtest.Principal) (code string, why error) {
	if form.Get("InstanceMarketOptions.MarketType") == "spot" {
		all = append(all, n.a.spotRole())
	}
	for _, key := range n.launchKeys(form) {
		if state, arn := n.state(key); state != "Enabled" {
			return keyState, fmt.Errorf("key %s is in state %s", arn, state)
		}
		for _, call := range n.keyed(key) {
			for _, who := range all {
				if err := who.May(call); err != nil {
					return launchError, err
				}
			}
		}
	}
	return "", nil
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
	code, why := naming{r, a}.usable(from.launchData(), a.scalingRole())
	if code == "" {
		return
	}
	a.cloud.logf("instance %s can't use its key: %v", id, why)
	ended := reasonText[code]
	a.query(r, "ec2", "TerminateInstances", url.Values{"InstanceId.1": {id}})
	a.instance(id).fail(code, ended)
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
	if got := n.a.server.forward(n.ownJSON("kms", "TrentService."+action, action, body)); got.status != http.StatusOK || json.Unmarshal(got.body, out) != nil {
		n.a.cloud.logf("%s: %s", action, got.body)
	}
}
