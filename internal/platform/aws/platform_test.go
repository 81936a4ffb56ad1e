// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/platformtest"
)

// persistent is the platform as a pipeline to production uses it: what is to be
// installed is baked first, and every fleet belongs to a persistent environment.
type persistent struct {
	*bed
	maker  *bed // bakes what is to be installed: where the ledger is
	mu     *sync.Mutex
	images map[string]string      // by what was installed
	leases map[string]*sync.Mutex // by environment: the engine lets one at a time work on one
	// sources has the images where the ledger is of which there are copies here, by their copies.
	sources map[string]string
}

// Under implements pipeline.Platform.
func (l *persistent) Under(by ...pipeline.Fence) pipeline.Platform {
	b, under := *l.bed, *l
	b.Platform = l.bed.Platform.Under(by...).(*Platform)
	under.bed = &b
	return &under
}

// Prepare implements pipeline.Platform.
func (l *persistent) Prepare(ctx context.Context, r pipeline.FleetRequest) (pipeline.Fleet, error) {
	if r.Persistent = true; r.Artifact != "" && r.Service.Start != "" {
		image, err := l.baked(ctx, r)
		if err != nil {
			return pipeline.Fleet{}, err
		}
		r.Image, r.Artifact = image, ""
	}
	l.mu.Lock()
	lease := l.leases[r.Environment]
	if lease == nil {
		lease = &sync.Mutex{}
		l.leases[r.Environment] = lease
	}
	l.mu.Unlock()
	lease.Lock()
	defer lease.Unlock()
	return l.Platform.Prepare(ctx, r)
}

func (l *persistent) baked(ctx context.Context, r pipeline.FleetRequest) (string, error) {
	artifact, err := os.ReadFile(r.Artifact)
	if err != nil {
		return "", err
	}
	key := fmt.Sprintf("%x", sha256.Sum256([]byte(string(artifact)+r.Service.Install+r.Image)))[:16]
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.images[key] != "" {
		return l.images[key], nil
	}
	b := pipeline.FleetRequest{
		Environment: "e-bake-" + key, Fleet: "f-bake-" + key, Image: cmp.Or(l.sources[r.Image], r.Image), Instances: 1, Artifact: r.Artifact, Log: r.Log,
		Service: pipeline.Service{Install: r.Service.Install, Start: platformtest.Start(), Port: 8080},
	}
	if _, err := l.maker.Platform.Prepare(ctx, b); err != nil {
		return "", err
	}
	image, err := l.maker.Platform.Bake(ctx, pipeline.BakeRequest{Token: "r-" + key, Name: key, Environment: b.Environment, Log: r.Log})
	if err != nil {
		return "", err
	}
	l.images[key] = image.ID
	if l.maker.cloud != l.cloud {
		l.images[key] = l.maker.sharedWith(image.ID, l.bed)
	}
	return l.images[key], l.maker.Platform.Destroy(ctx, b.Environment)
}

const (
	noSecrets     = "instances that start later would not have them"
	noData        = "data on instances goes with them"
	noDirectories = "an AMI is not made from a directory"
)

// TestPlatform takes persistent environments through what every platform promises.
// Single instances are tested separately: they have no persistent endpoint.
func TestPlatform(t *testing.T) {
	lacks := platformtest.Lacks{
		"Variables": noSecrets, "Exec": noSecrets, "Data": noData, "DataFrom": noData, "Hooks": noData,
		"BakeTree": noDirectories, "BakeEnvironment": noDirectories, "BakeFails": noDirectories, "Images": noDirectories, "Channel": noDirectories,
		"FailedCommand": "nothing is installed on a lasting fleet; see TestPlatformSingle", "Cancel": "as FailedCommand",
		"Expire": "AWS forgets what has ended: the engine knows by the time that it did",
	}
	platformtest.Run(t, lacks, func(t *testing.T) platformtest.Subject {
		b := newBed(t)
		t.Cleanup(b.wantNothing)
		return platformtest.Subject{
			Platform: &persistent{bed: b, maker: b, images: map[string]string{}, leases: map[string]*sync.Mutex{}, mu: &sync.Mutex{}}, Start: platformtest.Start(), Base: b.base(),
		}
	})
}

const (
	noEndpoint = "the next instance has another address"
	noGroup    = "a single instance is no group"
)

// TestPlatformSingle takes environments of one instance through the rest: what is
// installed there, and what fails on the way.
func TestPlatformSingle(t *testing.T) {
	lacks := platformtest.Lacks{
		"Variables": noSecrets, "Exec": noSecrets, "Data": noData, "Hooks": noData, "Shift": noEndpoint, "Drain": noEndpoint, "CancelShift": noEndpoint,
		"Launch": noGroup, "Resize": noGroup, "FailedFleet": noGroup, "Discard": "tested with lasting environments",
		"Repeat": "the engine lets one at a time work on an environment", "Expire": "AWS forgets what has ended: the engine knows by the time that it did",
		"BakeTree": noDirectories, "BakeEnvironment": noDirectories, "BakeFails": noDirectories, "Images": noDirectories, "Channel": noDirectories,
	}
	platformtest.Run(t, lacks, func(t *testing.T) platformtest.Subject {
		b := newBed(t)
		t.Cleanup(b.wantNothing)
		return platformtest.Subject{
			Platform: b.Platform, Start: platformtest.Start(), Base: b.base(),
		}
	})
}
