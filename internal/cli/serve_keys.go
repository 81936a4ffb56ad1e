// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/cli/browser"

	"github.com/penstock-io/terraform-provider-penstock/internal/board"
)

const (
	// foregroundEvery is how often a program in the background looks whether it has the
	// terminal again.
	foregroundEvery = time.Second
	// mostFailures in a row are of a terminal that can't be read any more.
	mostFailures = 5
)

// offerAddresses prints another address that lets in a browser whenever somebody presses
// Enter, and opens it for o and Enter.
func (o *serveOptions) offerAddresses(ctx context.Context, token *board.Token, at string) {
	offers := !o.json && o.typed(ctx, func(line string) {
		o.offerAddress(at+token.Fresh(), strings.EqualFold(line, "o"))
	})
	if offers {
		fmt.Fprintln(o.Err, "Enter prints another address, for another browser; o and Enter opens one.")
	}
}

// typed calls do with each line that somebody types from now on, and reports whether there is a
// terminal to type at. It reads whole lines, so that the terminal's own keys do what they do;
// and nothing while the program is in the background.
func (f *factory) typed(ctx context.Context, do func(line string)) bool {
	terminal, ok := f.In.(*os.File)
	if !ok || !isTerminal(terminal) {
		return false
	}
	restore := readQuietly()
	go func() {
		defer restore()
		keys := bufio.NewReader(terminal)
		for failed := 0; failed < mostFailures && ctx.Err() == nil; {
			line, err := keys.ReadString('\n')
			switch {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				failed++
				awaitForeground(ctx, terminal)
			default:
				failed = 0
				do(strings.TrimSpace(line))
			}
		}
	}()
	return true
}

func (o *serveOptions) offerAddress(at string, open bool) {
	fmt.Fprintln(o.Out, at)
	if open {
		o.openBrowser(at)
	}
}

// openBrowser opens an address, or says that it can't.
func (o *serveOptions) openBrowser(at string) {
	browser.Stdout, browser.Stderr = o.Err, o.Err
	if err := browser.OpenURL(at); err != nil {
		fmt.Fprintf(o.Err, "The browser can't be opened from here: %v\n", err)
	}
}
