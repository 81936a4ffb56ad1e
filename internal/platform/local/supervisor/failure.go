// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package supervisor

// Why a service did not start, in words that say what to change.

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

const opStart = "start service"

// exitedAtOnce explains a service that ended before it was healthy.
func exitedAtOnce(instance string, end *stopped, tail []string) *pipeline.Error {
	err := pipeline.Errorf(pipeline.CodeFailed, opStart, "%s",
		runlog.Saying(fmt.Sprintf("instance %s exited with %v before it was healthy", instance, end), tail))
	switch {
	case end.exit.Code == 127:
		return err.WithHint("The shell found no such command. Check service.start, and that the image or service.install brings the program.")
	case end.exit.Code == 0:
		return err.WithHint("service.start must stay in the foreground; a daemon that it leaves behind is ended with it.")
	}
	return err.WithHint("Check service.start and what the service printed.")
}

// misplaced says that a service listens, but not where it should.
type misplaced struct{ ports []int }

func (m *misplaced) Error() string {
	words := make([]string, len(m.ports))
	for i, p := range m.ports {
		words[i] = fmt.Sprint(p)
	}
	return "it listens on port " + strings.Join(words, ", ") + " instead"
}

// elsewhere finds out whether a service on whose port nobody listens does so on
// another one.
func elsewhere(err error, pid int) error {
	if errors.Is(err, errRefused) {
		if ports := listening(pid); len(ports) > 0 {
			slices.Sort(ports)
			return fmt.Errorf("%w: %w", err, &misplaced{slices.Compact(ports)})
		}
	}
	return err
}

// neverHealthy explains a service that runs and does not become healthy.
func neverHealthy(instance string, port int, c *checker, last error, tail []string) *pipeline.Error {
	var wrong *misplaced
	switch {
	case errors.As(last, &wrong):
		return pipeline.Errorf(pipeline.CodeFailed, opStart, "%s",
			runlog.Saying(fmt.Sprintf("instance %s did not listen on $PORT (%d) within %v; %v", instance, port, c.start, wrong), tail)).
			WithHint("Make service.start listen on $PORT, which differs for each instance.")
	case errors.Is(last, errRefused):
		return pipeline.Errorf(pipeline.CodeFailed, opStart, "%s",
			runlog.Saying(fmt.Sprintf("instance %s did not listen on $PORT (%d) within %v", instance, port, c.start), tail)).
			WithHint("Make service.start listen on $HOST and $PORT, or raise service.health_check.start_timeout if it needs longer.")
	}
	return pipeline.Errorf(pipeline.CodeFailed, opStart, "%s",
		runlog.Saying(fmt.Sprintf("instance %s was not healthy within %v: %v", instance, c.start, last), tail)).
		WithHint("Check service.health_check, or raise its start_timeout if the service needs longer.")
}
