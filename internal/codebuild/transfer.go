// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package codebuild

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/regular"
)

// filesPrefix is where files of steps on their way are in the bucket, which deployers alone
// can read. Its life cycle removes what a crash leaves after a day.
const filesPrefix = "transfer/steps/"

// freshness is how old a file that is kept by its digest may be to be used again:
// the bucket's life cycle must not remove it before a build that waits has read it.
const freshness = 6 * time.Hour

// maxURLLife is the longest that a URL can be valid. It is never valid for longer
// than the session whose credentials signed it.
const maxURLLife = 7 * 24 * time.Hour

// transfer names what goes to one build and comes back.
type transfer struct {
	id   string // random: it marks the command's output in the log, too
	life time.Duration
	// untouched is the time that the files have there before the command begins: a day
	// ago, so that no difference between the clocks makes it a time that the command
	// sets.
	untouched time.Time
	digest    string // SHA-256 of the job, in hex; set by send
	seal      seal   // of what comes back
}

func newTransfer(work pipeline.Work) *transfer {
	return &transfer{
		id: rand.Text(), life: min(queueLimit+work.Timeout+overhead, maxURLLife),
		untouched: time.Now().UTC().Add(-24 * time.Hour).Truncate(time.Second), seal: newSeal(),
	}
}

func (t *transfer) job() string    { return filesPrefix + t.id + "/job" }
func (t *transfer) tree() string   { return filesPrefix + t.id + "/tree.tar.gz" }
func (t *transfer) result() string { return filesPrefix + t.id + "/result.tar.gz" }

func (t *transfer) keys() []string { return []string{t.job(), t.tree(), t.result()} }

// send puts the tree and the job into the bucket.
func (w *Worker) send(ctx context.Context, t *transfer, work pipeline.Work, shared map[string]string, gate *gate) error {
	const op = "send work tree"
	packed, err := os.CreateTemp("", "penstock-tree-")
	if err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	defer func() { _ = packed.Close(); _ = os.Remove(packed.Name()) }()
	tree := sha256.New()
	if err := w.Pack(ctx, work.Tree, io.MultiWriter(packed, tree)); err != nil {
		return cloud.Fault(ctx, op, err)
	}
	if _, err := packed.Seek(0, io.SeekStart); err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	if err := w.put(ctx, t.tree(), packed); err != nil {
		return cloud.Fault(ctx, op, err)
	}
	j := job{id: t.id, work: work, untouched: t.untouched, treeDigest: hex.EncodeToString(tree.Sum(nil)), seal: t.seal, object: "s3://" + w.Bucket + "/" + t.result()}
	for _, file := range slices.Sorted(maps.Keys(work.Files)) {
		url, err := w.urlOf(ctx, get, shared[work.Files[file]], t.life)
		if err != nil {
			return err
		}
		info, err := os.Stat(work.Files[file])
		if err != nil {
			return pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
		}
		j.files = append(j.files, sentFile{variable: file, url: url, digest: digestOf(shared[work.Files[file]]), program: info.Mode()&0o111 != 0})
	}
	for _, u := range []struct {
		to   *string
		verb verb
		key  string
	}{{&j.self, remove, t.job()}, {&j.tree, get, t.tree()}, {&j.result, put, t.result()}} {
		if *u.to, err = w.urlOf(ctx, u.verb, u.key, t.life); err != nil {
			return err
		}
	}
	if gate != nil {
		if j.start, err = w.urlOf(ctx, get, gate.key, t.life); err != nil {
			return err
		}
	}
	script := j.script()
	sum := sha256.Sum256([]byte(script))
	t.digest = hex.EncodeToString(sum[:])
	return cloud.Fault(ctx, "send job", w.put(ctx, t.job(), strings.NewReader(script)))
}

// put puts an object. Once it has begun, its answer is waited for even when the context
// ends: an object that came after its own removal would stay.
func (w *Worker) put(ctx context.Context, key string, body io.Reader) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	answered, cancel := outliving(ctx)
	defer cancel()
	_, err := w.s3.PutObject(answered, &s3.PutObjectInput{Bucket: aws.String(w.Bucket), Key: aws.String(key), Body: body})
	return err
}

// verb is what a URL allows.
type verb int

const (
	get verb = iota
	put
	remove
)

// urlOf returns a URL by which who has it may do one thing with one object.
func (w *Worker) urlOf(ctx context.Context, v verb, key string, life time.Duration) (string, error) {
	bucket, name, expires := aws.String(w.Bucket), aws.String(key), s3.WithPresignExpires(life)
	switch v {
	case get:
		signed, err := w.presign.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: name}, expires)
		if err != nil {
			return "", cloud.Fault(ctx, "sign URL", err)
		}
		return signed.URL, nil
	case put:
		signed, err := w.presign.PresignPutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: name}, expires)
		if err != nil {
			return "", cloud.Fault(ctx, "sign URL", err)
		}
		return signed.URL, nil
	default:
		signed, err := w.presign.PresignDeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: name}, expires)
		if err != nil {
			return "", cloud.Fault(ctx, "sign URL", err)
		}
		return signed.URL, nil
	}
}

// share puts the files of all works into the bucket, by their digest, and returns their
// keys by path. They are left for the next build that needs them.
func (w *Worker) share(ctx context.Context, works []pipeline.Work) (map[string]string, error) {
	keys := map[string]string{}
	for _, work := range works {
		for _, path := range work.Files {
			if keys[path] != "" {
				continue
			}
			key, err := w.shareFile(ctx, path)
			if err != nil {
				return nil, cloud.Fault(ctx, "send file "+filepath.Base(path), err)
			}
			keys[path] = key
		}
	}
	return keys, nil
}

func (w *Worker) shareFile(ctx context.Context, path string) (key string, err error) {
	file, err := regular.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	h := sha256.New()
	size, err := io.Copy(h, file)
	if err != nil {
		return "", err
	}
	key = filesPrefix + "files/" + hex.EncodeToString(h.Sum(nil))
	head, err := w.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(w.Bucket), Key: aws.String(key)})
	if err == nil && aws.ToInt64(head.ContentLength) == size && time.Since(aws.ToTime(head.LastModified)) < freshness {
		return key, nil
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	return key, w.put(ctx, key, file)
}

func digestOf(key string) string { return key[strings.LastIndex(key, "/")+1:] }

// fetch gets what a build left, puts the tree in place of the directory, and returns
// the exit status as the job wrote it. Where the build left nothing, the error is
// that of a missing object; where something else than the job wrote it, CodeCorrupt.
func (w *Worker) fetch(ctx context.Context, t *transfer, tree string) (status string, err error) {
	const op = "fetch work tree"
	out, err := w.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(w.Bucket), Key: aws.String(t.result())})
	if err != nil {
		return "", cloud.Fault(ctx, op, err)
	}
	defer out.Body.Close()
	dir, err := os.MkdirTemp(filepath.Dir(tree), ".penstock-result-") // on the same file system
	if err != nil {
		return "", pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	result := filepath.Join(dir, "result")
	var kept []string
	sealed := t.seal.open(out.Body)
	err = w.Unpack(ctx, sealed, result, func(name string, modified time.Time) {
		if inTree, ok := strings.CutPrefix(name, treeDir+"/"); ok && modified.Equal(t.untouched) {
			kept = append(kept, inTree)
		}
	})
	if err != nil {
		return "", unpackError(ctx, op, err)
	}
	if err := sealed.check(); err != nil {
		return "", cloud.Fault(ctx, op, err)
	}
	text, err := readExit(result)
	if err == nil {
		keepTimes(tree, filepath.Join(result, treeDir), kept)
		err = replace(tree, filepath.Join(result, treeDir), filepath.Join(dir, "before"))
	}
	if err != nil {
		return "", pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// readExit reads what the job wrote of the command's end.
func readExit(result string) ([]byte, error) {
	root, err := os.OpenRoot(result)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, err := regular.OpenIn(root, exitFile)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, 100))
}

// keepTimes restores the times that files had here where the command left them alone, so
// that they differ from the files that it wrote. A file whose time can't be kept counts as
// written.
func keepTimes(before, after string, names []string) {
	from, err := os.OpenRoot(before)
	if err != nil {
		return
	}
	defer from.Close()
	to, err := os.OpenRoot(after)
	if err != nil {
		return
	}
	defer to.Close()
	for _, name := range names {
		if info, err := from.Lstat(name); err == nil && info.Mode().IsRegular() {
			_ = to.Chtimes(name, info.ModTime(), info.ModTime())
		}
	}
}

// unpackError is no mistake in what was asked for, whatever the unpacker says.
func unpackError(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil || pipeline.CodeOf(err) != pipeline.CodeInvalid {
		return cloud.Fault(ctx, op, err)
	}
	return pipeline.Errorf(pipeline.CodeFailed, op, "%v", err).
		WithHint("The step may leave only files, directories and links in its work tree.")
}

// replace puts a directory in place of another, which goes to aside.
func replace(dir, by, aside string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(by, info.Mode().Perm()|0o700), os.Rename(dir, aside)); err != nil {
		return err
	}
	if err := os.Rename(by, dir); err != nil {
		return errors.Join(err, os.Rename(aside, dir))
	}
	return nil
}

// exitOf reads the exit status that the job wrote.
func exitOf(status string) (int, error) {
	exit, err := strconv.Atoi(status)
	if err != nil {
		return 0, pipeline.Errorf(pipeline.CodeFailed, "fetch work tree", "%q is no exit status", status)
	}
	return exit, nil
}

// startDelay is the time from the moment at which all builds are ready until their
// commands begin: they look for that moment twice a second. Where tests shorten the
// pauses, it is 40 of them.
const startDelay = 5 * time.Second

// gate lets the commands of several builds begin at the same time.
type gate struct {
	key string // of the object that says when

	mu      sync.Mutex
	missing int // builds that are not ready yet
}

func newGate(builds int) *gate {
	return &gate{key: filesPrefix + rand.Text() + "/start", missing: builds}
}

// pass reports that one more build is ready. The last opens the gate.
func (w *Worker) pass(ctx context.Context, g *gate) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.missing--; g.missing > 0 {
		return nil
	}
	at := time.Now().Add(min(startDelay, 40*w.Pause)).UTC().Format(time.RFC3339Nano)
	return cloud.Fault(ctx, "begin together", w.put(ctx, g.key, strings.NewReader(fmt.Sprintln(at))))
}
