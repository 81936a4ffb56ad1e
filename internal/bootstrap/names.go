// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"regexp"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

var (
	zoneID     = regexp.MustCompile(`^(arn:[a-z-]+:route53:::hostedzone/)?Z[A-Z0-9]{1,31}$`)
	recordName = regexp.MustCompile(`^[a-z0-9_*?-]+(\.[a-z0-9_*?-]+)+$`)
)

// validateNames refuses zones without names, and the other way round: deployers must not set
// whatever they like in a zone.
func (p Parameters) validateNames(op string) error {
	for _, zone := range p.HostedZones {
		if !zoneID.MatchString(zone) {
			return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not the ID of a hosted zone", zone).WithHint("Write it like Z0123456789ABCDEFGHIJ, or as its ARN.")
		}
	}
	for _, name := range p.RecordNames {
		if !recordName.MatchString(name) {
			return pipeline.Errorf(pipeline.CodeInvalid, op, "%q is not a DNS name", name).
				WithHint("Write the whole name in lower case, without a dot at its end, such as shop.example.com or *.shop.example.com.")
		}
	}
	if (len(p.HostedZones) > 0) != (len(p.RecordNames) > 0) {
		return pipeline.Errorf(pipeline.CodeInvalid, op, "%d hosted zones, and %d names that may be set there", len(p.HostedZones), len(p.RecordNames)).
			WithHint("Pass hosted zones and the names that environments may have in them together.")
	}
	return nil
}

// zoneARNs returns the ARNs of hosted zones, in the partition of a region.
func zoneARNs(zones []string, region string) (list []string) {
	partition, _ := cloud.PartitionOf(region)
	for _, zone := range zones {
		if !strings.HasPrefix(zone, "arn:") {
			zone = "arn:" + partition + ":route53:::hostedzone/" + zone
		}
		list = append(list, zone)
	}
	return list
}

// ownedNames returns names, with those of the TXT records that say whose each is.
func ownedNames(names []string) (list []string) {
	for _, name := range names {
		list = append(list, name, "_penstock."+name)
	}
	return list
}
