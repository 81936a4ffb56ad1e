// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package workplace

import "net/url"

// PackPrefix begins the names of the directories in which modules of working trees are packed.
// The key of the lease under which that is done follows, escaped as a part of a URL's path.
const PackPrefix = "module-"

// PackDir returns the name of the directory in which the holder of a lease packs a module.
func PackDir(key string) string { return PackPrefix + url.PathEscape(key) }
