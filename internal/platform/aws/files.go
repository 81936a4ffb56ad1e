// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

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
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// filesPrefix is where files on their way to instances are, for minutes. The
// bucket's life cycle removes what a crash leaves.
const filesPrefix = "transfer/"

// urlLife is how long an instance may fetch a file: it does at the beginning of a
// command, which is sent when the agent has registered.
const urlLife = time.Hour

// sent is a file that instances can fetch.
type sent struct{ url, digest, key string }

// sendFile puts a file where instances can fetch it. The caller removes it.
func (p *Platform) sendFile(ctx context.Context, file *os.File) (sent, error) {
	const op = "send file"
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return sent{}, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return sent{}, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	return p.put(ctx, file, hex.EncodeToString(h.Sum(nil)))
}

func (p *Platform) put(ctx context.Context, body io.ReadSeeker, digest string) (sent, error) {
	const op = "send file"
	s := sent{digest: digest, key: filesPrefix + rand.Text()}
	at := &s3.PutObjectInput{Bucket: aws.String(p.Settings.Bucket), Key: aws.String(s.key), Body: body}
	if _, err := p.s3.PutObject(ctx, at); err != nil {
		return sent{}, cloud.Fault(ctx, op, err)
	}
	signed, err := p.presign.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: at.Bucket, Key: at.Key}, s3.WithPresignExpires(urlLife))
	if err != nil {
		return sent{}, cloud.Fault(ctx, op, err)
	}
	s.url = signed.URL
	return s, nil
}

// remove removes a sent file. A failure leaves it to the bucket's life cycle.
func (p *Platform) remove(ctx context.Context, s sent) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer cancel()
	if _, err := p.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(p.Settings.Bucket), Key: aws.String(s.key)}); err != nil {
		p.Logger.Warn("remove transferred file", "key", s.key, "error", err)
	}
}

// hide puts a command's script with its secrets into the bucket, and gives the
// script that fetches and runs it.
func (p *Platform) hide(ctx context.Context, c command) (script string, remove func(), err error) {
	env := map[string]string{}
	for k, v := range c.secrets {
		env[k] = v.Reveal()
	}
	text := []byte(exports(env) + c.script)
	sum := sha256.Sum256(text)
	s, err := p.put(ctx, bytes.NewReader(text), hex.EncodeToString(sum[:]))
	if err != nil {
		return "", nil, err
	}
	fetched := preamble + "umask 077\n" + fetch("script", s.url, s.digest, "script") +
		"status=0; /bin/sh \"$script\" || status=$?\nrm -rf \"$(dirname \"$script\")\"\nexit $status\n"
	return fetched, func() { p.remove(ctx, s) }, nil
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

// sendDir puts a directory, packed, where instances can fetch it.
func (p *Platform) sendDir(ctx context.Context, dir string) (sent, error) {
	file, err := pack(filepath.Clean(dir))
	if err != nil {
		return sent{}, err
	}
	defer file.Close()
	return p.sendFile(ctx, file)
}
