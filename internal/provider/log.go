// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/terraform-plugin-log/tflog"
)

// newLogger returns a logger whose lines go to Terraform's log.
func newLogger(ctx context.Context) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "penstock", Level: hclog.Trace, Output: discard{}})
	l.RegisterSink(sink{context.WithoutCancel(ctx)})
	return l
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// sink passes lines on to tflog.
type sink struct{ ctx context.Context }

func (s sink) Accept(name string, level hclog.Level, msg string, args ...any) {
	fields := map[string]any{"logger": name}
	for i := 0; i+1 < len(args); i += 2 {
		if key, ok := args[i].(string); ok {
			fields[key] = args[i+1]
		}
	}
	switch level {
	case hclog.Trace:
		tflog.Trace(s.ctx, msg, fields)
	case hclog.Debug:
		tflog.Debug(s.ctx, msg, fields)
	case hclog.Warn:
		tflog.Warn(s.ctx, msg, fields)
	case hclog.Error:
		tflog.Error(s.ctx, msg, fields)
	default:
		tflog.Info(s.ctx, msg, fields)
	}
}
