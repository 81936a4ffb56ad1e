// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
)

var guideFence = regexp.MustCompile("(?ms)^ *```(?:terraform|hcl)\n(.*?)^ *```")

// pieces returns the configurations in guides, by their places, and those of the examples.
func pieces(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, dir := range []string{"../../tools/templates", "../../examples"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".tmpl") && !strings.HasSuffix(path, ".tf") {
				return err
			}
			text, err := os.ReadFile(path)
			if strings.HasSuffix(path, ".tf") {
				found[path] = string(text)
			}
			for i, m := range guideFence.FindAllStringSubmatch(string(text), -1) {
				found[path+" "+string(rune('1'+i))] = m[1]
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// Keys of images in the guides and the examples are made as they stand there, and deployers may
// share each of them, by the alias that it has in its region.
func TestGuideToKeys(t *testing.T) {
	t.Parallel()
	made := 0
	for at, text := range pieces(t) {
		if !strings.Contains(text, `resource "aws_kms_`) {
			continue
		}
		file, wrong := hclsyntax.ParseConfig([]byte(text), at, hcl.InitialPos)
		if wrong.HasErrors() {
			t.Fatal(wrong)
		}
		c := cloudtest.New(t)
		for _, key := range makeKeys(t, c, file.Body.(*hclsyntax.Body).Blocks) {
			made++
			client := kms.NewFromConfig(c.Config(), func(o *kms.Options) { o.Region = strings.Split(key, ":")[3] })
			_, err := client.CreateGrant(t.Context(), &kms.CreateGrantInput{
				KeyId: aws.String(key), GranteePrincipal: aws.String("arn:aws:iam::222222222222:root"), Operations: []kmstypes.GrantOperation{kmstypes.GrantOperationDecrypt},
			})
			if err != nil {
				t.Errorf("%s: a deployer can't share %s: %v", at, key, err)
			}
		}
	}
	if made < 2 {
		t.Errorf("the guides and the examples have %d keys", made)
	}
}

// makeKeys makes the keys and aliases of a configuration, and returns the ARNs of the keys.
func makeKeys(t *testing.T, c *cloudtest.Cloud, blocks hclsyntax.Blocks) (arns []string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	in := func(region string) *kms.Client {
		return kms.NewFromConfig(c.Own(), func(o *kms.Options) { o.Region = region })
	}
	keys := map[string]*kmstypes.KeyMetadata{}                                             // by name of the resource
	for _, kind := range []string{"aws_kms_key", "aws_kms_replica_key", "aws_kms_alias"} { // in the order in which they need one another
		for _, block := range blocks {
			if len(block.Labels) != 2 || block.Labels[0] != kind {
				continue
			}
			name, region := strings.Join(block.Labels, "."), cloudtest.Region
			text := func(attribute string) string { return value(t, block, attribute) }
			if set := text("region"); set != "" {
				region = set
			}
			switch kind {
			case "aws_kms_key":
				out, err := in(region).CreateKey(t.Context(), &kms.CreateKeyInput{MultiRegion: aws.Bool(text("multi_region") == "true")})
				must(err)
				keys[name] = out.KeyMetadata
			case "aws_kms_replica_key":
				of := keys[strings.TrimSuffix(text("primary_key_arn"), ".arn")]
				out, err := in(strings.Split(aws.ToString(of.Arn), ":")[3]).ReplicateKey(t.Context(), &kms.ReplicateKeyInput{KeyId: of.KeyId, ReplicaRegion: aws.String(region)})
				must(err)
				keys[name] = out.ReplicaKeyMetadata
			default:
				_, err := in(region).CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String(text("name")), TargetKeyId: keys[strings.TrimSuffix(text("target_key_id"), ".key_id")].KeyId})
				must(err)
			}
		}
	}
	for _, key := range keys {
		arns = append(arns, aws.ToString(key.Arn))
	}
	return arns
}

// value returns a literal value, or what another resource's attribute is called.
func value(t *testing.T, block *hclsyntax.Block, attribute string) string {
	t.Helper()
	set := block.Body.Attributes[attribute]
	if set == nil {
		return ""
	}
	if refers := set.Expr.Variables(); len(refers) == 1 {
		var names []string
		for _, step := range refers[0] {
			switch step := step.(type) {
			case hcl.TraverseRoot:
				names = append(names, step.Name)
			case hcl.TraverseAttr:
				names = append(names, step.Name)
			}
		}
		return strings.Join(names, ".")
	}
	got, wrong := set.Expr.Value(nil)
	if wrong.HasErrors() {
		t.Fatal(wrong)
	}
	if got.Type().FriendlyName() == "bool" {
		return map[bool]string{true: "true"}[got.True()]
	}
	return got.AsString()
}
