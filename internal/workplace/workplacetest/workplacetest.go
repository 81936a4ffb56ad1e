// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package workplacetest gives tests a directory for workplaces that goes with them, so
// that they leave nothing in the home directory of whoever runs them.
//
//	func TestMain(m *testing.M) { os.Exit(workplacetest.Main(m.Run)) }
package workplacetest

import (
	"os"

	"github.com/penstock-io/terraform-provider-penstock/internal/workplace"
)

// Variable is the variable that Main sets, for programs that don't inherit it.
const Variable = workplace.Variable

// Main runs tests with a directory of their own for workplaces, and returns what they
// return.
func Main(run func() int) int {
	dir, err := os.MkdirTemp("", "penstock-work")
	if err != nil {
		panic(err)
	}
	defer func() { _ = workplace.RemoveTree(dir) }()
	if err := os.Setenv(Variable, dir); err != nil {
		panic(err)
	}
	return run()
}
