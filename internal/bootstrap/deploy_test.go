// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"reflect"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/bootstrap"
	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/iamtest"
)

// deployed is the template as CloudFormation would deploy it with some parameters.
type deployed struct {
	*iamtest.Stack
	t testing.TB
}

func deploy(t testing.TB, given map[string]string) *deployed {
	t.Helper()
	return &deployed{iamtest.Deploy(bootstrap.Template(), given), t}
}

// What is deployed is the template that is here to read, written in fewer lines.
func TestCompactTemplate(t *testing.T) {
	t.Parallel()
	given := map[string]string{
		"Ci": "yes", "Repository": "https://example.com/a.git", "RepositoryToken": "/t", "OwnKey": "yes", "Zones": "3", "NatGateway": "yes",
		"ParameterPath": "/acme", "ImageKeys": "arn:aws:kms:eu-west-1:111111111111:key/1",
		"HostedZones": "arn:aws:route53:::hostedzone/Z0", "RecordNames": "*.shop.example.com",
	}
	source, compact := iamtest.Deploy(read(t, "template.yaml"), given), iamtest.Deploy(bootstrap.Template(), given)
	for name, r := range source.Resources {
		delete(r, "Metadata") // for cfn-lint alone
		delete(r, "Condition")
		delete(compact.Resources[name], "Condition") // it has a shorter name
		if !reflect.DeepEqual(r, compact.Resources[name]) {
			t.Errorf("the template says\n%v\nand what is deployed\n%v", r, compact.Resources[name])
		}
	}
	if len(source.Resources) != len(compact.Resources) || !reflect.DeepEqual(source.Outputs, compact.Outputs) {
		t.Errorf("the template has the outputs\n%v\nand what is deployed\n%v", source.Outputs, compact.Outputs)
	}
}
