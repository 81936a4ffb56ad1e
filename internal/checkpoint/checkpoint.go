// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package checkpoint signs how far a pipeline's history has come, and checks such a
// signature: who has the key, and nobody else, says that the history had this event.
//
// A checkpoint is a signed note (https://c2sp.org/signed-note) with the body of a
// checkpoint of transparency logs (https://c2sp.org/tlog-checkpoint): origin, size and hash.
// The hash is that of the newest event, which chains all before it, and not the root of
// a Merkle tree. Keys are in PEM, as OpenSSL and AWS KMS make them: Ed25519, or ECDSA on
// the curve P-256.
//
//	text, err := checkpoint.Sign("shop", anchor, key)
//	name, anchor, err := checkpoint.Open(text, public)
package checkpoint

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// origin stands before the pipeline's name in the first line. Both together are the name
// of the key, too, as the format recommends.
const origin = "penstock.io/ledger/"

// Sign returns the checkpoint of a pipeline. CodeInvalid refuses a key of another kind.
func Sign(name string, a pipeline.Anchor, key crypto.Signer) ([]byte, error) {
	const op = "sign checkpoint"
	hash, err := hex.DecodeString(a.Hash)
	if err != nil {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, op, "hash %q: %w", a.Hash, err)
	}
	public, err := newVerifier(name, key.Public())
	if err != nil {
		return nil, err
	}
	text := origin + name + "\n" + strconv.FormatInt(a.Sequence, 10) + "\n" + base64.StdEncoding.EncodeToString(hash) + "\n"
	signed, err := note.Sign(&note.Note{Text: text}, signer{public, key})
	if err != nil {
		return nil, pipeline.Errorf(pipeline.CodeFailed, op, "%w", err)
	}
	return signed, nil
}

// Open checks a checkpoint's signature by a public key, and returns what was signed.
// CodeCorrupt says that it has no signature by the key, or was changed; CodeInvalid that it
// is none.
func Open(signed []byte, key crypto.PublicKey) (name string, a pipeline.Anchor, err error) {
	const op = "read checkpoint"
	first, _, _ := strings.Cut(string(signed), "\n")
	name, ok := strings.CutPrefix(first, origin)
	if !ok || name == "" {
		return "", a, pipeline.Errorf(pipeline.CodeInvalid, op, "it does not begin with %s and the name of a pipeline", origin).
			WithAdvice(pipeline.Advice{Verb: pipeline.VerbCheckpoint})
	}
	public, err := newVerifier(name, key)
	if err != nil {
		return "", a, err
	}
	opened, err := note.Open(signed, note.VerifierList(public))
	var none *note.UnverifiedNoteError
	var bad *note.InvalidSignatureError
	switch {
	case errors.As(err, &none):
		return "", a, pipeline.Errorf(pipeline.CodeCorrupt, op, "it is not signed with this key").WithHint("Use the public key of the key that signed it.")
	case errors.As(err, &bad):
		return "", a, pipeline.Errorf(pipeline.CodeCorrupt, op, "its signature does not match its text: it was changed").WithHint("Use another copy of it.")
	case err != nil:
		return "", a, pipeline.Errorf(pipeline.CodeInvalid, op, "%w", err).WithAdvice(pipeline.Advice{Verb: pipeline.VerbCheckpoint})
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 {
		return "", a, pipeline.Errorf(pipeline.CodeInvalid, op, "it lacks a size or a hash")
	}
	hash, err := base64.StdEncoding.DecodeString(lines[2])
	if err == nil {
		a, err = pipeline.ParseAnchor(lines[1] + ":" + hex.EncodeToString(hash))
	}
	if err != nil {
		return "", a, pipeline.Errorf(pipeline.CodeInvalid, op, "%w", err)
	}
	return name, a, nil
}

// ParseKey reads a private key in PEM, as `openssl genpkey` writes it.
func ParseKey(data []byte) (crypto.Signer, error) {
	const op = "read key"
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, noKey(op, "it is not in PEM")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, noKey(op, "it is of type "+strconv.Quote(block.Type))
	}
	if err != nil {
		return nil, noKey(op, err.Error())
	}
	private, ok := key.(crypto.Signer)
	if !ok {
		return nil, noKey(op, "it can't sign")
	}
	_, err = newVerifier("", private.Public())
	return private, err
}

// ParsePublicKey reads a public key in PEM, as `openssl pkey -pubout` writes it.
func ParsePublicKey(data []byte) (crypto.PublicKey, error) {
	const op = "read public key"
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, noKey(op, "it is not a PUBLIC KEY in PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, noKey(op, err.Error())
	}
	_, err = newVerifier("", key)
	return key, err
}

// MarshalPublicKey writes a public key in PEM.
func MarshalPublicKey(key crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), err
}

func noKey(op, why string) error {
	return pipeline.Errorf(pipeline.CodeInvalid, op, "%s", why).
		WithHint("Make a key with `openssl genpkey -algorithm ed25519 -out key.pem`, and its public key with `openssl pkey -in key.pem -pubout -out public.pem`.")
}

// kindEd25519 is the number that signed notes give this kind of signature.
const kindEd25519 = 1

// verifier checks signatures of notes by a key.
type verifier struct {
	name string
	key  crypto.PublicKey
	hash uint32
}

var _ note.Verifier = verifier{}

func newVerifier(name string, key crypto.PublicKey) (verifier, error) {
	v := verifier{name: origin + name, key: key}
	var id [sha256.Size]byte
	switch k := key.(type) {
	case ed25519.PublicKey:
		id = sha256.Sum256(append([]byte(v.name+"\n"), append([]byte{kindEd25519}, k...)...))
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return v, noKey("read key", "its curve is "+k.Curve.Params().Name+", not P-256")
		}
		der, err := x509.MarshalPKIXPublicKey(k)
		if err != nil {
			return v, noKey("read key", err.Error())
		}
		id = sha256.Sum256(der) // as of old, without name and kind
	default:
		return v, noKey("read key", "it is neither an Ed25519 key nor an ECDSA key on P-256")
	}
	v.hash = binary.BigEndian.Uint32(id[:4])
	return v, nil
}

func (v verifier) Name() string    { return v.name }
func (v verifier) KeyHash() uint32 { return v.hash }

func (v verifier) Verify(msg, sig []byte) bool {
	switch k := v.key.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(k, msg, sig)
	case *ecdsa.PublicKey:
		digest := sha256.Sum256(msg)
		return ecdsa.VerifyASN1(k, digest[:], sig)
	}
	return false
}

// signer signs notes.
type signer struct {
	verifier
	private crypto.Signer
}

var _ note.Signer = signer{}

func (s signer) Sign(msg []byte) ([]byte, error) {
	hash := crypto.SHA256
	if _, ok := s.key.(ed25519.PublicKey); ok {
		hash = 0
	}
	return crypto.SignMessage(s.private, rand.Reader, msg, hash)
}
