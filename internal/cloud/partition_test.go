// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Regions of every partition are regions, and the table says of each what AWS's SDK says.
func TestPartitions(t *testing.T) {
	t.Parallel()
	for region, partition := range map[string]string{
		"eu-west-1": "aws", "us-east-1": "aws", "mx-central-1": "aws", "cn-northwest-1": "aws-cn", "us-gov-west-1": "aws-us-gov", "eusc-de-east-1": "aws-eusc",
		"us-iso-east-1": "aws-iso", "us-isob-east-1": "aws-iso-b", "eu-isoe-west-1": "aws-iso-e", "us-isof-south-1": "aws-iso-f",
	} {
		name, suffix := PartitionOf(region)
		if name != partition || !IsRegion(region) {
			t.Errorf("%s is a region of %s: %v", region, name, IsRegion(region))
		}
		at, err := sts.NewDefaultEndpointResolverV2().ResolveEndpoint(t.Context(), sts.EndpointParameters{Region: aws.String(region)})
		if err != nil || !strings.HasSuffix(at.URI.Host, region+"."+suffix) {
			t.Errorf("in %s STS is %s, %v", region, at.URI.Host, err)
		}
	}
	for _, region := range []string{"", "Ireland", "eu-west", "eu-west-1a", "eu_west_1", "-west-1"} {
		if IsRegion(region) {
			t.Errorf("%q is a region", region)
		}
	}
}

// External IDs and the ARNs of roles are what STS takes.
func TestRoleTexts(t *testing.T) {
	t.Parallel()
	for id, is := range map[string]bool{
		"shop-1": true, "a:b/c_d=e,f.g@h+i": true, strings.Repeat("x", 1224): true, "": false, "x": false, strings.Repeat("x", 1225): false, "two words": false, "ümlaut": false, "shop#1": false,
	} {
		if IsExternalID(id) != is {
			t.Errorf("%q: %v", id, !is)
		}
	}
	for arn, is := range map[string]bool{
		"arn:aws:iam::123456789012:role/deployer": true, "arn:aws-eusc:iam::123456789012:role/ci/deployer": true, "arn:aws-iso-b:iam::123456789012:role/d": true,
		"arn:aws:iam::123456789012:role/*": false, "arn:aws:iam::123456789012:role/": false, "arn:aws:iam::123:role/d": false, "arn:aws:iam::123456789012:user/d": false, "deployer": false,
	} {
		if IsRoleARN(arn) != is {
			t.Errorf("%q: %v", arn, !is)
		}
	}
}

// A region that is none is refused before any request.
func TestLoadRegion(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL", "")
	if _, err := Load(t.Context(), Options{Region: "Ireland"}); pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), `"Ireland" is not a region`) {
		t.Error(err)
	}
}
