// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package image

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/awstest"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/instance"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

const abroad = "us-east-1"

// copied asks for an image to be in another region, or in none, and returns its copy.
func copied(t *testing.T, m *Images, id string, regions ...string) (string, error) {
	t.Helper()
	ids, err := m.Publish(t.Context(), pipeline.PublishRequest{
		Image: id, Labels: pipeline.Labels{Pipeline: "shop", Stage: "image/base", Run: "r-1"}, Publication: pipeline.Publication{Regions: regions},
	})
	return ids[abroad], err
}

// fails asserts what the error of a copy says.
func fails(t *testing.T, err error, text ...string) {
	t.Helper()
	if pipeline.CodeOf(err) != pipeline.CodeFailed {
		t.Fatalf("got %v", err)
	}
	for _, want := range text {
		if !strings.Contains(err.Error()+" "+reason.Hint(err), want) {
			t.Errorf("the error %q (%s) does not say %q", err, reason.Hint(err), want)
		}
	}
}

// A copy that AWS never completes is waited for as long as an image may take, and again by the
// next publication; it is made once.
func TestCopyPending(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	m := New(b.Stack, b.Instances)
	id := b.Image(b.Machine(""))
	m.images = 2 * time.Second // a busy machine asks for its state at least once
	b.Cloud.SetCopyTime(abroad, 1000*time.Hour)
	for range 2 {
		_, err := copied(t, m, id, abroad)
		fails(t, err, "image ami-", "in "+abroad, "pending", "the next try waits for it", "deregister image ami-")
	}
	b.Cloud.CompleteImages()
	if made, err := copied(t, m, id, abroad); err != nil || made == "" {
		t.Errorf("once it is complete: %q, %v", made, err)
	}
	if n := b.Cloud.Count()["CopyImage"]; n != 1 {
		t.Errorf("%d copies were asked for", n)
	}
	b.Must(m.Remove(t.Context(), id))
}

// A copy that fails for ever is made again by each publication, in place of the one before.
func TestCopyFails(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	m := New(b.Stack, b.Instances)
	id := b.Image(b.Machine(""))
	b.Cloud.FailCopies(abroad, "the destination is out of space")
	for range 3 {
		_, err := copied(t, m, id, abroad)
		fails(t, err, "image ami-", "in "+abroad, "failed: the destination is out of space", "The next try makes another copy")
		if there, err := m.in(abroad).copiesOf(t.Context(), id); err != nil || len(there) != 1 {
			t.Errorf("there are %d copies, %v", len(there), err)
		}
	}
	b.Cloud.FailCopies(abroad, "")
	if made, err := copied(t, m, id, abroad); err != nil || made == "" {
		t.Errorf("once it is over: %q, %v", made, err)
	}
	b.Must(m.Remove(t.Context(), id))
}

// A copy that was removed is made again when it is wanted again: AWS gives who asks for the same
// one the ID of the one that is gone.
func TestCopyAgain(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	m := New(b.Stack, b.Instances)
	id := b.Image(b.Machine(""))
	m.images = 10 * time.Second
	seen := map[string]bool{}
	for range 3 {
		made, err := copied(t, m, id, abroad)
		b.Must(err)
		if made == "" || seen[made] {
			t.Fatalf("the copy is %q, and there were %v", made, seen)
		}
		seen[made] = true
		_, err = copied(t, m, id)
		b.Must(err)
		if there, err := m.in(abroad).copiesOf(t.Context(), id); err != nil || len(there) > 0 {
			t.Fatalf("%d copies are left, %v", len(there), err)
		}
	}
	b.Must(m.Remove(t.Context(), id))
}

// An image lists the ARN of its key, by whatever name it was asked for.
func TestKeyByAlias(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	m := New(b.Stack, b.Instances)
	id := b.Image(b.Machine(""))
	arn := b.Key(abroad, "alias/penstock/images")
	ids, err := m.Publish(t.Context(), pipeline.PublishRequest{
		Image: id, Labels: pipeline.Labels{Pipeline: "shop", Stage: "image/base", Run: "r-1"},
		Publication: pipeline.Publication{Regions: []string{abroad}, KMSKeys: map[string]string{abroad: "alias/penstock/images"}},
	})
	b.Must(err)
	there, err := m.in(abroad).copiesOf(t.Context(), id)
	b.Must(err)
	keys, err := instance.Keys(t.Context(), m.in(abroad).ec2, there[0])
	if err != nil || ids[abroad] == "" || len(keys) != 1 || keys[0] != arn {
		t.Errorf("the copy %v has the keys %v, want %s; %v", ids, keys, arn, err)
	}
	b.Must(m.Remove(t.Context(), id))
}

// A copy with another key than the one that is asked for can't be shared, or will not do: another
// one is made, and replaces it, as soon as nothing uses it. AWS gives an image another key only as
// it copies it.
func TestCopyWithAnotherKey(t *testing.T) {
	t.Parallel()
	b := awstest.New(t)
	m := New(b.Stack, b.Instances)
	id := b.Image(b.Machine(""))
	cfg := b.Cloud.Own()
	cfg.Region = abroad
	owner := ec2.NewFromConfig(cfg)
	one, two := b.Key(abroad, "alias/penstock/one"), b.Key(abroad, "alias/penstock/two")
	publish := func(key string) string {
		t.Helper()
		p := pipeline.Publication{Regions: []string{abroad}}
		if key != "" {
			p.KMSKeys = map[string]string{abroad: key}
		}
		ids, err := m.Publish(t.Context(), pipeline.PublishRequest{Image: id, Labels: pipeline.Labels{Pipeline: "shop", Stage: "image/base", Run: "r-1"}, Publication: p})
		b.Must(err)
		return ids[abroad]
	}
	there := func() map[string]types.Image {
		t.Helper()
		list, err := m.in(abroad).copiesOf(t.Context(), id)
		b.Must(err)
		by := map[string]types.Image{}
		for _, c := range list {
			by[aws.ToString(c.ImageId)] = c
		}
		return by
	}
	plain := publish("")
	launched, err := owner.RunInstances(t.Context(), &ec2.RunInstancesInput{ImageId: aws.String(plain), InstanceType: types.InstanceTypeT3Micro, MinCount: aws.Int32(1), MaxCount: aws.Int32(1)})
	b.Must(err)
	first := publish("alias/penstock/one")
	if first == plain || first != publish(one) {
		t.Errorf("with a key the copy is %s, and without one it was %s", first, plain)
	}
	if got := there(); len(got) != 2 || aws.ToString(got[first].Name) == aws.ToString(got[plain].Name) {
		t.Errorf("the copies are %+v, while one is used", got)
	}
	_, err = owner.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{aws.ToString(launched.Instances[0].InstanceId)}})
	b.Must(err)
	for _, k := range []string{two, one, two} {
		made := publish(k)
		got := there()
		keys, err := instance.Keys(t.Context(), m.in(abroad).ec2, got[made])
		if err != nil || len(got) != 1 || !slices.Equal(keys, []string{k}) {
			t.Errorf("the copy %s has the keys %v, want %s; there are %d copies; %v", made, keys, k, len(got), err)
		}
	}
	b.Must(m.Remove(t.Context(), id))
	if got := there(); len(got) > 0 {
		t.Errorf("after the removal there are %v", got)
	}
}
