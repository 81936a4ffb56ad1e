// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

func TestEmulated(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"":                                    false,
		"http://127.0.0.1:5000":               true,
		"http://localhost:4566/":              true,
		"http://[::1]:4566":                   true,
		"https://127.0.0.1:8443":              false, // a tunnel
		"http://10.0.0.7:5000":                false,
		"http://localhost.example.com":        false,
		"https://ec2.eu-west-1.amazonaws.com": false,
		"::":                                  false,
	} {
		c := &Cloud{}
		if endpoint != "" {
			c.Config.BaseEndpoint = aws.String(endpoint)
		}
		if got := c.Emulated(); got != want {
			t.Errorf("the endpoint %q is emulated: %v", endpoint, got)
		}
	}
}
