// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import "net/http"

// An account has regions that it must enable first. In one that is not its services know no
// credentials of the account, and STS makes none for its roles. STS knows the credentials of
// whoever asks for those of another account.

// CloseRegion makes a region one that the account has not enabled.
func (c *Cloud) CloseRegion(region string) {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed[region] = true
}

// OpenRegion enables a region.
func (c *Cloud) OpenRegion(region string) {
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.closed, region)
}

func (a *account) isClosed(region string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.closed[region]
}

// global are the services that know the account wherever they are asked.
var global = map[string]bool{"iam": true, "route53": true, "sts": true}

// outside returns the answer of a region that is not enabled; nil in one that is.
func (a *account) outside(r *request) *answer {
	if global[r.service] || !a.isClosed(r.region) {
		return nil
	}
	code, why := "UnrecognizedClientException", "The security token included in the request is invalid."
	switch {
	case r.service == "ec2":
		code, why = "AuthFailure", "AWS was not able to validate the provided access credentials"
	case r.service == "s3":
		code, why = "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."
	case r.form != nil:
		code = "InvalidClientTokenId"
	}
	got := r.fail(http.StatusForbidden, code, why)
	return &got
}
