// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package npm downloads packages of the npm registry whose content is known.
package npm

import (
	"context"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Download returns the archive at an address, a gzipped tar file. Its integrity is its
// SHA-512 in base 64; another archive is an error. A registry may be out of breath, and is
// asked three times.
func Download(ctx context.Context, address, integrity string) (archive []byte, err error) {
	for range 3 {
		if archive, err = download(ctx, address, integrity); err == nil {
			return archive, nil
		}
	}
	return nil, err
}

func download(ctx context.Context, address, integrity string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: %s", address, resp.Status)
	}
	archive, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	sum := sha512.Sum512(archive)
	if got := base64.StdEncoding.EncodeToString(sum[:]); got != integrity {
		return nil, fmt.Errorf("get %s: its SHA-512 is %s; want %s", address, got, integrity)
	}
	return archive, nil
}
