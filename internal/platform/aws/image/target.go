// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package image

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// reach is where an image must be for the environments of targets, besides what a publication
// says.
type reach struct {
	keys     map[string]string   // of the copies, by region; empty: the key of AWS
	accounts map[string][]string // that launch the image of a region
	guests   []string            // others who launch the image itself, in words
}

// reachOf returns where targets need an image. Two keys for the copy in one region, and a copy
// that could not be shared with the account that needs it, are CodeInvalid.
func (m *Images) reachOf(op string, p pipeline.Publication, targets []pipeline.Target) (reach, error) {
	to := reach{keys: maps.Clone(p.KMSKeys), accounts: map[string][]string{}}
	if to.keys == nil {
		to.keys = map[string]string{}
	}
	home, account := m.stack.Config.Region, m.stack.Settings.Account()
	for _, t := range targets {
		region := t.Region
		if region == "" {
			region = home
		}
		if has := to.keys[region]; region != home && t.KMSKey != "" && has != "" && has != t.KMSKey {
			return to, pipeline.Errorf(pipeline.CodeInvalid, op, "%s asks for the key %s of its copy in %s, but something else in the pipeline asks for %s", t.Describe(), t.KMSKey, region, has).
				WithHint("There is one copy in each region. Set the same kms_key on all targets there, and in publish.kms_keys.")
		}
		if _, known := to.keys[region]; region != home && (!known || t.KMSKey != "") {
			to.keys[region] = t.KMSKey
		}
		if a := t.Account(); a != "" && a != account && !slices.Contains(to.accounts[region], a) {
			to.accounts[region] = append(to.accounts[region], a)
			if region == home {
				to.guests = append(to.guests, t.Describe())
			}
		}
	}
	if p.Shared() {
		to.guests = append(to.guests, "those in publish.share_with")
	}
	for _, t := range targets {
		if a := t.Account(); a != "" && a != account && t.Region != "" && t.Region != home && managed(to.keys[t.Region]) {
			return to, pipeline.Errorf(pipeline.CodeInvalid, op, "%s needs a copy of the image that account %s may use, but a copy that is encrypted with %s can't be shared", t.Describe(), a, keyName(to.keys[t.Region])).
				WithHint("Set kms_key of the target to a key of the ledger's account, %s, in %s.", account, t.Region)
		}
	}
	return to, nil
}

// managed reports whether a key, as a configuration names it, is one of AWS's own, which no
// other account can use.
func managed(key string) bool { return key == "" || strings.Contains(key, "alias/aws/") }

// keyName names a key of AWS.
func keyName(key string) string {
	if key == "" {
		return "the account's default key for EBS"
	}
	return key + ", a key of AWS"
}

// CheckTargets implements pipeline.Images. An image that exists is asked for its keys once.
func (m *Images) CheckTargets(ctx context.Context, r pipeline.PublishRequest, key string) error {
	const op = "check targets"
	to, err := m.reachOf(op, r.Publication, r.Targets)
	switch {
	case err != nil || len(to.guests) == 0:
		return err
	case r.Image == "" && managed(key):
		return unshareable(op, "the image that is baked", keyName(key), to.guests)
	case r.Image == "":
		return nil
	}
	m.asked.Lock()
	defer m.asked.Unlock()
	if m.asked.shareable[r.Image] {
		return nil
	}
	image, ok, err := m.instances.Image(ctx, r.Image)
	if err != nil || !ok || aws.ToString(image.OwnerId) != m.stack.Settings.Account() { // who may not share it bakes another first
		return err
	}
	err = m.shareable(ctx, op, image, to.guests)
	if pipeline.CodeOf(err) == pipeline.CodeNotAllowed {
		return nil
	}
	if m.asked.shareable[r.Image] = err == nil; pipeline.IsNotFound(err) {
		return nil
	}
	return err
}

// unshareable is the error for an image that others need and can't use.
func unshareable(op, image, key string, guests []string) error {
	return pipeline.Errorf(pipeline.CodeInvalid, op, "%s is encrypted with %s, and AWS lets nobody share that with %s", image, key, strings.Join(guests, " and ")).
		WithHint("Set kms_key of the penstock_baked_image to a key of the ledger's account with an alias below alias/penstock/, and let it bake again.")
}

// shareable refuses an image that others are to launch, and whose key can't be shared: the
// first thing, so that no copy is made in vain.
func (m *Images) shareable(ctx context.Context, op string, image types.Image, guests []string) error {
	if len(guests) == 0 {
		return nil
	}
	keys, err := instance.Keys(ctx, m.ec2, image)
	if err != nil {
		return err
	}
	for _, key := range keys {
		is, err := m.instances.Key(ctx, op, key)
		if pipeline.CodeOf(err) == pipeline.CodeNotAllowed { // who may not look at a key may share it all the same
			continue
		}
		if err != nil {
			return err
		}
		if is.KeyManager == kmstypes.KeyManagerTypeAws {
			return unshareable(op, "image "+aws.ToString(image.ImageId), keyName(key), guests)
		}
	}
	return nil
}

// extended returns a publication with the copies that targets need.
func (to reach) extended(p pipeline.Publication, home string) pipeline.Publication {
	for _, region := range stack.Sorted(to.keys) {
		if region != home && !slices.Contains(p.Regions, region) {
			p.Regions = append(slices.Clone(p.Regions), region)
		}
	}
	p.KMSKeys = to.keys
	return p
}

// in returns what a publication says of the image in a region, for its targets, too: those that
// it names may launch what is in its own regions.
func (to reach) in(region, home string, p pipeline.Publication) pipeline.Publication {
	if region != home && !slices.Contains(p.Regions, region) {
		p = pipeline.Publication{KMSKeys: p.KMSKeys, DeprecateAfter: p.DeprecateAfter, Protected: p.Protected}
	}
	p.Accounts = slices.Concat(p.Accounts, to.accounts[region])
	return p
}
