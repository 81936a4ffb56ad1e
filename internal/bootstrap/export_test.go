// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// UploaderOf is for tests of the package alone.
var UploaderOf = uploaderOf

// NewNameLength is for tests of the package alone.
const NewNameLength = newNameLength

// LaterUploaderOf returns an uploader whose clock is a day ahead.
func LaterUploaderOf(cfg aws.Config) Uploader {
	u := uploaderOf(cfg).(bucketUploader)
	u.now = func() time.Time { return time.Now().Add(24 * time.Hour) }
	return u
}

// Grow makes the template larger than a request takes.
func (s *Stack) Grow() { s.template += "\n# " + strings.Repeat("x", maxBody) + "\n" }
