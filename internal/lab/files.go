// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package lab

import (
	"net"
	"net/http"
	"os"
	"strings"
)

const filesArgument = "lab-files"

// ServeFiles makes this process a service that shows its working directory at HOST and PORT, if
// it was started as one, and then does not return. A TestMain calls it; see Files.
func ServeFiles() {
	if len(os.Args) > 1 && os.Args[1] == filesArgument {
		panic(http.ListenAndServe(net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT")), http.FileServer(http.Dir("."))))
	}
}

// Files returns the command line that starts the service: this test binary.
func Files() string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return "exec '" + strings.ReplaceAll(self, "'", `'\''`) + "' " + filesArgument
}
