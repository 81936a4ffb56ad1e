// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
)

// lookTimeout bounds a look at the certificate or the name of a load balancer.
const lookTimeout = 10 * time.Second

// tested returns how the test listener is to be reached, by where the live one is: as that
// will be, on its own port.
func (f front) tested(live int) front {
	f.port = testPort(live)
	return f
}

// candidate returns where a fleet without traffic is reached, and the name that its certificate
// is for. Where that name leads to the load balancer, the endpoint has it, and programs find
// all in order. Where it does not, as before a first deployment or behind another proxy, the
// endpoint has the load balancer's own name, which no certificate is for, and the name of the
// certificate is returned beside it.
func (b *balancers) candidate(ctx context.Context, lb *balancer, r pipeline.FleetRequest) (endpoint, host string) {
	endpoint = lb.endpoint(lb.testAt)
	if lb.testAt.certificate == "" {
		return endpoint, ""
	}
	if r.Balancer != nil {
		host = r.Balancer.Host
	}
	if host == "" {
		var err error
		if host, err = shown(ctx, net.JoinHostPort(lb.dns, strconv.Itoa(lb.testAt.port))); err != nil {
			stack.Logf(r.Log, "what name the certificate of the test port is for can't be read from here: %v", err)
			return endpoint, ""
		}
	}
	if leads(ctx, b.lookup, host, lb.dns) {
		named := *lb
		named.dns = host
		return named.endpoint(lb.testAt), ""
	}
	stack.Logf(r.Log, "the name %s does not lead to the load balancer from here: the endpoint has the load balancer's own name", host)
	return endpoint, host
}

// shown returns the first name of the certificate that a listener shows. Nothing is sent to it
// and nothing believed of it: what sends requests verifies the certificate, for that name.
func shown(ctx context.Context, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	c, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return nameOf(c.(*tls.Conn).ConnectionState().PeerCertificates[0])
}

// nameOf returns the first name that a certificate is for; of a wildcard, one of those.
func nameOf(certificate *x509.Certificate) (string, error) {
	if len(certificate.DNSNames) == 0 {
		return "", errors.New("the certificate has no DNS name")
	}
	name := certificate.DNSNames[0]
	for _, other := range certificate.DNSNames {
		if !strings.HasPrefix(other, "*.") {
			name = other
			break
		}
	}
	if domain, ok := strings.CutPrefix(name, "*."); ok {
		name = "penstock." + domain
	}
	return name, nil
}

// lookup returns the addresses of a name.
type lookup func(ctx context.Context, host string) ([]string, error)

// leads reports whether a name has an address of another one.
func leads(ctx context.Context, lookup lookup, name, to string) bool {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	have, err := lookup(ctx, name)
	if err != nil {
		return false
	}
	want, err := lookup(ctx, to)
	return err == nil && slices.ContainsFunc(have, func(a string) bool { return slices.Contains(want, a) })
}
