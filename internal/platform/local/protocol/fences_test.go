// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package protocol

import (
	"sync"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// However many show tokens at once, none is admitted after a higher one was.
func TestFencesAtOnce(t *testing.T) {
	t.Parallel()
	f := FencesOf(t.TempDir())
	var mu sync.Mutex
	var admitted int64 // highest that is known to have been
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for token := int64(worker); token < 40; token += int64(worker%3 + 1) {
				mu.Lock()
				before := admitted
				mu.Unlock()
				err := f.Admit(t.Context(), "change", []pipeline.Fence{{Key: "k", Token: token}})
				if err != nil && pipeline.CodeOf(err) != pipeline.CodeLeaseLost {
					t.Error(err)
				}
				if err == nil && token < before {
					t.Errorf("token %d was admitted after %d", token, before)
				}
				mu.Lock()
				if err == nil {
					admitted = max(admitted, token)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if seen, err := f.read(); err != nil || seen["k"] != admitted {
		t.Errorf("%d is remembered, and %d was admitted: %v", seen["k"], admitted, err)
	}
}
