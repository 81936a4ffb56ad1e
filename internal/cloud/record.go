// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// RecordVariable names a file to which each process adds a line for every operation that
// it asks AWS for: a Record, in JSON.
const RecordVariable = "PENSTOCK_AWS_LOG"

// Record is an operation of AWS that was asked for, and the shape of its answer. It holds
// no value of a request or an answer, so it holds no secret.
type Record struct {
	Start     time.Time `json:"start"`
	PID       int       `json:"pid"` // of the process that asked
	Service   string    `json:"service"`
	Operation string    `json:"operation"`
	Region    string    `json:"region"`
	Seconds   float64   `json:"seconds"`           // with all attempts, and the waits between them
	Attempts  int       `json:"attempts"`          // 0: nothing was sent
	Error     string    `json:"error,omitempty"`   // AWS's code, or "unanswered"
	Members   []string  `json:"members,omitempty"` // paths of the members that the answer has, as Members returns them
}

// unanswered is the error of an operation that AWS gave no code for.
const unanswered = "unanswered"

// recordTo returns what makes clients record their operations in the file that
// RecordVariable names; nil where it names none. The file stays open with the process.
func recordTo(path string) (func(*middleware.Stack) error, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, pipeline.Errorf(pipeline.CodeInvalid, "configure AWS", "open the log of requests: %w", err).
			WithHint("Set %s to a file that can be written, or unset it.", RecordVariable)
	}
	return func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("PenstockRecord",
			func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
				start := time.Now()
				out, metadata, err := next.HandleInitialize(ctx, in)
				if r, asked := recordOf(ctx, start, out.Result, metadata, err); asked {
					write(f, r)
				}
				return out, metadata, err
			}), middleware.After)
	}, nil
}

// recordOf returns the record of an operation that has ended. An address that was signed
// for somebody else to use is no operation.
func recordOf(ctx context.Context, start time.Time, result any, metadata middleware.Metadata, err error) (Record, bool) {
	r := Record{
		Start: start.UTC(), PID: os.Getpid(), Service: awsmiddleware.GetServiceID(ctx), Operation: awsmiddleware.GetOperationName(ctx),
		Region: awsmiddleware.GetRegion(ctx), Seconds: time.Since(start).Seconds(),
	}
	if attempts, ok := retry.GetAttemptResults(metadata); ok {
		r.Attempts = len(attempts.Results)
	}
	var coded smithy.APIError
	switch {
	case errors.As(err, &coded):
		r.Error = coded.ErrorCode()
	case err != nil:
		r.Error = unanswered
	default:
		t := reflect.TypeOf(result)
		if t == nil || t.Kind() != reflect.Pointer || !strings.HasSuffix(t.Elem().Name(), "Output") {
			return Record{}, false
		}
		r.Members = Members(result)
	}
	return r, true
}

// write adds a record in one piece, as other processes write to the file, too. A pipeline
// does not stop because its log can't be written.
func write(w io.Writer, r Record) {
	line, err := json.Marshal(r)
	if err != nil {
		return
	}
	_, _ = w.Write(append(line, '\n'))
}

// Members returns the paths of the members that an answer has, sorted: "Images[].ImageId",
// or "Tags{}" for a map. What differs between elements of a list is joined. Documents, and
// values whose type the sender chooses, count as a whole.
func Members(answer any) []string {
	found := map[string]bool{}
	collectMembers(reflect.ValueOf(answer), "", found)
	paths := make([]string, 0, len(found))
	for path := range found {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

func collectMembers(v reflect.Value, path string, found map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			collectMembers(v.Elem(), path, found)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			found[path] = true
			return
		}
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if !field.IsExported() || v.Field(i).IsZero() || field.Type == reflect.TypeFor[middleware.Metadata]() {
				continue
			}
			collectMembers(v.Field(i), strings.TrimPrefix(path+"."+field.Name, "."), found)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			found[path] = true
			return
		}
		for i := range v.Len() {
			collectMembers(v.Index(i), path+"[]", found)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			collectMembers(v.MapIndex(key), path+"{}", found)
		}
	default:
		found[path] = true
	}
}

// recorded adds the recording of operations to a configuration, where it is asked for.
func recorded(cfg *aws.Config) error {
	record, err := recordTo(os.Getenv(RecordVariable))
	if record != nil {
		cfg.APIOptions = append(cfg.APIOptions, record)
	}
	return err
}
