// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// authority signs the certificates of a test binary's accounts.
var authority = sync.OnceValues(func() (tls.Certificate, error) {
	return issue(nil, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{CommonName: "the test cloud"}})
})

// issue makes a certificate, which by signs; nil: itself.
func issue(by *tls.Certificate, of *x509.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	of.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return tls.Certificate{}, err
	}
	of.NotBefore, of.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	parent, signer := of, crypto.Signer(key)
	if by != nil {
		parent, signer = by.Leaf, by.PrivateKey.(crypto.Signer)
	}
	raw, err := x509.CreateCertificate(rand.Reader, of, parent, key.Public(), signer)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(raw)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key, Leaf: leaf}, err
}

// Roots returns the path of a file, in PEM, of the authority of all certificates.
func (c *Cloud) Roots() string {
	c.t.Helper()
	root, err := authority()
	file := filepath.Join(c.account().dir, "roots.pem")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o755)
	}
	if err == nil {
		err = os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate[0]}), 0o644)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return file
}

// Certificate makes a certificate for names, and returns its ARN. Load balancers show it.
func (c *Cloud) Certificate(names ...string) string {
	c.t.Helper()
	root, err := authority()
	if err != nil {
		c.t.Fatal(err)
	}
	own, err := issue(&root, &x509.Certificate{DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature})
	if err != nil {
		c.t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		c.t.Fatal(err)
	}
	out, err := iam.NewFromConfig(c.Own()).UploadServerCertificate(c.t.Context(), &iam.UploadServerCertificateInput{
		ServerCertificateName: aws.String("certificate-" + own.Leaf.SerialNumber.String()),
		CertificateBody:       aws.String(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]}))),
		PrivateKey:            aws.String(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	arn := aws.ToString(out.ServerCertificateMetadata.Arn)
	a := c.account()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.certificates[arn] = own
	return arn
}

// secured returns how a listener of HTTPS speaks TLS, by the request that makes or changes it:
// with the account's certificate, and the oldest version that its policy takes.
func (a *account) secured(form url.Values) (*tls.Config, error) {
	arn := form.Get("Certificates.member.1.CertificateArn")
	a.mu.Lock()
	own, ok := a.certificates[arn]
	a.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("Certificate ARN '%s' is not valid", arn)
	}
	oldest := uint16(tls.VersionTLS10) // what AWS takes where no policy is named
	switch policy := form.Get("SslPolicy"); {
	case strings.HasPrefix(policy, "ELBSecurityPolicy-TLS13-1-3-"):
		oldest = tls.VersionTLS13
	case strings.Contains(policy, "-1-2-"):
		oldest = tls.VersionTLS12
	}
	return &tls.Config{Certificates: []tls.Certificate{own}, MinVersion: oldest}, nil
}
