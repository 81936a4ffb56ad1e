// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzhttp"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// compressible are the types of what the board compresses: its pages and their files.
var compressible = []string{"text/html", "text/css", "text/javascript", "application/javascript", "image/svg+xml"}

// jitter varies the size of what is compressed by up to so many bytes: a page says what its
// address asks for beside what only its reader may know, and the exact size would tell who
// listens whether the two are alike.
const jitter = 64

// compressed compresses answers for browsers that can read them so.
func compressed(h http.Handler) http.Handler {
	wrap, err := gzhttp.NewWrapper(gzhttp.ContentTypes(compressible), gzhttp.RandomJitter(jitter, 0, false))
	must(err)
	return wrap(h)
}

// streams reports whether a pattern is of what is sent bit by bit, for as long as somebody
// listens.
func streams(pattern string) bool {
	return strings.HasSuffix(pattern, "/events") || strings.HasSuffix(pattern, "/follow") || strings.HasSuffix(pattern, "/log") ||
		strings.Contains(pattern, "/history.")
}

// errNowhere is the answer to what no page has the address of.
var errNowhere = pipeline.Errorf(pipeline.CodeNotFound, "find page", "there is no such page").WithHint("The first page lists the pipelines.")

// nowhere answers an address that no page has.
func nowhere(http.ResponseWriter, *http.Request, *session) error { return errNowhere }

// noFile answers the address of a file that no page needs.
func (b *core) noFile(w http.ResponseWriter, r *http.Request) {
	b.refuse(w, r, http.StatusNotFound, errNowhere)
}
