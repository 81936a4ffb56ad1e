// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"regexp"
	"strings"
)

// partitions are the parts of AWS that know nothing of one another, by how the names of their
// regions begin. All other regions are of the partition aws. AWS's SDK has the same table, for
// itself alone: aws-sdk-go-v2, internal/endpoints/awsrulesfn/partitions.json.
var partitions = []struct{ region, name, suffix string }{
	{"cn-", "aws-cn", "amazonaws.com.cn"},
	{"eu-isoe-", "aws-iso-e", "cloud.adc-e.uk"},
	{"eusc-", "aws-eusc", "amazonaws.eu"},
	{"us-gov-", "aws-us-gov", "amazonaws.com"},
	{"us-iso-", "aws-iso", "c2s.ic.gov"},
	{"us-isob-", "aws-iso-b", "sc2s.sgov.gov"},
	{"us-isof-", "aws-iso-f", "csp.hci.ic.gov"},
}

// PartitionOf returns the partition of a region, as ARNs name it, and what the names of its
// hosts end with. Where there is an ARN of the same account, its partition says as much.
func PartitionOf(region string) (name, suffix string) {
	for _, p := range partitions {
		if strings.HasPrefix(region, p.region) {
			return p.name, p.suffix
		}
	}
	return "aws", "amazonaws.com"
}

var regionName = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$`)

// IsRegion reports whether a text may be the name of a region, of any partition: eu-west-1,
// us-isob-east-1, eusc-de-east-1.
func IsRegion(name string) bool { return regionName.MatchString(name) }
