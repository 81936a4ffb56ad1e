// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package codebuild

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"hash"
	"io"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// seal is the keys of a nested MAC as HMAC is one, of SHA-256, which a shell computes with
// sha256sum: the digest of the outer key and of the hex digest of the inner key and the
// content. Only the job has them beside this process. What is in the bucket can't be
// replaced by who may write there.
type seal struct{ inner, outer string }

func newSeal() seal {
	key := func() string {
		var b [32]byte
		_, _ = rand.Read(b[:]) // never fails
		return hex.EncodeToString(b[:])
	}
	return seal{key(), key()}
}

// sealLength is the length of the seal behind what it is of, in hex.
const sealLength = 2 * sha256.Size

// sealed reads what is before the seal at the end of a stream.
type sealed struct {
	all   *bufio.Reader
	outer string
	sum   hash.Hash
}

// open returns a reader of what is before the seal.
func (s seal) open(r io.Reader) *sealed {
	sum := sha256.New()
	_, _ = io.WriteString(sum, s.inner)
	return &sealed{all: bufio.NewReaderSize(r, 64<<10), outer: s.outer, sum: sum}
}

// Read implements io.Reader. What may be the seal is held back.
func (s *sealed) Read(p []byte) (int, error) {
	held, err := s.all.Peek(min(len(p), s.all.Size()-sealLength) + sealLength)
	n := len(held) - sealLength
	if n <= 0 {
		return 0, err
	}
	copy(p, held[:n])
	s.sum.Write(held[:n])
	_, err = s.all.Discard(n)
	return n, err
}

// check reads to the end, and returns an error unless the seal is that of the content.
func (s *sealed) check() error {
	if _, err := io.Copy(io.Discard, s); err != nil {
		return err
	}
	found, err := io.ReadAll(s.all)
	if err != nil {
		return err
	}
	want := sha256.Sum256([]byte(s.outer + hex.EncodeToString(s.sum.Sum(nil))))
	if subtle.ConstantTimeCompare(found, []byte(hex.EncodeToString(want[:]))) != 1 {
		return broken()
	}
	return nil
}

func broken() error {
	return pipeline.Errorf(pipeline.CodeCorrupt, "fetch work tree", "what came back is not what the build made").
		WithHint("Somebody else wrote to the bucket below %s. Find out who can, and apply again.", filesPrefix)
}
