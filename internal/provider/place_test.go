// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// Another place has another environment; another reader of the same place is no reason to
// replace a stage.
func TestMoves(t *testing.T) {
	text := types.StringType
	kinds := map[string]attr.Type{"role_arn": text, "reader_role_arn": text, "region": text}
	place := func(role, reader string, region attr.Value) types.Object {
		return types.ObjectValueMust(kinds, map[string]attr.Value{"role_arn": types.StringValue(role), "reader_role_arn": orNull(reader), "region": region})
	}
	was := place("a", "", types.StringNull())
	for name, test := range map[string]struct {
		is    types.Object
		moves bool
	}{
		"another reader": {place("a", "reader", types.StringNull()), false}, "another role": {place("b", "", types.StringNull()), true},
		"another region": {place("a", "", types.StringValue("eu-west-2")), true}, "an unknown region": {place("a", "reader", types.StringUnknown()), true},
		"none": {types.ObjectNull(kinds), true},
	} {
		for _, back := range []bool{false, true} {
			req := planmodifier.ObjectRequest{StateValue: was, PlanValue: test.is}
			if back {
				req.StateValue, req.PlanValue = req.PlanValue, req.StateValue
			}
			var resp objectplanmodifier.RequiresReplaceIfFuncResponse
			if moves(t.Context(), req, &resp); resp.RequiresReplace != test.moves || resp.Diagnostics.HasError() {
				t.Errorf("%s: %v, want %v", name, resp.RequiresReplace, test.moves)
			}
		}
	}
}
