// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// newBucket returns the client of a role and its bucket.
func newBucket(t *testing.T) (*cloudtest.Cloud, func(role string) *S3Store) {
	t.Helper()
	c := cloudtest.New(t)
	bucket := "modules-" + c.ID
	c.Given(map[string]string{"BucketName": bucket})
	path := func(o *s3.Options) { o.UsePathStyle = true }
	_, err := s3.NewFromConfig(c.Own(), path).CreateBucket(t.Context(), &s3.CreateBucketInput{
		Bucket: aws.String(bucket), CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: cloudtest.Region},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, func(role string) *S3Store { return NewS3Store(s3.NewFromConfig(c.As(role), path), bucket) }
}

func TestDirStore(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "states")
	testStore(t, NewDirStore(dir), NewDirStore(dir))
	_ = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v: others can read it", name, info.Mode(), err)
		}
		return err
	})
}

func TestS3Store(t *testing.T) {
	t.Parallel()
	_, as := newBucket(t)
	testStore(t, as(cloudtest.Deployer), as(cloudtest.Deployer))
}

// Whoever may only launch environments can't read the states of stages.
func TestS3Rights(t *testing.T) {
	t.Parallel()
	_, as := newBucket(t)
	launcher, deployer := as(cloudtest.Launcher), as(cloudtest.Deployer)
	ctx := t.Context()
	if _, err := deployer.Put(ctx, "stages/e-1/site.json", []byte("secret"), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := launcher.Put(ctx, "environments/e-2/site.json", []byte("own"), ""); err != nil {
		t.Fatal(err)
	}
	if _, _, err := launcher.Get(ctx, "environments/e-2/site.json"); err != nil {
		t.Error(err)
	}
	if keys, err := launcher.List(ctx, "environments/"); err != nil || len(keys) != 1 {
		t.Error(keys, err)
	}
	if err := launcher.Delete(ctx, "environments/e-2/site.json"); err != nil {
		t.Error(err)
	}
	if data, _, err := launcher.Get(ctx, "stages/e-1/site.json"); pipeline.CodeOf(err) != pipeline.CodeNotAllowed {
		t.Errorf("a launcher read %q, %v", data, err)
	}
}

// testStore checks what every store promises. Both are the same one, opened twice.
func testStore(t *testing.T, here, there Store) {
	ctx := t.Context()
	code := func(what string, err error, want pipeline.Code) {
		t.Helper()
		if pipeline.CodeOf(err) != want {
			t.Errorf("%s: %v, want code %q", what, err, want)
		}
	}
	if keys, err := here.List(ctx, ""); err != nil && pipeline.CodeOf(err) != pipeline.CodeNotAllowed || len(keys) > 0 {
		t.Errorf("a new store has %v, %v", keys, err)
	}
	const key = "stages/a b%2F/site.json"
	_, _, err := here.Get(ctx, key)
	code("read what is not there", err, pipeline.CodeNotFound)
	code("delete what is not there", here.Delete(ctx, key), "")
	_, err = here.Put(ctx, key, []byte("x"), "of old")
	code("change what is not there", err, pipeline.CodeConflict)
	first, err := here.Put(ctx, key, []byte("one"), "")
	code("create", err, "")
	_, err = there.Put(ctx, key, []byte("two"), "")
	code("create what is there", err, pipeline.CodeConflict)
	data, version, err := there.Get(ctx, key)
	if err != nil || string(data) != "one" || version != first {
		t.Errorf("read %q of version %q, %v", data, version, err)
	}
	second, err := there.Put(ctx, key, []byte("two"), version)
	code("change", err, "")
	_, err = here.Put(ctx, key, []byte("three"), first)
	code("change an earlier version", err, pipeline.CodeConflict)
	data, version, err = here.Get(ctx, key)
	if err != nil || string(data) != "two" || version != second {
		t.Errorf("read %q of version %q, %v", data, version, err)
	}
	large := []byte(strings.Repeat("0123456789abcdef", 1<<16))
	_, err = here.Put(ctx, "stages/b/packages/sha256-1", large, "")
	code("store a large object", err, "")
	if data, _, err := there.Get(ctx, "stages/b/packages/sha256-1"); err != nil || string(data) != string(large) {
		t.Errorf("read %d bytes, %v", len(data), err)
	}
	keys, err := here.List(ctx, "stages/")
	if want := []string{key, "stages/b/packages/sha256-1"}; err != nil || !slices.Equal(keys, want) {
		t.Errorf("list: %q, %v, want %q", keys, err, want)
	}
	if keys, err := here.List(ctx, "stages/b/"); err != nil || len(keys) != 1 {
		t.Errorf("list of a prefix: %q, %v", keys, err)
	}
	testRivals(t, here, there)
	for _, key := range []string{key, "stages/b/packages/sha256-1", "stages/count"} {
		code("delete", there.Delete(ctx, key), "")
	}
	if keys, err := here.List(ctx, "stages/"); err != nil || len(keys) > 0 {
		t.Errorf("when all is deleted there is %q, %v", keys, err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := here.Put(ended, "stages/late", []byte("x"), ""); err != nil && pipeline.CodeOf(err) == pipeline.CodeInternal {
		t.Errorf("a cancelled call has no code: %v", err)
	}
	code("delete", here.Delete(ctx, "stages/late"), "")
}

// testRivals checks that of several writers at the same time, each change is made once.
func testRivals(t *testing.T, stores ...Store) {
	const each = 5
	if _, err := stores[0].Put(t.Context(), "stages/count", []byte("0"), ""); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, s := range stores {
		wg.Go(func() {
			for done := 0; done < each; {
				data, version, err := s.Get(t.Context(), "stages/count")
				var n int
				if err == nil {
					_, err = fmt.Sscan(string(data), &n)
				}
				if err == nil {
					_, err = s.Put(t.Context(), "stages/count", fmt.Append(nil, n+1), version)
				}
				switch pipeline.CodeOf(err) {
				case "":
					done++
				case pipeline.CodeConflict:
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if data, _, err := stores[0].Get(t.Context(), "stages/count"); err != nil || string(data) != fmt.Sprint(each*len(stores)) {
		t.Errorf("the count is %s, %v", data, err)
	}
}

// The rest of a write that was cut off is not taken for an object.
func TestDirStoreDebris(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := NewDirStore(dir)
	if _, err := s.Put(t.Context(), "stages/e-1/site.json", []byte("x"), ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "stages", "e-1", ".new-1"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if keys, err := s.List(t.Context(), ""); err != nil || len(keys) != 1 {
		t.Errorf("keys: %q, %v", keys, err)
	}
}

// A life with the states in a bucket, on several machines.
func TestLifeInBucket(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, as := newBucket(t)
	w.store = as(cloudtest.Deployer)
	dir := t.TempDir()
	r := w.request(w.module(markers))
	r.Variables = map[string]json.RawMessage{"dir": raw(dir)}
	under := func(machine string, token int64) pipeline.Modules {
		return w.machine(machine).Under(pipeline.Fence{Key: "shop/stage/acceptance", Token: token})
	}
	_, err := under("one", 1).Apply(t.Context(), r)
	w.ok(err)
	w.ok(under("two", 2).Keep(t.Context(), "e-1"))
	r.Variables["names"] = raw([]string{"b"})
	_, err = under("one", 1).Apply(t.Context(), r)
	w.fails(err, pipeline.CodeLeaseLost)
	_, err = under("one", 3).Apply(t.Context(), r)
	w.ok(err)
	w.exist(dir, "b")
	w.ok(under("two", 4).Revert(t.Context(), "e-1", &w.log))
	w.exist(dir, "a")
	w.ok(under("three", 5).Destroy(t.Context(), "e-1", &w.log))
	w.exist(dir)
	if keys, err := w.store.List(t.Context(), ofStages); err != nil || len(keys) > 0 {
		t.Errorf("the bucket has %q, %v", keys, err)
	}
}
