// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/regular"
)

// bootAllowance is what a machine may need from running to its service's start,
// beside the service's own start_timeout.
const bootAllowance = 3 * time.Minute

// install puts the artifact on an instance, and leaves the unit that starts the
// service.
func (p *Platform) install(ctx context.Context, id string, r pipeline.FleetRequest) error {
	const what = "service.install"
	file, err := regular.Open(r.Artifact)
	if err != nil {
		return pipeline.Errorf(pipeline.CodeFailed, what, "%w", err)
	}
	defer file.Close()
	s, err := p.sendFile(ctx, file)
	if err != nil {
		return err
	}
	defer p.remove(ctx, s)
	logf(r.Log, "%s on instance %s", what, id)
	script := installScript(fetch("PENSTOCK_ARTIFACT", s.url, s.digest, filepath.Base(r.Artifact)), cmp.Or(r.Service.Install, ":"), r.Service.Start)
	return p.must(ctx, id, command{what: what, script: script, timeout: time.Hour, log: r.Log, live: true})
}

// awaitHealthy waits until an instance's service is healthy, as seen from here.
func (p *Platform) awaitHealthy(ctx context.Context, id, endpoint string, check *pipeline.HealthCheck) error {
	start, timeout := pipeline.DefaultStartTimeout, pipeline.DefaultHealthTimeout
	if check != nil {
		start, timeout = cmp.Or(check.StartTimeout, start), cmp.Or(check.Timeout, timeout)
	}
	looks := 0
	err := p.wait(ctx, "the service on instance "+id, start+p.boot(), func(ctx context.Context) (poll.Probe, error) {
		state := healthOf(ctx, endpoint, check, timeout)
		if looks++; state != "" && looks%4 == 0 {
			if i, ok, err := p.instances.Get(ctx, id); err != nil || ok && ended(i) != nil {
				return poll.Probe{}, errors.Join(err, ended(i))
			}
		}
		return poll.Probe{Done: state == "", State: state}, nil
	})
	if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		return cloud.Fault(ctx, opPrepare, err)
	}
	_, tail, failed := p.execute(ctx, id, command{what: "reading the service's log", script: preamble + "journalctl -u penstock --no-pager -n 20\n", timeout: time.Minute})
	if failed != nil {
		tail = failed.Error()
	}
	return pipeline.Errorf(pipeline.CodeFailed, opPrepare, "%w%s", err, lastLines(tail)).
		WithHint("Let the service listen on $HOST:$PORT, correct health_check or raise its start_timeout, and let the place that Terraform runs at reach %s.", endpoint)
}

// boot is the allowance for a boot. It shrinks with the pauses of tests.
func (p *Platform) boot() time.Duration { return bootAllowance * p.Pause / DefaultPause }

// healthOf gives what is wrong with a service; empty when it is healthy.
func healthOf(ctx context.Context, endpoint string, check *pipeline.HealthCheck, timeout time.Duration) string {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if check == nil {
		u, err := url.Parse(endpoint)
		if err != nil {
			return err.Error()
		}
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
		if err != nil {
			return err.Error()
		}
		_ = c.Close()
		return ""
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+check.Path, nil)
	if err != nil {
		return err.Error()
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	_ = resp.Body.Close()
	if ok := resp.StatusCode == check.Status || check.Status == 0 && resp.StatusCode/100 == 2; !ok {
		return fmt.Sprintf("GET %s answers %d", check.Path, resp.StatusCode)
	}
	return ""
}

// maxPut is how many bytes S3 takes in one request.
const maxPut = 5 << 30

// copyData copies the data directory of an environment's first instance that serves, as
// a crash would have left it.
func (p *Platform) copyData(ctx context.Context, environment, to string, log io.Writer) error {
	what := "copying the data of environment " + environment
	list, err := p.ofEnvironment(ctx, environment, filter("tag:"+tagServing, "true"))
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return pipeline.Errorf(pipeline.CodeNotFound, opPrepare, "environment %s, whose data is to be copied, has no instance that serves", environment).
			WithHint("Restore it with an apply first, or set environment.data_from to another stage.")
	}
	s, err := p.put(ctx, bytes.NewReader(nil), "")
	if err != nil {
		return err
	}
	defer p.remove(ctx, s)
	up, err := p.presign.PresignPutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(p.Settings.Bucket), Key: aws.String(s.key)}, s3.WithPresignExpires(urlLife))
	if err != nil {
		return cloud.Fault(ctx, what, err)
	}
	logf(log, "%s to instance %s", what, to)
	var headers strings.Builder
	for name, values := range up.SignedHeader {
		if name != "Host" {
			fmt.Fprintf(&headers, " -H %s", quote(name+": "+strings.Join(values, ",")))
		}
	}
	// A file that changes while it is read, which tar says with 1, is as a crash would
	// have left it. /tmp may be in memory.
	pack := preamble + fmt.Sprintf(`mkdir -p "$root%[1]s" "$root/var/tmp"
f=$(mktemp -p "$root/var/tmp")
trap 'rm -f "$f"' EXIT
tar -czf "$f" -C "$root%[1]s" . || [ $? -eq 1 ]
if [ "$(wc -c < "$f")" -gt %[4]d ]; then
  echo "The data is more than 5 GB when it is packed, which is too much to copy in this way."
  exit 1
fi
curl -fsS --retry 5 -T "$f"%[2]s %[3]s
`, dataDir, headers.String(), quote(up.URL), maxPut)
	if err := p.must(ctx, aws.ToString(list[0].InstanceId), command{what: what, script: pack, timeout: time.Hour, log: log}); err != nil {
		return err
	}
	unpack := preamble + fmt.Sprintf("mkdir -p \"$root%[1]s\"\ncurl -fsS --retry 5 %[2]s | tar -xzf - -C \"$root%[1]s\"\n", dataDir, quote(s.url))
	return p.must(ctx, to, command{what: what, script: unpack, timeout: time.Hour, log: log})
}
