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
	"time"
)

// imageType is the data type of parameters for images. AWS looks at what they say after it has
// answered: the request succeeds, and the parameter stays what it was where the image is not
// one that the account can use in the region.
const imageType = "aws:ec2:image"

// putParameter writes a parameter for an image when AWS has looked at the image, and another at
// once. A parameter keeps its data type.
func (a ssmAPI) putParameter(r *request) answer {
	var in struct {
		Name, Value, DataType string
		Overwrite             bool
	}
	if err := json.Unmarshal(r.body, &in); err != nil {
		return r.fail(http.StatusBadRequest, "SerializationException", err.Error())
	}
	n := naming{r, a.account}
	var has struct {
		Parameter struct {
			DataType string
			Version  int
		}
	}
	there := n.askSSM("GetParameter", map[string]any{"Name": in.Name}, &has)
	switch {
	case there && !in.Overwrite:
		return r.fail(http.StatusBadRequest, "ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
	case there && in.DataType != "" && in.DataType != has.Parameter.DataType && (in.DataType == imageType || has.Parameter.DataType == imageType):
		return r.fail(http.StatusBadRequest, "ValidationException", "The data type of a parameter can't be changed to or from "+imageType)
	case in.DataType != imageType && has.Parameter.DataType != imageType:
		return a.server.forward(r)
	}
	if there && in.DataType == "" {
		r.body = []byte(strings.Replace(string(r.body), "{", `{"DataType":"`+imageType+`",`, 1))
	}
	write := func() answer {
		if !a.usableImage(r, in.Value) {
			a.cloud.logf("parameter %s in %s: %s is no image there; it stays as it is", in.Name, r.region, in.Value)
			return reply(http.StatusOK, map[string]any{"Version": has.Parameter.Version + 1, "Tier": "Standard"})
		}
		return a.server.forward(r)
	}
	takes := a.cloud.paced().Parameter
	if takes == 0 {
		return write()
	}
	own := *r
	own.Request = r.Clone(a.ctx) // the client's ends with the answer
	r = &own
	go func() {
		select {
		case <-a.ctx.Done():
		case <-time.After(takes):
			write()
		}
	}()
	return reply(http.StatusOK, map[string]any{"Version": has.Parameter.Version + 1, "Tier": "Standard"})
}

// getParameters says by which version or label it was asked, which moto does not.
func (a ssmAPI) getParameters(r *request) answer {
	var in struct{ Names []string }
	if json.Unmarshal(r.body, &in) != nil || !slices.ContainsFunc(in.Names, func(name string) bool { return strings.Contains(name, ":") && !strings.HasPrefix(name, "arn:") }) {
		return a.server.forward(r)
	}
	found, invalid := []map[string]any{}, []string{}
	for _, name := range in.Names {
		var got struct{ Parameter map[string]any }
		if !(naming{r, a.account}).askSSM("GetParameter", map[string]any{"Name": name}, &got) {
			invalid = append(invalid, name)
			continue
		}
		if _, by, ok := strings.Cut(name, ":"); ok {
			got.Parameter["Selector"] = ":" + by
		}
		found = append(found, got.Parameter)
	}
	return reply(http.StatusOK, map[string]any{"Parameters": found, "InvalidParameters": invalid})
}

// usableImage reports whether the account can use an image in the region of a request: its own,
// a public one, or one that another account shares, once it is available.
func (a *account) usableImage(r *request, id string) bool {
	if code, _ := a.unready(r, id); code != "" {
		return false
	}
	if a.sharedBy(r.region, id) != nil {
		return true
	}
	found := a.query(r, "ec2", "DescribeImages", url.Values{"ImageId.1": {id}})
	return found.status == http.StatusOK && strings.Contains(string(found.body), "<imageId>"+id+"</imageId>")
}

// resolved returns the image that a launch names by a parameter, as in resolve:ssm:/images/base:3.
func (a *account) resolved(r *request, id string) (string, error) {
	alias, by := strings.CutPrefix(id, "resolve:ssm:")
	if !by {
		return id, nil
	}
	var got struct{ Parameter struct{ Value string } }
	if !(naming{r, a}).askSSM("GetParameter", map[string]any{"Name": alias}, &got) {
		return "", fmt.Errorf("the parameter %s does not exist", alias)
	}
	return got.Parameter.Value, nil
}

// ownJSON returns a request of the proxy's own to a service that takes JSON.
func (n naming) ownJSON(service, target, action string, body []byte) *request {
	own := &request{Request: n.Clone(n.Context()), body: body, service: service, region: n.region, action: action, account: n.a}
	own.Method, own.URL = http.MethodPost, &url.URL{Path: "/"}
	own.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/20260101/%s/%s/aws4_request, SignedHeaders=host, Signature=0", n.a.cloud.AccessKey(), n.region, service))
	own.Header.Set("X-Amz-Target", target)
	own.Header.Set("Content-Type", "application/x-amz-json-1.1")
	return own
}
