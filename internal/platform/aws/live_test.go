// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// The output of a step is in the log while it runs, once, whole, and without secrets.
func TestLiveOutput(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.must(b.deploy(b.persistent("f-1", b.app())))
	step := pipeline.Command{
		Name: "long", Line: `i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo "line $i of the output"; done
echo "the secrets are $ONE and $TWO"; printf unfinished; until [ -e go ]; do sleep 0.05; done; echo " and finished"; exit 3`,
		Secrets: pipeline.Secrets{"ONE": "hush", "TWO": "first\nsecond"},
	}
	done := make(chan error, 1)
	go func() {
		exit, err := b.Exec(t.Context(), "e-1", "f-1", step, b.log)
		if err == nil && exit != 3 {
			err = fmt.Errorf("exit status %d", exit)
		}
		done <- err
	}()
	b.eventually("the output is in the log while the step runs", func() bool { return strings.Contains(b.log.String(), "the secrets are") })
	if log := b.log.String(); strings.Contains(log, "finished") {
		t.Errorf("a line is in the log before its end:\n%s", log[len(log)-200:])
	}
	select {
	case err := <-done:
		t.Fatalf("the step has ended: %v", err)
	default:
	}
	exit, err := b.Exec(t.Context(), "e-1", "f-1", pipeline.Command{Line: "touch go", Timeout: time.Minute}, b.log)
	if err != nil || exit != 0 {
		t.Fatal(exit, err)
	}
	b.must(<-done)
	log := b.log.String()
	for n := 1; n <= 3000; n++ {
		if got := strings.Count(log, fmt.Sprintf("line %d of the output\n", n)); got != 1 {
			t.Fatalf("line %d is in the log %d times", n, got)
		}
	}
	if !strings.Contains(log, "unfinished and finished\n") || strings.Contains(log, "hush") || strings.Contains(log, "second\n") {
		t.Errorf("the log ends with:\n%s", log[len(log)-200:])
	}
	exit, err = b.Exec(t.Context(), "e-1", "f-1", pipeline.Command{Line: "echo every instance", Everywhere: true}, b.log)
	if got := strings.Count(b.log.String(), "every instance\n"); err != nil || exit != 0 || got != 2 {
		t.Errorf("on every instance: %d lines, %d, %v", got, exit, err)
	}
	b.must(b.Destroy(t.Context(), "e-1"))
	b.wantNothing()
}
