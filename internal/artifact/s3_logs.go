// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package artifact

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

const (
	// logsPrefix is where logs are in a bucket.
	logsPrefix = "logs/"

	// logPause is how long a line may take until others see it: short for who follows
	// a run, and a request that costs next to nothing.
	logPause = 10 * time.Second

	// logTimeout bounds the upload of a log when it is closed.
	logTimeout = time.Minute
)

// S3Logs keeps the logs of runs in a bucket. A log is written on this machine, and
// uploaded every ten seconds while it grows, and when it is closed.
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

func (l *S3Logs) key(name, run string) *string {
	return aws.String(logsPrefix + name + "/" + run + ".log")
}

// Location returns the URL of the log of a run.
func (l *S3Logs) Location(name, run string) string {
	return "s3://" + l.bucket + "/" + *l.key(name, run)
}

// Create opens the log of a run for appending. What another machine wrote comes
// first.
func (l *S3Logs) Create(ctx context.Context, name, run string) (io.WriteCloser, error) {
	at, err := l.here.path(ctx, "create log", name, run)
	if err != nil {
		return nil, err
	}
	_, missing := os.Stat(at)
	file, err := l.here.Create(ctx, name, run)
	if err != nil {
		return nil, err
	}
	if missing != nil {
		before, err := l.client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(l.bucket), Key: l.key(name, run)})
		if err == nil {
			_, err = io.Copy(file, before.Body)
			err = errors.Join(err, before.Body.Close())
		}
		if err != nil && !cloud.IsNotFound(err) {
			return nil, errors.Join(cloud.Fault(ctx, "create log", err), file.Close())
		}
	}
	w := &s3Log{logs: l, file: file, path: at, key: l.key(name, run), done: make(chan struct{})}
	w.uploading.Go(func() { w.follow(context.WithoutCancel(ctx)) })
	return w, nil
}

// s3Log is a log that is being written.
type s3Log struct {
	logs      *S3Logs
	file      io.WriteCloser
	path      string
	key       *string
	done      chan struct{}
	uploading sync.WaitGroup

	mu      sync.Mutex
	changed bool
}

// Write implements io.Writer.
func (w *s3Log) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed = true
	return w.file.Write(p)
}

// follow uploads the log while it grows.
func (w *s3Log) follow(ctx context.Context) {
	ticks := time.NewTicker(logPause)
	defer ticks.Stop()
	for {
		select {
		case <-w.done:
			return
		case <-ticks.C:
			if err := w.upload(ctx); err != nil {
				w.logs.logger.Warn("upload log", "key", *w.key, "error", err)
			}
		}
	}
}

func (w *s3Log) upload(ctx context.Context) error {
	w.mu.Lock()
	changed := w.changed
	w.changed = false
	w.mu.Unlock()
	if !changed {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	body, err := os.Open(w.path)
	if err != nil {
		return err
	}
	defer body.Close()
	info, err := body.Stat()
	if err != nil {
		return err
	}
	// A log grows while it is sent: what is there now is what is sent.
	part := io.NewSectionReader(body, 0, info.Size())
	_, err = w.logs.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(w.logs.bucket), Key: w.key, Body: part, ContentType: aws.String("text/plain; charset=utf-8"),
	})
	if err != nil {
		w.mu.Lock()
		w.changed = true
		w.mu.Unlock()
	}
	return err
}

// Close uploads the rest. A log that can't be uploaded stays on this machine, and
// does not fail the run.
func (w *s3Log) Close() error {
	close(w.done)
	w.uploading.Wait()
	if err := w.upload(context.Background()); err != nil {
		w.logs.logger.Warn("upload log", "key", *w.key, "error", err)
	}
	return w.file.Close()
}

// Open reads the log of a run: what this machine has of it where that is more than
// the bucket's, else the bucket's.
func (l *S3Logs) Open(ctx context.Context, name, run string) (io.ReadSeekCloser, error) {
	at, err := l.here.path(ctx, "read log", name, run)
	if err != nil {
		return nil, err
	}
	there, err := openObject(ctx, l.client, aws.String(l.bucket), l.key(name, run))
	if info, missing := os.Stat(at); missing == nil && (err != nil || info.Size() > there.size) {
		return l.here.Open(ctx, name, run)
	}
	if cloud.IsNotFound(err) {
		return nil, pipeline.Errorf(pipeline.CodeNotFound, "read log", "run %q of pipeline %q has no log in %s", run, name, "s3://"+l.bucket).
			WithHint("It was removed with its build. The pipeline's `keep` says how many builds are retained.")
	}
	if err != nil {
		return nil, cloud.Fault(ctx, "read log", err)
	}
	return there, nil
}

// Remove removes the log of a run.
func (l *S3Logs) Remove(ctx context.Context, name, run string) error {
	if err := l.here.Remove(ctx, name, run); err != nil {
		return err
	}
	_, err := l.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(l.bucket), Key: l.key(name, run)})
	return cloud.Fault(ctx, "remove log of run "+run, err)
}
