// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// healthOf returns what is wrong with a service; empty when it is healthy.
func healthOf(ctx context.Context, endpoint string, check *pipeline.HealthCheck, timeout time.Duration) string {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if check == nil {
		u, err := url.Parse(endpoint)
		if err != nil {
			return err.Error()
		}
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
		if err != nil {
			return err.Error()
		}
		_ = c.Close()
		return ""
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+check.Path, nil)
	if err != nil {
		return err.Error()
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	_ = resp.Body.Close()
	if ok := resp.StatusCode == check.Status || check.Status == 0 && resp.StatusCode/100 == 2; !ok {
		return fmt.Sprintf("GET %s answers %d", check.Path, resp.StatusCode)
	}
	return ""
}
