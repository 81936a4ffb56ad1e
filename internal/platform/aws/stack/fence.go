// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package stack

import (
	"context"
	"strconv"
	"strings"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// fencesKey is of the value of a context that has the fences of its requests.
type fencesKey struct{}

// Under makes the requests of ctx carry fences. AWS knows no conditions on its changes, so
// each request that changes something is preceded by a look at the lease in the ledger's
// table, and is not sent where another has taken it over. A checked request that is then
// delayed for as long as a lease lasts can still come late. Under checks the leases first,
// so that a lost lease is the first error.
func (s *Stack) Under(ctx context.Context, by ...pipeline.Fence) (context.Context, error) {
	if len(by) == 0 {
		return ctx, nil
	}
	return context.WithValue(ctx, fencesKey{}, by), s.Current(ctx, by...)
}

func fencesOf(ctx context.Context) []pipeline.Fence {
	by, _ := ctx.Value(fencesKey{}).([]pipeline.Fence)
	return by
}

// guard adds the look at the lease to the requests of a client. It is the last thing
// before a request is sent, also one that is repeated.
func (s *Stack) guard(m *middleware.Stack) error {
	look := func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
		out middleware.FinalizeOutput, meta middleware.Metadata, err error,
	) {
		if by := fencesOf(ctx); len(by) > 0 && changes(awsmiddleware.GetOperationName(ctx)) {
			if err := s.Current(ctx, by...); err != nil {
				return out, meta, err
			}
		}
		return next.HandleFinalize(ctx, in)
	}
	return m.Finalize.Add(middleware.FinalizeMiddlewareFunc("PenstockFence", look), middleware.After)
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

// Token is what the tags of a fleet say of the lease under which it was made or changed;
// empty where ctx has no fence.
func Token(ctx context.Context) string {
	by := fencesOf(ctx)
	if len(by) != 1 { // environments are changed under one
		return ""
	}
	return strconv.FormatInt(by[0].Token, 10)
}

// Superseded refuses a change of a fleet whose tag says that it was changed under a later
// lease: a second look, at what is changed itself.
func Superseded(ctx context.Context, op, tag string) error {
	by := fencesOf(ctx)
	newest, err := strconv.ParseInt(tag, 10, 64)
	if err != nil || len(by) != 1 || by[0].Token >= newest {
		return nil
	}
	return pipeline.LeaseLost(op, by[0], newest)
}
