// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"errors"
	"fmt"
)

// silentError is an error whose text was printed already.
type silentError struct{ error }

func (e *silentError) Unwrap() error { return e.error }

// commandStatus is the exit status of a command that was run for the user, who has seen
// what it printed.
type commandStatus int

func (s commandStatus) Error() string { return fmt.Sprintf("the command ended with status %d", int(s)) }

// silent reports whether there is nothing more to print of an error.
func silent(err error) bool {
	var e *silentError
	var s commandStatus
	return errors.As(err, &e) || errors.As(err, &s)
}
