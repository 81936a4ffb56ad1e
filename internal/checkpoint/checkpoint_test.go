// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package checkpoint

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

var anchor = pipeline.Anchor{Sequence: 41, Hash: pipeline.HashOf([]byte("event 41"))}

func keys(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]crypto.Signer{"Ed25519": edwards, "ECDSA": p256}
}

// TestSignAndOpen goes through PEM, as files do.
func TestSignAndOpen(t *testing.T) {
	t.Parallel()
	for kind, key := range keys(t) {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		private, err := ParseKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		text, err := MarshalPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		public, err := ParsePublicKey(text)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		signed, err := Sign("shop", anchor, private)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if name, got, err := Open(signed, public); err != nil || name != "shop" || got != anchor {
			t.Errorf("%s: opened %q, %v, %v", kind, name, got, err)
		}
		for how, changed := range map[string]string{
			"sequence": strings.Replace(string(signed), "\n41\n", "\n42\n", 1),
			"pipeline": strings.ReplaceAll(string(signed), "ledger/shop", "ledger/till"),
			"origin":   strings.Replace(string(signed), "ledger/shop", "ledger/till", 1),
		} {
			if _, _, err := Open([]byte(changed), public); pipeline.CodeOf(err) != pipeline.CodeCorrupt {
				t.Errorf("%s: a changed %s: %v", kind, how, err)
			}
		}
		for other, key := range keys(t) {
			if _, _, err := Open(signed, key.Public()); pipeline.CodeOf(err) != pipeline.CodeCorrupt || !strings.Contains(err.Error(), "not signed with this key") {
				t.Errorf("%s, by another key of %s: %v", kind, other, err)
			}
		}
		for _, none := range []string{"", "hello", "penstock.io/ledger/\n1\n", "penstock.io/ledger/shop\n", strings.SplitAfter(string(signed), "\n\n")[0]} {
			if _, _, err := Open([]byte(none), public); err == nil {
				t.Errorf("%s: opened %q", kind, none)
			}
		}
	}
}

// TestSignedNote has the reference implementation check a checkpoint.
func TestSignedNote(t *testing.T) {
	t.Parallel()
	key := keys(t)["Ed25519"]
	signed, err := Sign("shop", anchor, key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := note.NewEd25519VerifierKey("penstock.io/ledger/shop", key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(text)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		t.Fatal(err)
	}
	hash := make([]byte, 32)
	if _, err := fmt.Sscanf(anchor.Hash, "%x", &hash); err != nil {
		t.Fatal(err)
	}
	if want := "penstock.io/ledger/shop\n41\n" + base64.StdEncoding.EncodeToString(hash) + "\n"; opened.Text != want {
		t.Errorf("the text is %q, want %q", opened.Text, want)
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	t.Parallel()
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"RSA": long, "P-384": curve} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ParseKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		if pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(reason.Hint(err), "openssl") {
			t.Errorf("%s: %v", name, err)
		}
		public, err := MarshalPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParsePublicKey(public); pipeline.CodeOf(err) != pipeline.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"", "ssh-ed25519 AAAA", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if _, err := ParseKey([]byte(text)); pipeline.CodeOf(err) != pipeline.CodeInvalid {
			t.Errorf("ParseKey(%q) returns %v", text, err)
		}
		if _, err := ParsePublicKey([]byte(text)); pipeline.CodeOf(err) != pipeline.CodeInvalid {
			t.Errorf("ParsePublicKey(%q) returns %v", text, err)
		}
	}
}
