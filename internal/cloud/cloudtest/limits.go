// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Limits of AWS's services that their models do not have, and that the simulator does not
// keep. Who goes beyond one is refused as the service does it.

const (
	maxItem        = 400 << 10 // of DynamoDB, in bytes with names
	maxTransaction = 4 << 20
	maxTemplate    = 51200 // of CloudFormation, in a request
	maxMessage     = 256 << 10
)

// beyond returns the answer of a request that goes beyond what its service takes; nil for
// the others.
func (a *account) beyond(r *request) *answer {
	var code, why string
	switch r.service {
	case "dynamodb":
		code, why = "ValidationException", largeItems(r)
	case "cloudformation":
		code, why = "ValidationError", largeTemplate(r)
	case "ec2":
		code, why = unfitForEC2(r)
	case "elasticloadbalancing":
		code, why = "ValidationError", unfitForBalancers(r)
	case "sns":
		if n := len(r.form.Get("Message")); n > maxMessage {
			code, why = "InvalidParameter", fmt.Sprintf("Invalid parameter: Message too long: %d bytes", n)
		}
	case "events":
		code, why = "ValidationException", largeEvents(r)
	}
	if why == "" {
		return nil
	}
	got := r.fail(http.StatusBadRequest, code, why)
	return &got
}

// largeItems says which items of a request to DynamoDB are too large.
func largeItems(r *request) string {
	var in struct {
		Item          map[string]any
		RequestItems  map[string]json.RawMessage // of BatchWriteItem writes, of BatchGetItem keys
		TransactItems []map[string]struct {
			Item, Key, ExpressionAttributeValues map[string]any
		}
	}
	if json.Unmarshal(r.body, &in) != nil {
		return ""
	}
	const large = "Item size has exceeded the maximum allowed size"
	total := 0
	for _, one := range in.TransactItems {
		for _, write := range one {
			n := itemSize(write.Item)
			if n > maxItem {
				return large
			}
			total += n + itemSize(write.Key) + itemSize(write.ExpressionAttributeValues)
		}
	}
	switch {
	case total > maxTransaction:
		return fmt.Sprintf("The aggregate size of the items in the transaction exceeds 4 MB: %d bytes", total)
	case itemSize(in.Item) > maxItem:
		return large
	case r.action != "BatchWriteItem":
		return ""
	}
	writes := 0
	for _, table := range in.RequestItems {
		var puts []struct{ PutRequest struct{ Item map[string]any } }
		if json.Unmarshal(table, &puts) != nil {
			return ""
		}
		for writes += len(puts); len(puts) > 0; puts = puts[1:] {
			if itemSize(puts[0].PutRequest.Item) > maxItem {
				return large
			}
		}
	}
	if writes > 25 {
		return "Too many items requested for the BatchWriteItem call"
	}
	return ""
}

// itemSize counts the bytes of an item as DynamoDB does.
func itemSize(item map[string]any) (n int) {
	for name, value := range item {
		n += len(name) + valueSize(value)
	}
	return n
}

func valueSize(v any) (n int) {
	typed, _ := v.(map[string]any)
	for kind, value := range typed {
		switch value := value.(type) {
		case string:
			switch kind {
			case "N":
				return len(value)/2 + 1
			case "B":
				return base64.StdEncoding.DecodedLen(len(value))
			}
			return len(value)
		case map[string]any:
			return 3 + len(value) + itemSize(value)
		case []any:
			for _, part := range value {
				if s, set := part.(string); set {
					n += len(s)
				} else {
					n += 1 + valueSize(part)
				}
			}
			return 3 + n
		}
	}
	return 1
}

// largeTemplate says what of a template CloudFormation does not take.
func largeTemplate(r *request) string {
	body := r.form.Get("TemplateBody")
	if len(body) > maxTemplate {
		return fmt.Sprintf("1 validation error detected: Value at 'templateBody' failed to satisfy constraint: Member must have length less than or equal to %d (it has %d)", maxTemplate, len(body))
	}
	var template struct {
		Description                              string
		Parameters, Outputs, Resources, Mappings map[string]yaml.Node
	}
	if body == "" || yaml.Unmarshal([]byte(body), &template) != nil {
		return "" // the simulator says so
	}
	for what, has := range map[string]struct{ n, limit int }{
		"Parameters": {len(template.Parameters), 200}, "Outputs": {len(template.Outputs), 200}, "Resources": {len(template.Resources), 500},
		"Mappings": {len(template.Mappings), 200}, "bytes of the Description": {len(template.Description), 1024},
	} {
		if has.n > has.limit {
			return fmt.Sprintf("Template format error: Number of %s, %d, is greater than maximum allowed, %d", what, has.n, has.limit)
		}
	}
	for name, values := range r.form {
		if strings.HasSuffix(name, ".ParameterValue") && len(values[0]) > 4096 {
			return fmt.Sprintf("Parameter %s has %d bytes, more than 4096", r.form.Get(strings.TrimSuffix(name, "Value")+"Key"), len(values[0]))
		}
	}
	return ""
}

var (
	imageName  = regexp.MustCompile(`^[a-zA-Z0-9()\[\] ./\-'@_]{3,128}$`)
	tagName    = regexp.MustCompile(`^(?:TagSpecification\.\d+\.)?Tag\.\d+\.(Key|Value)$`)
	tagLength  = map[string]int{"Key": 128, "Value": 256}
	balanced   = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?$`)
	namedThing = map[string]bool{"CreateLoadBalancer": true, "CreateTargetGroup": true}
)

// unfitForEC2 returns the error of a request whose names and tags EC2 does not take.
func unfitForEC2(r *request) (code, why string) {
	if r.action == "CreateImage" || r.action == "CopyImage" {
		if name := r.form.Get("Name"); !imageName.MatchString(name) {
			return "InvalidAMIName.Malformed", "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', '/' and '_': " + name
		}
		if n := len(r.form.Get("Description")); n > 255 {
			return "InvalidParameterValue", fmt.Sprintf("The description has %d characters, more than 255", n)
		}
	}
	for name, values := range r.form {
		m := tagName.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		if n := utf8.RuneCountInString(values[0]); n > tagLength[m[1]] || m[1] == "Key" && (n == 0 || strings.HasPrefix(values[0], "aws:")) {
			return "InvalidParameterValue", fmt.Sprintf("Tag %s exceeds the maximum length of %d, or is reserved: %s", m[1], tagLength[m[1]], values[0])
		}
	}
	return "", ""
}

// unfitForBalancers says which name of a load balancer or target group is none.
func unfitForBalancers(r *request) string {
	if name := r.form.Get("Name"); namedThing[r.action] && (!balanced.MatchString(name) || strings.HasPrefix(name, "internal-")) {
		return fmt.Sprintf("The name '%s' must have at most 32 characters, letters, digits and hyphens that neither begin nor end it, and not begin with internal-", name)
	}
	return ""
}

// largeEvents says which events EventBridge does not take.
func largeEvents(r *request) string {
	var in struct {
		Entries []struct{ Source, DetailType, Detail string }
	}
	if json.Unmarshal(r.body, &in) != nil {
		return ""
	}
	total := 0
	for _, e := range in.Entries {
		total += len(e.Source) + len(e.DetailType) + len(e.Detail)
	}
	if total > maxMessage {
		return fmt.Sprintf("Total size of the entries in the request is over the limit: %d bytes", total)
	}
	return ""
}
