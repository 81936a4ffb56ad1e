// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"reflect"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Steps that ask the endpoint send the header by which they reach the fleet that is tested; no
// other address gets it, no definition changes, and no log shows it.
func TestHeaded(t *testing.T) {
	t.Parallel()
	header := pipeline.Header{Name: "X-Penstock-Candidate", Value: "s3cret"}
	check := &pipeline.HTTPCheck{Path: "/", Headers: map[string]string{"accept": "text/html"}}
	load := &pipeline.Load{Path: "/", Headers: map[string]string{"x-penstock-candidate": "mine"}}
	elsewhere := &pipeline.HTTPCheck{URL: "https://example.com/"}
	for _, tt := range []struct {
		step pipeline.Step
		want map[string]string
	}{
		{pipeline.Step{HTTP: check}, map[string]string{"X-Penstock-Candidate": "s3cret", "Accept": "text/html"}},
		{pipeline.Step{HTTP: elsewhere}, nil},
		{pipeline.Step{Load: load}, map[string]string{"X-Penstock-Candidate": "mine"}},
		{pipeline.Step{Command: "curl"}, nil},
	} {
		r := pipeline.StepRequest{Step: tt.step, Secrets: pipeline.Secrets{"OWN": "x"}, Mask: []pipeline.Secret{"x"}}
		headed(&r, header)
		var got map[string]string
		switch {
		case r.Step.HTTP != nil:
			got = r.Step.HTTP.Headers
		case r.Step.Load != nil:
			got = r.Step.Load.Headers
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%+v sends %v, want %v", tt.step, got, tt.want)
		}
		if r.Secrets[headerVariable] != "X-Penstock-Candidate: s3cret" || r.Secrets["OWN"] != "x" || len(r.Mask) != 2 {
			t.Errorf("the step has %v, and masks %d values", r.Secrets, len(r.Mask))
		}
	}
	if len(check.Headers) != 1 || load.Headers["x-penstock-candidate"] != "mine" {
		t.Error("the definition has changed")
	}
	r := pipeline.StepRequest{Step: pipeline.Step{HTTP: check}}
	if headed(&r, pipeline.Header{}); r.Step.HTTP != check || r.Secrets != nil {
		t.Error("without a header the step has changed")
	}
}
