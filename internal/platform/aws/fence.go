// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"strconv"
	"strings"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Under implements pipeline.Platform. AWS knows no conditions on its changes, so each
// request that changes something is preceded by a look at the lease in the ledger's
// table, and is not sent where another has taken it over. A request that was looked at,
// and is then held up for as long as a lease lasts, can still come late.
func (p *Platform) Under(by ...pipeline.Fence) pipeline.Platform {
	under := *p
	under.by = by
	return &under
}

// fencesKey is of the value of a context that has the fences of its requests.
type fencesKey struct{}

// fenced makes the requests of ctx carry the platform's fences. It looks at the leases
// first, so that who has lost one is told before anything else is wrong.
func (p *Platform) fenced(ctx context.Context) (context.Context, error) {
	if len(p.by) == 0 {
		return ctx, nil
	}
	return context.WithValue(ctx, fencesKey{}, p.by), p.Current(ctx, p.by...)
}

// guard adds the look at the lease to the requests of a client. It is the last thing
// before a request is sent, also one that is repeated.
func (p *Platform) guard(stack *middleware.Stack) error {
	return stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("PenstockFence", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
		out middleware.FinalizeOutput, meta middleware.Metadata, err error,
	) {
		by, _ := ctx.Value(fencesKey{}).([]pipeline.Fence)
		if len(by) > 0 && changes(awsmiddleware.GetOperationName(ctx)) {
			if err := p.Current(ctx, by...); err != nil {
				return out, meta, err
			}
		}
		return next.HandleFinalize(ctx, in)
	}), middleware.After)
}

// changes reports whether an operation changes anything, by the verbs of AWS.
func changes(operation string) bool {
	for _, verb := range []string{"Describe", "Get", "List", "Head"} {
		if strings.HasPrefix(operation, verb) {
			return false
		}
	}
	return true
}

// token is what the tags of a fleet say of the lease under which it was made or changed.
func (p *Platform) token() string {
	if len(p.by) != 1 { // environments are changed under one
		return ""
	}
	return strconv.FormatInt(p.by[0].Token, 10)
}

// superseded refuses a change of a fleet whose tag says that it was changed under a later
// lease: a second look, at what is changed itself.
func (p *Platform) superseded(op, tag string) error {
	newest, err := strconv.ParseInt(tag, 10, 64)
	if err != nil || len(p.by) != 1 || p.by[0].Token >= newest {
		return nil
	}
	return pipeline.LeaseLost(op, p.by[0], newest)
}
