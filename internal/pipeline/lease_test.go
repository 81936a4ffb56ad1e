// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import "testing"

func TestLeaseKey(t *testing.T) {
	for text, key := range map[string]LeaseKey{
		"shop/stage/acceptance":  {"shop", LeaseStage, "acceptance"},
		"shop/image/base":        {"shop", LeaseImage, "base"},
		"shop/environment/alice": {"shop", LeaseEnvironment, "alice"},
		"shop/owner/a/b":         {"shop", LeaseOwner, "a/b"},
		"shop/pipeline":          {"shop", LeasePipeline, ""},
		"shop/watch":             {"shop", LeaseWatch, ""},
		"shop/notify/0123":       {"shop", LeaseNotify, "0123"},
	} {
		if got := ParseLeaseKey(text); got != key || key.String() != text {
			t.Errorf("%q is %+v, and %+v is %q", text, got, key, key)
		}
	}
	for _, text := range []string{"", "shop", "/"} {
		if k := ParseLeaseKey(text); k.Kind != "" || k.Applies() {
			t.Errorf("%q is %+v", text, k)
		}
	}
}
