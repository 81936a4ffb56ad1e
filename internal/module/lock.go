// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
)

// lockFile opens a file, made if need be, and waits for its lock. Closing it gives it up.
func lockFile(ctx context.Context, name, what string) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, pipeline.Errorf(pipeline.CodeFailed, "lock "+what, "%w", err)
	}
	busy := fmt.Errorf("another process has locked %s", name)
	err = poll.Until(ctx, poll.Schedule{First: 5 * time.Millisecond, Max: 200 * time.Millisecond, Factor: 1.5, What: what},
		func(context.Context) (poll.Probe, error) {
			mine, err := tryLock(file)
			if err == nil && !mine {
				return poll.Probe{}, poll.Retryable(busy)
			}
			return poll.Probe{Done: mine}, err
		})
	if err == nil {
		return file, nil
	}
	_ = file.Close()
	switch {
	case errors.Is(err, context.Canceled):
		return nil, pipeline.Errorf(pipeline.CodeCancelled, "lock "+what, "%w", err)
	case errors.Is(err, busy):
		return nil, pipeline.Errorf(pipeline.CodeLocked, "lock "+what, "%w", err).WithHint("Wait until it ends, and try again. `fuser %s` shows which process it is.", name)
	}
	return nil, pipeline.Errorf(pipeline.CodeFailed, "lock "+what, "%w", err)
}
