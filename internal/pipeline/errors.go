// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"errors"
	"fmt"
)

// Code classifies an error by what can be done about it. Every front end renders
// codes from one table: the provider as diagnostics, the CLI as exit statuses.
type Code string

// The codes.
const (
	CodeInvalid    Code = "invalid"   // the input is wrong; change it
	CodeNotFound   Code = "not_found" // the named thing does not exist
	CodeConflict   Code = "conflict"  // somebody else changed or owns it
	CodeLocked     Code = "locked"    // another run holds the lease
	CodeLeaseLost  Code = "lease_lost"
	CodeRefused    Code = "refused"     // a gate refuses it
	CodeNotAllowed Code = "not_allowed" // the person lacks the right
	CodeFailed     Code = "failed"      // a step, check or deployment failed
	CodeCorrupt    Code = "corrupt"     // stored data is not what was recorded
	CodeCancelled  Code = "cancelled"
	CodeInternal   Code = "internal"
)

// Error is an error with a code and, where there is one, a remedy: a hint, advice or both.
type Error struct {
	Code   Code
	Op     string   // what was being done, lower case: "promote build"
	Err    error    // the cause
	Hint   string   // what to do now, in sentences that name no command; may be empty
	Advice []Advice // what to do now: each is a way, and one suffices; may be empty
}

// Error renders the operation and the cause. The remedy is left to the front ends.
func (e *Error) Error() string {
	switch {
	case e.Err == nil:
		return e.Op
	case e.Op == "":
		return e.Err.Error()
	default:
		return e.Op + ": " + e.Err.Error()
	}
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error with the given code, operation and formatted cause.
func Errorf(code Code, op, format string, args ...any) *Error {
	return &Error{Code: code, Op: op, Err: fmt.Errorf(format, args...)}
}

// WithHint sets the hint and returns e.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// WithAdvice sets the advice and returns e.
func (e *Error) WithAdvice(ways ...Advice) *Error {
	e.Advice = ways
	return e
}

// During returns err as an error of another operation: the one that a person asked for, if
// err names a part of it. It returns nil for nil.
func During(op string, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	of := *e
	of.Op = op
	return &of
}

// CodeOf returns the code of the outermost Error in err's chain, or CodeInternal.
// It is empty for a nil error.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// RemedyOf returns the hint and the advice of the innermost error in err's chain that has
// either. Package present/reason puts them into words.
func RemedyOf(err error) (hint string, advice []Advice) {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			break
		}
		if e.Hint != "" || len(e.Advice) > 0 {
			hint, advice = e.Hint, e.Advice
		}
		err = e.Err
	}
	return hint, advice
}

// IsNotFound reports whether err says that the named thing does not exist.
func IsNotFound(err error) bool { return CodeOf(err) == CodeNotFound }
