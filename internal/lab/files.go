// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package lab

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
)

const filesArgument = "lab-files"

// ServeFiles makes this process a service that shows its working directory at HOST and PORT and
// prints the requests, if it was started as one, and then does not return. A TestMain calls it; see
// Files.
func ServeFiles() {
	if len(os.Args) > 1 && os.Args[1] == filesArgument {
		files, address := http.FileServer(http.Dir(".")), net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT"))
		fmt.Println("Serving HTTP at", address)
		panic(http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Println(r.Method, r.URL.Path)
			files.ServeHTTP(w, r)
		})))
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
