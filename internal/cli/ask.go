// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// canAsk refuses a command that has to ask and can't.
func (f *factory) canAsk(op string, yes bool) error {
	terminal := f.terminal
	if terminal == nil {
		terminal = func() bool { return isTerminal(f.In) }
	}
	if yes || terminal() {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeInvalid, op, "there is no terminal for the question").WithHint("Pass --yes to go ahead.")
}

// ask asks whether to go ahead, unless that was said already. A no is CodeCancelled. Where
// nobody can be asked it says what it would have done, and refuses.
func (f *factory) ask(ctx context.Context, op string, yes bool, question string) error {
	if yes {
		return nil
	}
	if err := f.canAsk(op, yes); err != nil {
		fmt.Fprintf(f.Err, "%s: not done, because there is no terminal for the question.\n", question)
		return err
	}
	answer, err := f.answer(ctx, question+"? [y/N] ")
	if err != nil {
		return err
	}
	if answer = strings.ToLower(answer); answer == "y" || answer == "yes" {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeCancelled, op, "nothing was changed, because you did not say yes")
}

// answer asks a question and returns the line that answers it; what ends without one is empty.
func (f *factory) answer(ctx context.Context, question string) (string, error) {
	fmt.Fprint(f.Err, question)
	answers := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(f.In).ReadString('\n')
		answers <- strings.TrimSpace(line)
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(f.Err) // behind the question
		return "", ctx.Err()
	case answer := <-answers:
		return answer, nil
	}
}
