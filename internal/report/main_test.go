// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package report_test

import (
	"os"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/supervisor"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace/workplacetest"
)

func TestMain(m *testing.M) {
	process.Guard()
	supervisor.Main()
	os.Exit(workplacetest.Main(m.Run))
}
