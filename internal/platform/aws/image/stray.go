// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package image

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// spot is where a parameter is.
type spot struct{ region, name string }

// reading is what a parameter said; empty where there is none. What could not be read has none.
type reading struct{ image string }

// names looks at what parameters say.
type names struct {
	of   *Images
	said *cloud.Batcher[spot, reading]
}

func newNames(m *Images) *names {
	n := &names{of: m}
	n.said = cloud.NewBatcher(n.fetch)
	return n
}

// Strays implements pipeline.Images. The values of all names are read together. Whose a parameter
// is, is asked for those only that say something else.
func (n *names) Strays(ctx context.Context, pointed ...pipeline.PointRequest) ([]pipeline.Stray, error) {
	strays, errs := make([]pipeline.Stray, len(pointed)), make([]error, len(pointed))
	var wg sync.WaitGroup
	for i, r := range pointed {
		wg.Go(func() { strays[i], errs[i] = n.stray(ctx, r) })
	}
	wg.Wait()
	return strays, errors.Join(errs...)
}

// stray looks at one name in all its regions, and returns the first that leads elsewhere.
func (n *names) stray(ctx context.Context, r pipeline.PointRequest) (pipeline.Stray, error) {
	name, regions := parameterOf(n.of.stack, r.Name, r.Labels), stack.Sorted(r.Images)
	strays := make([]pipeline.Stray, len(regions))
	err := sideBySide(regions, func(i int, region string) error {
		says, read, err := n.said.Get(ctx, spot{region, name})
		if err != nil || !read || says.image == r.Images[region] {
			return err
		}
		strays[i] = pipeline.Stray{Region: region, Image: says.image}
		if says.image != "" {
			strays[i].Foreign, err = isForeign(ctx, n.of.in(region), name, r.Labels)
		}
		return err
	})
	for _, s := range strays {
		if s != (pipeline.Stray{}) {
			return s, err
		}
	}
	return pipeline.Stray{}, err
}

// isForeign reports whether a parameter is something else's. Who may not look at its tags is not
// told that it is.
func isForeign(ctx context.Context, r regional, name string, l pipeline.Labels) (bool, error) {
	tags, err := r.parameterTags(ctx, name)
	switch pipeline.CodeOf(err) {
	case pipeline.CodeNotFound, pipeline.CodeNotAllowed:
		return false, nil
	}
	return err == nil && !(parameter{tags: tags}).of(r.stack, l), err
}

// fetch reads parameters, ten by one request to their region. Those of a region that
// can't be asked are left out; that the installation's own can't be is an error, unless the
// caller has no right to.
func (n *names) fetch(ctx context.Context, spots []spot) (map[spot]reading, error) {
	in := map[string][]string{}
	for _, s := range spots {
		in[s.region] = append(in[s.region], s.name)
	}
	found := map[spot]reading{}
	var mu sync.Mutex
	err := sideBySide(stack.Sorted(in), func(_ int, region string) error {
		values, err := readParameters(ctx, n.of.in(region), in[region])
		switch {
		case err == nil:
		case pipeline.CodeOf(err) == pipeline.CodeNotAllowed, region != n.of.stack.Config.Region && ctx.Err() == nil:
			return nil
		default:
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, name := range in[region] {
			found[spot{region, name}] = reading{values[name]}
		}
		return nil
	})
	return found, err
}

// readParameters reads parameters by name; those that don't exist are left out.
func readParameters(ctx context.Context, r regional, names []string) (map[string]string, error) {
	found := map[string]string{}
	for chunk := range slices.Chunk(names, maxParameters) {
		out, err := r.ssm.GetParameters(ctx, &ssm.GetParametersInput{Names: chunk})
		if err != nil {
			return nil, cloud.Fault(ctx, "read SSM parameters", err)
		}
		for _, v := range out.Parameters {
			found[aws.ToString(v.Name)] = aws.ToString(v.Value)
		}
	}
	return found, nil
}
