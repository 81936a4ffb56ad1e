// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package cli_test

import (
	"net/http"
	"net/http/cookiejar"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/docstest"
)

// Enter in the terminal prints another address, which lets in another browser; what the
// terminal itself does for Ctrl-C goes on.
func TestServeAnotherAddress(t *testing.T) {
	t.Parallel()
	c := onTerminal(t, workplace(t, "-service"), "serve", "--listen", "127.0.0.1:0")
	c.wait(`Enter prints another address.*\n`)
	docstest.Shows(t, "docs/guides/board.md", "Enter prints", c.screen())
	printed := regexp.MustCompile(`http://localhost:\d+/sign-in\?token=\w+`)
	addresses := printed.FindAllString(c.screen(), -1)
	for range 2 {
		c.write("\r")
		c.wait(strings.Repeat(`(?s)token=\w+.*`, len(addresses)+1))
		addresses = printed.FindAllString(c.screen(), -1)
	}
	for i, address := range addresses {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		browser := &http.Client{Jar: jar}
		if i == len(addresses)-1 {
			pressSignIn(t, browser, address)
			continue
		}
		if resp, _ := ask(t, browser, address); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("an address before is answered %s", resp.Status)
		}
	}
	c.write(interrupt)
	c.end(0)
}

// In the background, as by "penstock serve &", it reads nothing of the terminal, and is not
// stopped for trying; brought to the foreground it reads.
func TestServeInTheBackground(t *testing.T) {
	t.Parallel()
	shell, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	dir := workplace(t, "-service")
	c := startOnTerminal(t, in(dir, shell, "-c", `set -m; "$0" serve --listen 127.0.0.1:0 & read line; echo "got $line"; jobs; fg`, command(t, dir, "penstock").Path))
	c.wait(`Enter prints another address`)
	c.write("for the shell\r")
	c.wait(`got for the shell`)
	if strings.Contains(c.screen(), "Stopped") {
		t.Fatalf("it is stopped:\n%s", c.screen())
	}
	c.wait(`Running .* serve`)
	c.write("\r")
	c.wait(`(?s)token=.*token=`)
	c.write(interrupt)
	c.end(0)
}

// in is a command in a directory.
func in(dir, program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	return cmd
}
