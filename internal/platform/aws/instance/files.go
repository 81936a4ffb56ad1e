// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package instance

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// newKey returns where a file is on its way to the instances of a stage, for minutes. The
// bucket's life cycle removes what a crash leaves.
func newKey(stage string) string { return "transfer/" + stack.Purpose(stage) + "/" + rand.Text() }

// urlLife is how long an instance may fetch a file: it does at the beginning of a
// command, which is sent when the agent has registered.
const urlLife = time.Hour

// File is a file that instances can fetch, by Fetch.
type File struct {
	URL         string // for an hour
	digest, key string
}

// Fetch returns shell lines that put the file into a directory of its own under a name, and
// its path into a variable.
func (f File) Fetch(variable, name string) string { return fetch(variable, f.URL, f.digest, name) }

// SendFile puts a file where the instances of a stage can fetch it; empty is a self-service
// environment. The caller removes it.
func (i *Instances) SendFile(ctx context.Context, stage string, file *os.File) (File, error) {
	const op = "send file"
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return File{}, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return File{}, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	return i.put(ctx, stage, file, hex.EncodeToString(h.Sum(nil)))
}

func (i *Instances) put(ctx context.Context, stage string, body io.ReadSeeker, digest string) (File, error) {
	const op = "send file"
	f := File{digest: digest, key: newKey(stage)}
	at := &s3.PutObjectInput{Bucket: aws.String(i.stack.Settings.Bucket), Key: aws.String(f.key), Body: body}
	if _, err := i.s3.PutObject(ctx, at); err != nil {
		return File{}, cloud.Fault(ctx, op, err)
	}
	signed, err := i.presign.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: at.Bucket, Key: at.Key}, s3.WithPresignExpires(urlLife))
	if err != nil {
		return File{}, cloud.Fault(ctx, op, err)
	}
	f.URL = signed.URL
	return f, nil
}

// Relay makes an empty file that one instance sends and one of a stage fetches, and returns
// the arguments with which curl sends it. Who fetches it says with Digested what was sent.
// The caller removes it.
func (i *Instances) Relay(ctx context.Context, stage, op string) (f File, send string, err error) {
	if f, err = i.put(ctx, stage, bytes.NewReader(nil), ""); err != nil {
		return File{}, "", err
	}
	if send, err = i.upload(ctx, f.key, urlLife); err != nil {
		i.Remove(ctx, f)
		return File{}, "", cloud.Fault(ctx, op, err)
	}
	return f, send, nil
}

// Digested returns the file as what has a SHA-256, in hex, and nothing else.
func (f File) Digested(sum string) File {
	f.digest = sum
	return f
}

// upload returns the arguments with which curl sends a file to a key for a while.
func (i *Instances) upload(ctx context.Context, key string, life time.Duration) (string, error) {
	at := &s3.PutObjectInput{Bucket: aws.String(i.stack.Settings.Bucket), Key: aws.String(key)}
	up, err := i.presign.PresignPutObject(ctx, at, s3.WithPresignExpires(life))
	if err != nil {
		return "", err
	}
	arguments := ""
	for _, name := range stack.Sorted(up.SignedHeader) {
		if name != "Host" {
			arguments += "-H " + Quote(name+": "+strings.Join(up.SignedHeader[name], ",")) + " "
		}
	}
	return arguments + Quote(up.URL), nil
}

// Remove removes a sent file. A failure leaves it to the bucket's life cycle.
func (i *Instances) Remove(ctx context.Context, f File) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer cancel()
	if _, err := i.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(i.stack.Settings.Bucket), Key: aws.String(f.key)}); err != nil {
		i.stack.Logger.Warn("remove transferred file", "key", f.key, "error", err)
	}
}

// hide puts a command's script into the bucket, with its secrets and with what its output
// may not show, and returns the script that fetches and runs it. The output is masked on
// the instance, before anything of it gets to Systems Manager, S3 or a file.
func (i *Instances) hide(ctx context.Context, c Command) (script string, remove func(), err error) {
	env := map[string]string{}
	for k, v := range c.Secrets {
		env[k] = v.Reveal()
	}
	text := []byte(maskedScript(rand.Text(), Exports(env)+c.Script, c.redactor()))
	sum := sha256.Sum256(text)
	f, err := i.put(ctx, c.Stage, bytes.NewReader(text), hex.EncodeToString(sum[:]))
	if err != nil {
		return "", nil, err
	}
	fetched := Preamble + "umask 077\n" + f.Fetch("script", "script") +
		"status=0; /bin/sh \"$script\" || status=$?\nrm -rf \"$(dirname \"$script\")\"\nexit $status\n"
	return fetched, func() { i.Remove(ctx, f) }, nil
}

// pack writes a directory as a gzipped tar into a temporary file, which is open for
// reading.
func pack(dir string) (_ *os.File, err error) {
	const op = "pack files"
	file, err := os.CreateTemp("", "penstock-")
	if err != nil {
		return nil, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	defer func() {
		if err != nil {
			_, err = file.Close(), pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
		}
	}()
	if err := os.Remove(file.Name()); err != nil { // it goes when it is closed
		return nil, err
	}
	z := gzip.NewWriter(file)
	w := tar.NewWriter(z)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	_, err = file.Seek(0, io.SeekStart)
	return file, err
}

// SendDir puts a directory, packed, where the instances of a stage can fetch it.
func (i *Instances) SendDir(ctx context.Context, stage, dir string) (File, error) {
	file, err := pack(filepath.Clean(dir))
	if err != nil {
		return File{}, err
	}
	defer file.Close()
	return i.SendFile(ctx, stage, file)
}
