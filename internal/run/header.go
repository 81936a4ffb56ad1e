// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package run

import (
	"maps"
	"net/http"
	"slices"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// headerVariable has the header that requests to the endpoint need, as curl takes it.
const headerVariable = "PENSTOCK_ENDPOINT_HEADER"

// headed gives a step the header by which requests reach the fleet that is tested: checks and
// loads of the endpoint send it, and commands find it in a variable. Its value is in no log.
func headed(r *pipeline.StepRequest, header pipeline.Header) {
	if header.Name == "" {
		return
	}
	r.Mask = append(slices.Clone(r.Mask), header.Value)
	secrets := pipeline.Secrets{headerVariable: pipeline.Secret(header.Name + ": " + header.Value.Reveal())}
	maps.Copy(secrets, r.Secrets)
	r.Secrets = secrets
	if check := r.Step.HTTP; check != nil && check.URL == "" {
		copied := *check
		copied.Headers = withHeader(header, check.Headers)
		r.Step.HTTP = &copied
	}
	if load := r.Step.Load; load != nil && load.URL == "" {
		copied := *load
		copied.Headers = withHeader(header, load.Headers)
		r.Step.Load = &copied
	}
}

// withHeader returns a step's headers with that of the endpoint, unless the step has its own.
func withHeader(of pipeline.Header, own map[string]string) map[string]string {
	all := map[string]string{of.Name: of.Value.Reveal()}
	for name, value := range own {
		all[http.CanonicalHeaderKey(name)] = value
	}
	return all
}
