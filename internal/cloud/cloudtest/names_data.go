// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
)

// value is an attribute of an item of DynamoDB, of which only text is a key.
type value struct{ S string }

// item is what a request to DynamoDB says of one item, or of several by a query.
type item struct {
	TableName                 string
	Item, Key                 map[string]value
	KeyConditionExpression    string
	ExpressionAttributeNames  map[string]string
	ExpressionAttributeValues map[string]value
}

// key returns the partition key, "" for none.
func (i item) key() string {
	if pk, ok := i.Item["pk"]; ok {
		return pk.S
	}
	if pk, ok := i.Key["pk"]; ok {
		return pk.S
	}
	for _, m := range equals.FindAllStringSubmatch(i.KeyConditionExpression, -1) {
		name := m[1]
		if known, ok := i.ExpressionAttributeNames[name]; ok {
			name = known
		}
		if name == "pk" {
			return i.ExpressionAttributeValues[m[2]].S
		}
	}
	return ""
}

var equals = regexp.MustCompile(`([#\w]+)\s*=\s*(:\w+)`)

// dynamodb is DynamoDB. The items of a transaction are judged by what is done with each.
func (n naming) dynamodb() ([]iamtest.Request, error) {
	keys := map[string]map[string][]string{} // partition keys by action and table
	var order []string
	add := func(action string, i item) {
		id := action + " " + i.TableName
		if keys[id] == nil {
			keys[id] = map[string][]string{}
			order = append(order, id)
		}
		if k := i.key(); k != "" {
			keys[id]["dynamodb:LeadingKeys"] = append(keys[id]["dynamodb:LeadingKeys"], k)
		}
	}
	var err error
	switch n.action {
	case "TransactWriteItems", "TransactGetItems":
		var in struct{ TransactItems []map[string]item }
		err = n.decode(&in)
		for _, of := range in.TransactItems {
			for verb, i := range of {
				if verb != "ConditionCheck" {
					verb = strings.TrimSuffix(verb, "Item")
				}
				add("dynamodb:"+verb+"Item", i)
			}
		}
	case "BatchGetItem":
		var in struct {
			RequestItems map[string]struct{ Keys []map[string]value }
		}
		err = n.decode(&in)
		for table, of := range in.RequestItems {
			for _, k := range of.Keys {
				add("dynamodb:BatchGetItem", item{TableName: table, Key: k})
			}
		}
	case "BatchWriteItem":
		var in struct {
			RequestItems map[string][]map[string]item
		}
		err = n.decode(&in)
		for table, list := range in.RequestItems {
			for _, of := range list {
				for _, i := range of {
					i.TableName = table
					add("dynamodb:BatchWriteItem", i)
				}
			}
		}
	default:
		var in item
		err = n.decode(&in)
		add("dynamodb:"+n.action, in)
	}
	var calls []iamtest.Request
	for _, id := range order {
		action, table, _ := strings.Cut(id, " ")
		if !strings.HasPrefix(table, "arn:") {
			table = n.arn("dynamodb", "table/"+table)
		}
		calls = append(calls, iamtest.Request{Action: action, Context: keys[id], Resources: []iamtest.Resource{{ARN: table}}})
	}
	return calls, err
}

// kms is the Key Management Service.
func (n naming) kms() ([]iamtest.Request, error) {
	var in struct {
		KeyId, GranteePrincipal, RetiringPrincipal string //nolint:revive // as AWS has it
		Operations                                 []string
	}
	if err := n.decode(&in); err != nil {
		return nil, err
	}
	if in.KeyId == "" {
		return nil, fmt.Errorf("what kms:%s names is not known: %s", n.action, n.body)
	}
	context := map[string][]string{}
	if in.GranteePrincipal != "" {
		context["kms:GranteePrincipal"], context["kms:GrantOperations"] = []string{in.GranteePrincipal}, in.Operations
	}
	return []iamtest.Request{{Action: "kms:" + n.action, Context: context, Resources: []iamtest.Resource{n.key(in.KeyId)}}}, nil
}

// key returns a key with its aliases. Its policy leaves it to the account that it is of,
// where a test says nothing else; another account may use it as far as a grant says so.
func (n naming) key(id string) iamtest.Resource {
	of := n
	if parts := strings.Split(id, ":"); len(parts) > 5 && parts[4] != n.a.cloud.ID {
		for _, other := range n.a.server.others(n.a) {
			if other.cloud.ID == parts[4] {
				of.a = other
			}
		}
	}
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
	if of.a != n.a && r.Policy == nil {
		r.Policy = of.granted(id)
	}
	return r
}

// granted returns the grants of a key as a policy.
func (n naming) granted(key string) (p iamtest.Policy) {
	var list struct {
		Grants []struct {
			GranteePrincipal string
			Operations       []string
		}
	}
	n.ask("ListGrants", map[string]string{"KeyId": key}, &list)
	for _, g := range list.Grants {
		s := iamtest.Statement{Effect: "Allow", Principals: map[string][]string{"AWS": {g.GranteePrincipal}}}
		for _, operation := range g.Operations {
			s.Actions = append(s.Actions, "kms:"+operation)
		}
		p = append(p, s)
	}
	return p
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

// launchKeys returns the keys that a launch uses: that of the volume that it asks for, else
// the account's default, and those of the image's snapshots, whoever owns it.
func (n naming) launchKeys() (keys []string) {
	key := n.form.Get("BlockDeviceMapping.1.Ebs.KmsKeyId")
	id := n.form.Get("ImageId")
	accounts := append([]*account{n.a}, n.a.server.others(n.a)...)
	for _, a := range accounts {
		a.mu.Lock()
		if key == "" && a == n.a {
			key = a.defaultKey
		}
		_, theirs := a.images[id]
		a.mu.Unlock()
		if !theirs {
			continue
		}
		found := a.query(n.request, "ec2", "DescribeImages", url.Values{"ImageId.1": {id}})
		for _, m := range snapshotIDs.FindAllSubmatch(found.body, -1) {
			a.mu.Lock()
			keys = append(keys, a.keys[string(m[1])])
			a.mu.Unlock()
		}
	}
	keys = append(keys, key)
	slices.Sort(keys)
	return slices.DeleteFunc(slices.Compact(keys), func(k string) bool { return k == "" })
}

// unusable returns why a launch can't use a key; nil when it can. EC2 accepts the launch
// all the same, and the instance ends at once.
func (a *account) unusable(r *request) error {
	who, known := a.roles().by[r.role]
	if !known {
		return nil
	}
	n := naming{r, a}
	for _, key := range n.launchKeys() {
		for _, call := range n.keyed(key) {
			if err := who.May(call); err != nil {
				return err
			}
		}
	}
	return nil
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
