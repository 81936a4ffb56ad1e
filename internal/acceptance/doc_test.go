// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package acceptance_test takes examples/aws through all its stages on an account of AWS's,
// with the real binary and the real Terraform, removes everything, and reports how AWS's
// answers differ from those of the test cloud. The same program passes on the test cloud,
// so that it is known to work.
//
//	PENSTOCK_ACCEPT=1 AWS_REGION=eu-west-1 make acceptance-aws
//	PENSTOCK_ACCEPT=1 AWS_REGION=eu-west-1 make acceptance-aws-sweep
package acceptance_test
