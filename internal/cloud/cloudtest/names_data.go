// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"fmt"
	"regexp"
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
