// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"encoding/json"

	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// anchorKey is in a pipeline's private state: how far its history had come when Terraform
// looked last. As that moves with everything that happens, it is no attribute: each plan
// would show it.
const anchorKey = "ledger_head"

// privateReader and privateWriter are a resource's private state in a request and in a
// response.
type privateReader interface {
	GetKey(ctx context.Context, key string) ([]byte, diag.Diagnostics)
}

type privateWriter interface {
	SetKey(ctx context.Context, key string, value []byte) diag.Diagnostics
}

// checkAnchor reports a history that has not any more what it had when Terraform looked
// last.
func (s *session) checkAnchor(ctx context.Context, name string, private privateReader) (diags diag.Diagnostics) {
	data, diags := private.GetKey(ctx, anchorKey)
	if data == nil || diags.HasError() {
		return diags
	}
	var anchor pipeline.Anchor
	err := json.Unmarshal(data, &anchor)
	if err == nil {
		err = s.CheckAnchor(ctx, name, anchor)
	}
	if err != nil {
		addError(&diags, "read pipeline", name, err)
	}
	return diags
}

// keepAnchor remembers how far the history has come.
func (s *session) keepAnchor(ctx context.Context, name string, private privateWriter) (diags diag.Diagnostics) {
	anchor, err := s.Anchor(ctx, name)
	if err == nil && anchor.Sequence == 0 {
		return nil
	}
	var data []byte
	if err == nil {
		data, err = json.Marshal(anchor)
	}
	if err != nil {
		addError(&diags, "read pipeline", name, err)
		return diags
	}
	return private.SetKey(ctx, anchorKey, data)
}
