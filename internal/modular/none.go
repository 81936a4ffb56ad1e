// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package modular

import (
	"context"
	"io"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// None is the modules of a place that has none. It refuses to have any.
type None struct{}

var _ pipeline.Modules = None{}

func refused(op string) error {
	return pipeline.Errorf(pipeline.CodeInvalid, op, "there is nothing here that applies modules")
}

// Under implements pipeline.Modules.
func (n None) Under(...pipeline.Fence) pipeline.Modules { return n }

// Check implements pipeline.Modules.
func (None) Check(pipeline.Module) error { return refused("check module") }

// Pack implements pipeline.Modules.
func (None) Pack(context.Context, pipeline.PackRequest) (bool, error) {
	return false, refused("pack module")
}

// Plan implements pipeline.Modules.
func (None) Plan(context.Context, pipeline.ModuleRequest) (pipeline.ModulePlan, error) {
	return pipeline.ModulePlan{}, refused("plan module")
}

// Apply implements pipeline.Modules.
func (None) Apply(context.Context, pipeline.ModuleRequest) (pipeline.ModuleOutputs, error) {
	return pipeline.ModuleOutputs{}, refused("apply module")
}

// Keep implements pipeline.Modules.
func (None) Keep(context.Context, string) error { return refused("keep module") }

// Revert implements pipeline.Modules.
func (None) Revert(context.Context, string, io.Writer) error { return refused("revert module") }

// Resize implements pipeline.Modules.
func (None) Resize(context.Context, string, int, io.Writer) error { return refused("resize module") }

// Site implements pipeline.Modules.
func (None) Site(_ context.Context, environment string) (pipeline.ModuleSite, error) {
	return pipeline.ModuleSite{}, pipeline.Errorf(pipeline.CodeNotFound, "find module", "environment %s has none", environment)
}

// Drift implements pipeline.Modules.
func (None) Drift(context.Context, string, io.Writer) (pipeline.ModulePlan, error) {
	return pipeline.ModulePlan{}, refused("compare module")
}

// Destroy implements pipeline.Modules: there is nothing.
func (None) Destroy(context.Context, string, io.Writer) error { return nil }

// Environments implements pipeline.Modules.
func (None) Environments(context.Context) ([]string, error) { return nil, nil }
