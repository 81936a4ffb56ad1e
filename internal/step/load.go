// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
)

// maxWorkers bounds the requests, and so the connections, that are under way at
// once. It is below the usual limit of 1,024 descriptors; a service that needs
// more of them for its rate takes seconds to answer, and misses its thresholds.
const maxWorkers = 900

// maxRate is beyond what one machine can send.
const maxRate = 100_000

// attack makes a load once. It returns what was measured until it ended.
type attack func(ctx context.Context, try int, log *runlog.Log) (*tally, error)

// prepareLoad prepares a load profile. The step's time-out bounds the whole
// profile; each request is bounded by itself.
func (r *Runner) prepareLoad(req pipeline.StepRequest) (attempt, error) {
	l, u, err := checkLoad(req)
	if err != nil {
		return nil, err
	}
	bound := limit(req.Step, l.Ramp+l.Duration+3*requestTimeout)
	attack := attackFromHere(share{Load: l, URL: u.String(), Host: hostOf(req, l.URL), Hits: hits(l)}, bound)
	if req.Runner != pipeline.RunnerLocal {
		attack = r.attackRemote(req, share{Load: l, URL: u.String(), Host: hostOf(req, l.URL)}, bound)
	}
	return func(ctx context.Context, try int, log *runlog.Log) outcome {
		tally, err := attack(ctx, try, log)
		var out outcome
		if tally != nil {
			out.load = tally.report()
			out.load.Limits = limitsOf(l)
			log.Note("%s", describe(out.load))
			if want := int64(hits(l)); out.load.Requests < want && err == nil {
				log.Note("only %d of %d requests could be sent in time: answers took too long, or this machine was too busy", out.load.Requests, want)
			}
		}
		switch {
		case errors.Is(err, errTimedOut):
			out.err = failed("timed out after %v", bound).WithHint("Raise timeout, or leave it out.")
		case err != nil:
			out.err, out.tail = err, tail(log)
		default:
			out.err = missed(l, out.load)
		}
		return out
	}, nil
}

// checkLoad returns the profile and its URL, or what is wrong with it.
func checkLoad(req pipeline.StepRequest) (pipeline.Load, *url.URL, error) {
	l := *req.Step.Load
	l.Method = method(l.Method)
	u, err := target(l.Method, req.Endpoint, l.URL, l.Path)
	if err != nil {
		return l, nil, err
	}
	switch timeout := req.Step.Timeout; {
	case !(l.Rate > 0 && l.Rate <= maxRate):
		return l, nil, invalid("rate %v is not a number of requests per second", l.Rate).WithHint("Set rate above 0, and at most %d.", maxRate)
	case l.Duration <= 0:
		return l, nil, invalid("duration %v is not positive", l.Duration).WithHint("Set duration to 30s, for example.")
	case l.Ramp < 0:
		return l, nil, invalid("ramp %v is negative", l.Ramp).WithHint("Set ramp to 1m, for example, or leave it out.")
	case timeout > 0 && timeout < l.Ramp+l.Duration:
		return l, nil, invalid("timeout %v is shorter than the load, which takes %v", timeout, l.Ramp+l.Duration).WithHint("Raise timeout, or leave it out.")
	}
	return l, u, nil
}

// attackFromHere makes the load on this machine.
func attackFromHere(all share, bound time.Duration) attack {
	return func(ctx context.Context, _ int, log *runlog.Log) (*tally, error) {
		bounded, cancel := context.WithTimeoutCause(ctx, bound, errTimedOut)
		defer cancel()
		tally, err := send(bounded, all, log.Note)
		if err != nil {
			return nil, err
		}
		return tally, context.Cause(bounded)
	}
}

// send sends the requests of a share and measures the answers, until all are in or ctx ends.
func send(ctx context.Context, s share, say func(string, ...any)) (*tally, error) {
	l := s.Load
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, err
	}
	header := http.Header{}
	for name, value := range l.Headers {
		header.Set(name, value)
	}
	tally := newTally(l.Duration)
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
		MaxIdleConns: maxWorkers, MaxIdleConnsPerHost: maxWorkers, MaxConnsPerHost: maxWorkers,
	}
	way := endpointOf(u, s.Host, transport)
	defer way.CloseIdleConnections()
	attacker := func() *vegeta.Attacker { // each attacks once
		return vegeta.NewAttacker(
			vegeta.Client(&http.Client{Transport: bounded{ctx, way}}),
			vegeta.MaxWorkers(maxWorkers), vegeta.MaxBody(0),
		)
	}
	targeter := vegeta.NewStaticTargeter(vegeta.Target{Method: l.Method, URL: u.String(), Body: []byte(l.Body), Header: header})
	tally.Counts.Ramp = ramp(ctx, attacker(), targeter, l, say)
	tally.Start = time.Now()
	results := attacker().Attack(targeter, pacer{ctx: ctx, rate: l.Rate, hits: s.Hits}, l.Duration, "")

	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case result, more := <-results:
			if !more {
				return tally, nil
			}
			tally.add(result)
		case <-second.C:
			say("%s", tally.progress())
		}
	}
}

// hits returns the number of requests of a profile: at least one.
func hits(l pipeline.Load) uint64 {
	return max(1, uint64(math.Round(l.Rate*l.Duration.Seconds())))
}

// pacer sends request n at n/rate seconds, so that any rate works, also one of a
// few per minute. It waits itself, as the attacker would not notice ctx meanwhile.
type pacer struct {
	ctx  context.Context
	rate float64 // requests per second
	hits uint64
}

var _ vegeta.Pacer = pacer{}

// Pace waits until the next request is due, or says that there is none.
func (p pacer) Pace(elapsed time.Duration, sent uint64) (time.Duration, bool) {
	if sent >= p.hits || p.ctx.Err() != nil {
		return 0, true
	}
	due := time.Duration(float64(sent) / p.rate * float64(time.Second))
	if due <= elapsed {
		return 0, false
	}
	return 0, pause(p.ctx, due-elapsed) != nil
}

// Rate returns the rate, which is constant.
func (p pacer) Rate(time.Duration) float64 { return p.rate }

// bounded makes requests that end with ctx, and after requestTimeout.
type bounded struct {
	ctx  context.Context
	base http.RoundTripper
}

// RoundTrip sends one request.
func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeoutCause(b.ctx, requestTimeout, errTimedOut)
	resp, err := b.base.RoundTrip(req.WithContext(ctx))
	if err != nil {
		if context.Cause(ctx) == errTimedOut && b.ctx.Err() == nil {
			err = fmt.Errorf("no answer within %v", requestTimeout)
		}
		cancel()
		return nil, err
	}
	resp.Body = releasing{resp.Body, cancel}
	return resp, nil
}

// releasing is a body that frees its request's context when it is closed.
type releasing struct {
	io.ReadCloser
	release context.CancelFunc
}

// Close closes the body.
func (r releasing) Close() error {
	defer r.release()
	return r.ReadCloser.Close()
}
