// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/mattn/go-isatty"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// asking keeps questions apart: a terminal takes one answer at a time.
var asking sync.Mutex

// askCode asks for the code of the device that a profile with mfa_serial names.
func askCode() (string, error) {
	asking.Lock()
	defer asking.Unlock()
	return codeFrom(os.Stdin, os.Stderr, isatty.IsTerminal(os.Stdin.Fd()))
}

// codeFrom asks where somebody can answer. A plugin of Terraform's has no terminal.
func codeFrom(in io.Reader, out io.Writer, terminal bool) (string, error) {
	const op = "configure AWS"
	if !terminal {
		return "", pipeline.Errorf(pipeline.CodeNotAllowed, op, "the profile needs the code of an MFA device, and there is no terminal to ask at").
			WithHint("Begin a session first, and pass its credentials in the environment: AWS's command line exports those of a profile.")
	}
	fmt.Fprint(out, "MFA code: ")
	line, err := bufio.NewReader(in).ReadString('\n')
	code := strings.TrimSpace(line)
	if code == "" {
		return "", pipeline.Errorf(pipeline.CodeNotAllowed, op, "no MFA code was given: %v", err).WithHint("Run the command again, and type the code that the device shows.")
	}
	return code, nil
}
