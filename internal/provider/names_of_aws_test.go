// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// eachString calls a function for each attribute below a schema that is a text, with its name.
func eachString(name string, of reflect.Value, f func(name string, checks []validator.String)) {
	for of.Kind() == reflect.Interface || of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct {
		return
	}
	if nested := of.FieldByName("NestedObject"); nested.IsValid() {
		eachString(name, nested, f)
	}
	if inner := of.FieldByName("Attributes"); inner.IsValid() {
		for _, key := range inner.MapKeys() {
			eachString(name+"."+key.String(), inner.MapIndex(key), f)
		}
	}
	if checks := of.FieldByName("Validators"); checks.IsValid() {
		computed := of.FieldByName("Computed") // which the provider's own have not
		if list, ok := checks.Interface().([]validator.String); ok && !(computed.IsValid() && computed.Bool()) {
			f(name, list)
		}
	}
}

// Whatever is called external_id, role_arn, reader_role_arn or region is checked as AWS checks
// it, wherever it is: a value that AWS would refuse is an error of the plan, and is named in it.
func TestNamesOfAWS(t *testing.T) {
	t.Parallel()
	p := New("test")
	var own provider.SchemaResponse
	p.Schema(t.Context(), provider.SchemaRequest{}, &own)
	schemas := map[string]any{"provider": own.Schema}
	for _, made := range p.Resources(t.Context()) {
		var name resource.MetadataResponse
		var got resource.SchemaResponse
		made().Metadata(t.Context(), resource.MetadataRequest{ProviderTypeName: "penstock"}, &name)
		made().Schema(t.Context(), resource.SchemaRequest{}, &got)
		schemas[name.TypeName] = got.Schema
	}
	for _, made := range p.DataSources(t.Context()) {
		var name datasource.MetadataResponse
		var got datasource.SchemaResponse
		made().Metadata(t.Context(), datasource.MetadataRequest{ProviderTypeName: "penstock"}, &name)
		made().Schema(t.Context(), datasource.SchemaRequest{}, &got)
		schemas["data."+name.TypeName] = got.Schema
	}
	const role = "arn:aws-eusc:iam::123456789012:role/ci/deployer"
	values := map[string]map[string]bool{
		"external_id":     {"shop-1": true, "_x": true, strings.Repeat("x", 1224): true, "x": false, strings.Repeat("x", 1225): false, "two words": false, "shop#1": false},
		"role_arn":        {role: true, "deployer": false, role + "*": false, "arn:aws:iam::123456789012:user/deployer": false},
		"reader_role_arn": {role: true, "deployer": false},
		"region":          {"eu-west-1": true, "eusc-de-east-1": true, "us-isob-east-1": true, "eu-isoe-west-1": true, "us-iso-east-1": true, "Ireland": false, "eu-west-1a": false},
	}
	seen := map[string]int{}
	for of, schema := range schemas {
		eachString(of, reflect.ValueOf(schema), func(name string, checks []validator.String) {
			last := name[strings.LastIndex(name, ".")+1:]
			if values[last] != nil {
				seen[last]++
			}
			for value, is := range values[last] {
				said := ""
				for _, check := range checks {
					if strings.Contains(reflect.TypeOf(check).String(), "AlsoRequires") {
						continue // of another attribute
					}
					var resp validator.StringResponse
					check.ValidateString(t.Context(), validator.StringRequest{Path: path.Root(last), ConfigValue: types.StringValue(value)}, &resp)
					for _, d := range resp.Diagnostics {
						said += d.Detail()
					}
				}
				if (said == "") != is || !is && !strings.Contains(said, value) {
					t.Errorf("%s = %q: %q", name, value, said)
				}
			}
		})
	}
	if seen["external_id"] < 4 || seen["role_arn"] < 4 || seen["reader_role_arn"] < 2 || seen["region"] < 4 {
		t.Errorf("the schemas have %v of them", seen)
	}
}
