// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package artifact

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

func TestMain(m *testing.M) { os.Exit(cloudtest.Main(m)) }

func newBucket(t *testing.T) (*cloudtest.Cloud, *s3.Client, string) {
	t.Helper()
	c := cloudtest.New(t)
	bucket := "artifacts-" + c.ID
	c.Given(map[string]string{"BucketName": bucket})
	_, err := s3.NewFromConfig(c.Own(), func(o *s3.Options) { o.UsePathStyle = true }).CreateBucket(t.Context(), &s3.CreateBucketInput{
		Bucket: aws.String(bucket), CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: cloudtest.Region},
	})
	check(t, err)
	return c, s3.NewFromConfig(c.Config(), func(o *s3.Options) { o.UsePathStyle = true }), bucket
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestS3Store(t *testing.T) {
	t.Parallel()
	c, client, bucket := newBucket(t)
	here, there := NewS3Store(client, bucket, t.TempDir()), NewS3Store(client, bucket, t.TempDir())
	file := filepath.Join(t.TempDir(), "dist.tar.gz")
	check(t, os.WriteFile(file, []byte("the artifact"), 0o600))
	record, err := here.Put(t.Context(), file)
	check(t, err)
	again, err := there.Put(t.Context(), file)
	check(t, err)
	if again != record || record.Name != "dist.tar.gz" {
		t.Errorf("stored as %+v, and again as %+v", record, again)
	}
	far := NewS3Store(client, bucket, t.TempDir())
	at, err := far.Get(t.Context(), record)
	check(t, err)
	if got, err := os.ReadFile(at); err != nil || string(got) != "the artifact" {
		t.Errorf("got %q, %v", got, err)
	}
	c.ResetCalls()
	if _, err := far.Get(t.Context(), record); err != nil || len(c.Calls()) > 0 {
		t.Errorf("a cached artifact took %v, %v", c.Calls(), err)
	}
	// A damaged copy is fetched anew; a changed object is refused.
	check(t, os.Chmod(at, 0o600))
	check(t, os.WriteFile(at, []byte("something"), 0o600))
	at, err = far.Get(t.Context(), record)
	check(t, err)
	if got, _ := os.ReadFile(at); string(got) != "the artifact" {
		t.Errorf("after damage got %q", got)
	}
	_, err = client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(far.key(record.Digest)), Body: strings.NewReader("forged")})
	check(t, err)
	if _, err := NewS3Store(client, bucket, t.TempDir()).Get(t.Context(), record); pipeline.CodeOf(err) != pipeline.CodeCorrupt {
		t.Errorf("a changed object: %v", err)
	}
	digests, err := far.List(t.Context())
	check(t, err)
	if len(digests) != 1 || digests[0] != record.Digest {
		t.Errorf("there are %v", digests)
	}
	check(t, far.Remove(t.Context(), record.Digest))
	check(t, far.Remove(t.Context(), record.Digest))
	if _, err := far.Get(t.Context(), record); pipeline.CodeOf(err) != pipeline.CodeNotFound {
		t.Errorf("after Remove: %v", err)
	}
}

// While another uploads the same artifact, S3 asks to try again.
func TestS3StoreRivals(t *testing.T) {
	t.Parallel()
	c, client, bucket := newBucket(t)
	s := NewS3Store(client, bucket, t.TempDir())
	file := filepath.Join(t.TempDir(), "dist")
	check(t, os.WriteFile(file, []byte("the artifact"), 0o600))
	c.Fail(cloudtest.Fault{Service: "s3", Action: "PutObject", Code: "ConditionalRequestConflict", Times: 2})
	record, err := s.Put(t.Context(), file)
	check(t, err)
	if _, err := NewS3Store(client, bucket, t.TempDir()).Get(t.Context(), record); err != nil {
		t.Error(err)
	}
}

// A file of more than one part arrives whole, each part checked by its SHA-256, and only
// where there is none.
func TestS3StoreLarge(t *testing.T) {
	t.Parallel()
	_, client, bucket := newBucket(t)
	file := filepath.Join(t.TempDir(), "large")
	check(t, os.WriteFile(file, bytes.Repeat([]byte("0123456789abcdef"), (singlePut+1<<20)/16), 0o600))
	s := NewS3Store(client, bucket, t.TempDir())
	for range 2 {
		if _, err := s.Put(t.Context(), file); err != nil {
			t.Fatal(err)
		}
	}
	record, err := s.Put(t.Context(), file)
	check(t, err)
	if _, err := NewS3Store(client, bucket, t.TempDir()).Get(t.Context(), record); err != nil {
		t.Error(err)
	}
	head, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucket), Key: aws.String(s.key(record.Digest)), ChecksumMode: types.ChecksumModeEnabled})
	check(t, err)
	if aws.ToString(head.ChecksumSHA256) == "" {
		t.Error("the parts were not checked by their SHA-256")
	}
}

func TestS3Logs(t *testing.T) {
	t.Parallel()
	c, client, bucket := newBucket(t)
	logs := func() *S3Logs { return NewS3Logs(client, bucket, t.TempDir(), hclog.NewNullLogger()) }
	read := func(l *S3Logs) string {
		t.Helper()
		r, err := l.Open(t.Context(), "shop", "r-1")
		check(t, err)
		defer r.Close()
		data, err := io.ReadAll(r)
		check(t, err)
		return string(data)
	}
	here := logs()
	w, err := here.Create(t.Context(), "shop", "r-1")
	check(t, err)
	_, err = io.WriteString(w, "one\n")
	check(t, err)
	if got := read(here); got != "one\n" {
		t.Errorf("while it is written the log is %q", got)
	}
	check(t, w.Close())
	there := logs() // another machine goes on with it
	w, err = there.Create(t.Context(), "shop", "r-1")
	check(t, err)
	_, err = io.WriteString(w, "two\n")
	check(t, err)
	check(t, w.Close())
	for name, l := range map[string]*S3Logs{"the first machine": here, "the second": there, "a third": logs()} {
		if got := read(l); got != "one\ntwo\n" {
			t.Errorf("%s reads %q", name, got)
		}
	}
	far, err := logs().Open(t.Context(), "shop", "r-1") // from any offset on, and back
	check(t, err)
	for _, at := range []struct {
		offset int64
		want   string
	}{{-3, "wo\n"}, {-100, ""}, {-8, "one\ntwo\n"}} {
		if _, err := far.Seek(at.offset, io.SeekEnd); (err != nil) != (at.want == "") {
			t.Errorf("%d from the end: %v", at.offset, err)
		}
		if data, err := io.ReadAll(far); err != nil || string(data) != at.want {
			t.Errorf("%d from the end it reads %q, %v", at.offset, data, err)
		}
	}
	check(t, far.Close())
	if want := "s3://" + bucket + "/logs/runs/shop/r-1/"; here.Location("shop", "r-1") != want {
		t.Errorf("it is at %s, want %s", here.Location("shop", "r-1"), want)
	}
	// An upload that fails does not fail the run, and the log stays.
	c.Fail(cloudtest.Fault{Action: "PUT", Times: 9, Code: "AccessDenied", Status: 403})
	w, err = here.Create(t.Context(), "shop", "r-2")
	check(t, err)
	_, err = io.WriteString(w, "kept\n")
	check(t, err)
	check(t, w.Close())
	r, err := here.Open(t.Context(), "shop", "r-2")
	check(t, err)
	check(t, r.Close())
	check(t, there.Remove(t.Context(), "shop", "r-1"))
	if _, err := logs().Open(t.Context(), "shop", "r-1"); pipeline.CodeOf(err) != pipeline.CodeNotFound {
		t.Errorf("after Remove: %v", err)
	}
}

// TestLogIsStoredOnce counts the bytes of all versions of all objects of a log that is uploaded
// while it grows: as many as the log has.
func TestLogIsStoredOnce(t *testing.T) {
	t.Parallel()
	c, client, bucket := newBucket(t)
	own := s3.NewFromConfig(c.Own(), func(o *s3.Options) { o.UsePathStyle = true })
	_, err := own.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: aws.String(bucket), VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
	check(t, err)
	logs := NewS3Logs(client, bucket, t.TempDir(), hclog.NewNullLogger())
	w, err := logs.Create(t.Context(), "shop", "r-1")
	check(t, err)
	var want strings.Builder
	for i := range 40 {
		line := strings.Repeat(string(rune('a'+i%26)), 1000) + "\n"
		want.WriteString(line)
		_, err := io.WriteString(w, line)
		check(t, err)
		check(t, w.(*s3Log).put(t.Context()))
	}
	check(t, w.Close())
	versions, err := own.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: aws.String(bucket)})
	check(t, err)
	var stored int64
	for _, v := range versions.Versions {
		stored += aws.ToInt64(v.Size)
	}
	if stored != int64(want.Len()) {
		t.Errorf("%d bytes are stored of a log of %d", stored, want.Len())
	}
	far, err := NewS3Logs(client, bucket, t.TempDir(), hclog.NewNullLogger()).Open(t.Context(), "shop", "r-1")
	check(t, err)
	for _, at := range []int64{0, 1, 1000, 1001, 1002, 20_019, 40_039, 40_040} {
		_, err := far.Seek(at, io.SeekStart)
		check(t, err)
		if got, err := io.ReadAll(far); err != nil || string(got) != want.String()[at:] {
			t.Errorf("from byte %d on it reads %d bytes, %v; want %d", at, len(got), err, int64(want.Len())-at)
		}
	}
	check(t, far.Close())
}

// TestLogAfterKill goes on with a log on the machine that wrote it and on another, after the
// writer died between two uploads, and while a displaced one still writes.
func TestLogAfterKill(t *testing.T) {
	t.Parallel()
	_, client, bucket := newBucket(t)
	begin := func(l *S3Logs) *s3Log {
		t.Helper()
		w, err := l.Create(t.Context(), "shop", "r-1")
		check(t, err)
		t.Cleanup(func() { _ = w.Close() })
		return w.(*s3Log)
	}
	say := func(w *s3Log, text string, upload bool) {
		t.Helper()
		_, err := io.WriteString(w, text)
		check(t, err)
		if upload {
			check(t, w.put(t.Context()))
		}
	}
	here, there := NewS3Logs(client, bucket, t.TempDir(), hclog.NewNullLogger()), NewS3Logs(client, bucket, t.TempDir(), hclog.NewNullLogger())
	first := begin(here)
	say(first, "one ", true)
	say(first, "unsent ", false) // and is killed
	second := begin(there)
	say(second, "two ", true)
	say(first, "displaced ", true)
	say(second, "three ", true)
	say(first, "displaced ", true)
	third := begin(there)
	say(third, "four", true)
	for name, l := range map[string]*S3Logs{"the second machine": there, "a third": NewS3Logs(client, bucket, t.TempDir(), hclog.NewNullLogger())} {
		r, err := l.Open(t.Context(), "shop", "r-1")
		check(t, err)
		got, err := io.ReadAll(r)
		check(t, err)
		check(t, r.Close())
		if string(got) != "one two three four" {
			t.Errorf("%s reads %q", name, got)
		}
	}
}

func TestNextWriter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	first := nextWriter(nil, now)
	log := []part{{writer: first, size: 3}}
	for _, later := range []time.Time{now.Add(-time.Hour), now, now.Add(time.Nanosecond), now.Add(time.Hour)} {
		if second := nextWriter(log, later); second <= first {
			t.Errorf("at %s the writer is %s, which sorts before %s", later, second, first)
		}
	}
}
