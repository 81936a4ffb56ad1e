// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud/cloudtest"
)

// The steps of a production with a certificate reach the next build by HTTPS before it serves:
// a check, a load, curl, and a command in the environment, which runs as the service's user.
// Nothing of them skips a verification.
func TestCertificateOnAWS(t *testing.T) {
	c := cloudtest.New(t)
	config := strings.NewReplacer(
		`provider "penstock" {}`, `provider "penstock" { aws = { region = "`+cloudtest.Region+`" } }`,
		`from     = { directory = "image/rootfs" }`, `from     = { ami = "`+cloudtest.BaseImage+`" }`,
		`command = "cp \"$PENSTOCK_SOURCE/image/rootfs/etc/motd\" etc/stamp"`, `command = "mkdir -p etc; cp \"$PENSTOCK_SOURCE/image/rootfs/etc/motd\" etc/stamp"`,
		`    health_check`, `    user         = "shop"
    health_check`,
		`after    = [penstock_stage.acceptance.passed]
}`, `after    = [penstock_stage.acceptance.passed]
  environment = { port = 8443, drain_timeout = "1s", certificate = "`+c.Certificate("*.example.com", "shop.example.com")+`" }
  steps = [
    { name = "check", http = { path = "/" } },
    { name = "load", load = { rate = 20, duration = "1s", path = "/", error_rate = 0 } },
    { name = "curl", command = "curl -fsS --cacert \"$ROOTS\" --connect-to \"::$${PENSTOCK_ENDPOINT#https://}\" \"https://$PENSTOCK_ENDPOINT_HOST/\"", env = { ROOTS = "`+c.Roots()+`" } },
    { name = "who", command = "[ \"$USER\" = shop ] && id -u > \"$PENSTOCK_DATA/id\"", on = "environment" },
  ]
}`,
	).Replace(faultConfig())
	s := newSite(t, config)
	s.bootstrap(c)
	s.env = append(s.env, "SSL_CERT_FILE="+c.Roots())
	s.apply()
	roots, err := os.ReadFile(c.Roots())
	s.must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "shop.example.com"}}}
	for _, version := range []string{"1", "2"} {
		if version == "2" { // the listeners are there, with the certificate
			s.commit(version)
			s.apply()
		}
		resp, err := client.Get(s.output("production"))
		s.must(err)
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || strings.TrimSpace(string(text)) != version {
			t.Errorf("production answers %q, %v", text, err)
		}
	}
	root := ""
	for _, id := range c.Running() {
		if text, err := os.ReadFile(filepath.Join(c.Root(id), "/var/lib/penstock/id")); err == nil {
			root = string(text)
		}
	}
	if root == "" || os.Getuid() == 0 && root == "0\n" {
		t.Errorf("the step in the environment ran as user %q", root)
	}
	s.destroy()
}
