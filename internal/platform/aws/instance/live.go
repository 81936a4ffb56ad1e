// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package instance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/aws/stack"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

// live is the output of a command while it runs. SSM returns none before the end, so
// the instance puts the output so far into the bucket now and then, and it is read
// from there.
type live struct {
	*Instances
	key  string
	log  io.Writer
	mask *pipeline.Redactor
	read int64 // bytes of the output that are in the log, whole lines
}

// livePause is how often an instance uploads what a command printed.
const livePause = 5 * time.Second

// watchOutput returns the lines that upload a script's output while it runs, and the
// reader of that output.
func (i *Instances) watchOutput(ctx context.Context, c Command) (string, *live, error) {
	l := &live{Instances: i, key: newKey(c.Stage), log: c.Log, mask: c.redactor()}
	send, err := i.upload(ctx, l.key, max(c.Timeout, urlLife))
	if err != nil {
		return "", nil, cloud.Fault(ctx, c.What, err)
	}
	pause := max(i.stack.Pause*2, 10*time.Millisecond)
	if i.stack.Pause >= stack.DefaultPause {
		pause = livePause
	}
	return fmt.Sprintf(`( sent=0
while kill -0 $$ 2>/dev/null; do
  sleep %.2f
  size=$(wc -c < "$here/output" 2>/dev/null) || exit 0
  if [ "$size" -gt "$sent" ] && curl -fs -o /dev/null -T "$here/output" %s; then sent=$size; fi
done ) >/dev/null 2>&1 &
telling=$!
`, pause.Seconds(), send), l, nil
}

// next writes to the log what has come. It is for people who wait: what can't be read
// now is read at the end.
func (l *live) next(ctx context.Context) {
	if l == nil {
		return
	}
	out, err := l.s3.GetObject(ctx, &s3.GetObjectInput{
		Bucket: aws.String(l.stack.Settings.Bucket), Key: aws.String(l.key), Range: aws.String(fmt.Sprintf("bytes=%d-", l.read)),
	})
	if err != nil { // nothing yet, or nothing new
		return
	}
	defer out.Body.Close()
	data, err := io.ReadAll(io.LimitReader(out.Body, maxLive))
	if end := bytes.LastIndexByte(data, '\n'); err == nil && end >= 0 {
		l.write(string(data[:end+1]))
		l.read += int64(end + 1)
	}
}

// maxLive is how much output is read at once.
const maxLive = 1 << 20

// rest writes what of the whole output is not in the log yet.
func (l *live) rest(output string) {
	if l.read < int64(len(output)) {
		l.write(output[l.read:])
	}
}

func (l *live) write(text string) {
	if text = runlog.Text(l.mask, text); text != "" {
		_, _ = io.WriteString(l.log, strings.TrimRight(text, "\n")+"\n") // a log that can't be written to has said so itself
	}
}
