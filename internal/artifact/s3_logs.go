// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package artifact

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const (
	// Where logs are in a bucket: those of runs, which are evidence of stages, apart from those
	// of self-service environments, which launchers write.
	runsPrefix         = "logs/runs/"
	environmentsPrefix = "logs/environments/"

	// logTimeout bounds the upload of a part.
	logTimeout = time.Minute

	// removable is how many objects S3 removes in a request.
	removable = 1000
)

// logPause returns how long a line may take until others see it, in a log that is written for
// so long: short for who follows a run, and few parts where a run takes hours.
func logPause(age time.Duration) time.Duration {
	return min(max(age/60, 10*time.Second), 30*time.Second)
}

// S3Logs keeps the logs of runs in a bucket. A log is written on this machine. What is new in
// it is uploaded while it grows, as a part of its own, and when it is closed: the parts are as
// long as the log, and none is written twice.
type S3Logs struct {
	client *s3.Client
	bucket string
	here   *Logs
	logger hclog.Logger
}

var _ pipeline.Logs = (*S3Logs)(nil)

// NewS3Logs gives the logs in a bucket; dir is where they are while they are written.
func NewS3Logs(client *s3.Client, bucket, dir string, logger hclog.Logger) *S3Logs {
	return &S3Logs{client, bucket, NewLogs(dir), logger}
}

// prefix is what the keys of the parts of a run's log begin with.
func (l *S3Logs) prefix(name, run string) string {
	if strings.HasPrefix(run, pipeline.RunPrefix) {
		return runsPrefix + name + "/" + run + "/"
	}
	return environmentsPrefix + name + "/" + run + "/"
}

// Location returns the URL that the parts of a run's log are under.
func (l *S3Logs) Location(name, run string) string {
	return "s3://" + l.bucket + "/" + l.prefix(name, run)
}

// Create opens the log of a run for appending. What another machine wrote comes
// first.
func (l *S3Logs) Create(ctx context.Context, name, run string) (io.WriteCloser, error) {
	const op = "create log"
	at, err := l.here.path(ctx, op, name, run)
	if err != nil {
		return nil, err
	}
	there, err := l.open(ctx, name, run)
	if err != nil {
		return nil, cloud.Fault(ctx, op, err)
	}
	file, err := l.here.Create(ctx, name, run)
	if err != nil {
		return nil, err
	}
	if err := catchUp(at, file, there); err != nil {
		return nil, errors.Join(cloud.Fault(ctx, op, err), file.Close())
	}
	now := time.Now()
	w := &s3Log{
		logs: l, file: file, path: at, prefix: l.prefix(name, run),
		writer: nextWriter(there.parts, now), began: now, sent: there.size(), done: make(chan struct{}),
	}
	w.uploading.Go(func() { w.follow(context.WithoutCancel(ctx)) })
	return w, nil
}

// catchUp appends to a file on this machine what the bucket has more of a log.
func catchUp(path string, file io.Writer, there *partsReader) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() >= there.size() {
		return err
	}
	if _, err = there.Seek(info.Size(), io.SeekStart); err == nil {
		_, err = io.Copy(file, there)
	}
	return errors.Join(err, there.Close())
}

// s3Log is a log that is being written.
type s3Log struct {
	logs      *S3Logs
	file      io.WriteCloser
	path      string
	prefix    string // of its parts
	writer    string
	began     time.Time
	sent      int64 // bytes of the log that are in the bucket
	done      chan struct{}
	uploading sync.WaitGroup
}

// Write implements io.Writer.
func (w *s3Log) Write(p []byte) (int, error) { return w.file.Write(p) }

// follow uploads the log while it grows.
func (w *s3Log) follow(ctx context.Context) {
	for {
		select {
		case <-w.done:
			return
		case <-time.After(logPause(time.Since(w.began))):
			w.upload(ctx)
		}
	}
}

// upload puts what is new in the log into a part. A part that can't be uploaded is put with
// what comes next; the log stays on this machine.
func (w *s3Log) upload(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	if err := w.put(ctx); err != nil {
		w.logs.logger.Warn("upload log", "to", w.logs.bucket+"/"+w.prefix, "error", err)
	}
}

func (w *s3Log) put(ctx context.Context) error {
	body, err := os.Open(w.path)
	if err != nil {
		return err
	}
	defer body.Close()
	info, err := body.Stat()
	if err != nil || info.Size() <= w.sent {
		return err
	}
	// A log grows while it is sent: what is there now is what is sent.
	rest := io.NewSectionReader(body, w.sent, info.Size()-w.sent)
	_, err = w.logs.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(w.logs.bucket), Key: aws.String(partKey(w.prefix, w.writer, w.sent)), Body: rest, ContentType: aws.String("text/plain; charset=utf-8"),
	})
	if err == nil {
		w.sent = info.Size()
	}
	return err
}

// Close uploads the rest. A log that can't be uploaded stays on this machine, and
// does not fail the run.
func (w *s3Log) Close() error {
	close(w.done)
	w.uploading.Wait()
	w.upload(context.Background())
	return w.file.Close()
}

// Open reads the log of a run: what this machine has of it where that is more than
// the bucket's, else the bucket's.
func (l *S3Logs) Open(ctx context.Context, name, run string) (io.ReadSeekCloser, error) {
	const op = "read log"
	at, err := l.here.path(ctx, op, name, run)
	if err != nil {
		return nil, err
	}
	there, err := l.open(ctx, name, run)
	if info, missing := os.Stat(at); missing == nil && (err != nil || info.Size() > there.size()) {
		return l.here.Open(ctx, name, run)
	}
	switch {
	case err != nil:
		return nil, cloud.Fault(ctx, op, err)
	case len(there.parts) == 0:
		return nil, pipeline.Errorf(pipeline.CodeNotFound, op, "run %q of pipeline %q has no log in %s", run, name, "s3://"+l.bucket).
			WithHint("It was removed with its build. The pipeline's `keep` says how many builds are retained.")
	}
	return there, nil
}

// open reads what the bucket has of the log of a run, which may be nothing.
func (l *S3Logs) open(ctx context.Context, name, run string) (*partsReader, error) {
	all, err := listParts(ctx, l.client, l.bucket, l.prefix(name, run))
	return &partsReader{ctx: ctx, client: l.client, bucket: l.bucket, parts: assemble(all)}, err
}

// Remove removes the log of a run.
func (l *S3Logs) Remove(ctx context.Context, name, run string) error {
	if err := l.here.Remove(ctx, name, run); err != nil {
		return err
	}
	all, err := listParts(ctx, l.client, l.bucket, l.prefix(name, run))
	for err == nil && len(all) > 0 {
		n := min(len(all), removable)
		err = l.remove(ctx, all[:n])
		all = all[n:]
	}
	return cloud.Fault(ctx, "remove log of run "+run, err)
}

func (l *S3Logs) remove(ctx context.Context, parts []part) error {
	gone := make([]types.ObjectIdentifier, len(parts))
	for i, p := range parts {
		gone[i].Key = aws.String(p.key)
	}
	out, err := l.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: aws.String(l.bucket), Delete: &types.Delete{Objects: gone, Quiet: aws.Bool(true)}})
	if err == nil && len(out.Errors) > 0 {
		first := out.Errors[0]
		err = pipeline.Errorf(pipeline.CodeFailed, "remove log", "%s: %s: %s", aws.ToString(first.Key), aws.ToString(first.Code), aws.ToString(first.Message))
	}
	return err
}
