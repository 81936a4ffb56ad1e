// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/docstest"
)

func TestLockedError(t *testing.T) {
	err := &LockedError{Lease{Key: "shop/stage/acceptance", Holder: Holder{Process: Process{Host: "build1"}, Actor: "alice", Purpose: "stage acceptance", Since: time.Now()}}}
	docstest.Shows(t, "docs/guides/failure-and-recovery.md", "holds", err.Error())
}

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
