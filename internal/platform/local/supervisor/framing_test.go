// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
)

// FuzzFraming follows a connection in one piece and byte by byte, with the same result, and
// takes requests to end where net/http does.
func FuzzFraming(f *testing.F) {
	for _, text := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"GET / HTTP/1.1\nHost: x\n\n", "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var whole, bytes framing
		good, err := whole.pass([]byte(text))
		passed, failed := 0, error(nil)
		for passed < len(text) && failed == nil {
			var n int
			n, failed = bytes.pass([]byte(text[passed : passed+1]))
			passed += n
		}
		if (err == nil) != (failed == nil) || err == nil && (good != passed || whole.state != bytes.state || whole.left != bytes.left) {
			t.Fatalf("%q: in one piece %d bytes pass, %v, in state %v; byte by byte %d, %v, in state %v", text, good, err, whole.state, passed, failed, bytes.state)
		}
		if err != nil || whole.state == readForeign {
			return
		}
		// What net/http reads without an error ends a request here, too.
		r := bufio.NewReader(strings.NewReader(text))
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		left, _ := io.ReadAll(r)
		var first framing
		_, err = first.pass([]byte(text[:len(text)-len(left)]))
		if err != nil || first.state != readStart {
			t.Fatalf("%q: net/http takes %d bytes for a request, and this is in state %v, %v", text, len(text)-len(left), first.state, err)
		}
	})
}
