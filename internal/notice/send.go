// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package notice

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// The headers of a webhook's request. The signature is "sha256=" and the hexadecimal
// HMAC of the timestamp, a dot and the body.
const (
	headerID        = "X-Penstock-Notice"
	headerTimestamp = "X-Penstock-Timestamp"
	headerSignature = "X-Penstock-Signature"
)

func (s *Sender) webhook(ctx context.Context, t pipeline.NotifyTarget, n pipeline.Notice) error {
	body, err := json.Marshal(n)
	if err != nil {
		return err
	}
	header := http.Header{headerID: {n.ID}}
	if t.Secret != "" {
		secret, err := s.expand(t.Secret)
		if err != nil {
			return err
		}
		stamp := strconv.FormatInt(s.Now().Unix(), 10)
		header.Set(headerTimestamp, stamp)
		header.Set(headerSignature, Sign(secret, stamp, body))
	}
	return s.post(ctx, t.Webhook, header, body)
}

// Sign returns the signature of a request, for who checks it.
func Sign(secret, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%s.%s", timestamp, body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// marks stand before a notice in a chat.
var marks = map[pipeline.NoticeKind]string{
	pipeline.NoticeWaiting: ":hourglass:", pipeline.NoticeReady: ":arrow_forward:", pipeline.NoticePassed: ":white_check_mark:",
	pipeline.NoticeFailed: ":x:", pipeline.NoticeRejected: ":no_entry:", pipeline.NoticeOverridden: ":warning:", pipeline.NoticeCancelled: ":leftwards_arrow_with_hook:",
	pipeline.NoticeDeployed: ":rocket:", pipeline.NoticeRolledBack: ":rewind:", pipeline.NoticeExpiring: ":alarm_clock:",
	pipeline.NoticeExpired: ":alarm_clock:", pipeline.NoticeDrift: ":warning:", pipeline.NoticeBaked: ":package:",
}

func (s *Sender) slack(ctx context.Context, t pipeline.NotifyTarget, n pipeline.Notice) error {
	// What a person wrote must not become a link or call everybody.
	text := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(fmt.Sprintf("%s: %s", n.Pipeline, n.Text))
	if n.Message != "" {
		text += "\n" + strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(fmt.Sprintf("%s (%s)", n.Message, n.Author))
	}
	if n.Endpoint != "" {
		text += "\n" + n.Endpoint
	}
	body, err := json.Marshal(map[string]string{"text": strings.TrimSpace(marks[n.Kind] + " " + text)})
	if err != nil {
		return err
	}
	return s.post(ctx, t.Slack, http.Header{headerID: {n.ID}}, body)
}

// post sends JSON, and takes any 2xx for an answer.
func (s *Sender) post(ctx context.Context, to string, header http.Header, body []byte) error {
	to, err := s.expand(to)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return errors.New("the URL is not valid") // which may be a secret
	}
	req.Header = header
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "penstock")
	resp, err := s.client.Do(req)
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err // without the URL
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	answer := fmt.Errorf("the receiver answered %s", resp.Status)
	if text := strings.TrimSpace(present.Text(string(said))); text != "" && resp.StatusCode >= 300 {
		answer = fmt.Errorf("%w: %s", answer, pipeline.FirstLine(text))
	}
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		return &laterError{answer, retryAfter(resp.Header.Get("Retry-After"), s.Now())}
	default:
		return &refusedError{answer}
	}
}

// retryAfter reads when to come again: seconds, or a date. Zero for neither.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(text); err == nil {
		return max(time.Duration(seconds)*time.Second, 0)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// command runs a shell line with the notice on its standard input and in its
// variables. A status other than 0 is a failure.
func (s *Sender) command(ctx context.Context, t pipeline.NotifyTarget, n pipeline.Notice) error {
	body, err := json.Marshal(n)
	if err != nil {
		return err
	}
	in, err := os.CreateTemp("", "penstock-notice-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(in.Name()) }()
	_, err = in.Write(append(body, '\n'))
	if err := errors.Join(err, in.Close()); err != nil {
		return err
	}
	var out bytes.Buffer
	p, err := process.Start(ctx, process.Spec{
		Args: process.Shell("{\n" + t.Command + "\n} <\"$PENSTOCK_NOTICE_FILE\""), Stdout: &out, Stderr: &out, Grace: time.Second,
		Env: process.Environ(map[string]string{
			"PENSTOCK_NOTICE_FILE": in.Name(), "PENSTOCK_NOTICE_ID": n.ID, "PENSTOCK_NOTICE_KIND": string(n.Kind), "PENSTOCK_NOTICE_PIPELINE": n.Pipeline,
			"PENSTOCK_NOTICE_STAGE": n.Stage, "PENSTOCK_NOTICE_BUILD": n.Build, "PENSTOCK_NOTICE_TEXT": n.Text,
		}),
	})
	if err != nil {
		return err
	}
	exit, err := p.Wait()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("the command took longer than %s", s.Timeout)
	case err != nil:
		return err
	case exit.Code != 0:
		return fmt.Errorf("the command ended with status %d: %s", exit.Code, pipeline.FirstLine(present.Text(out.String())))
	}
	return nil
}
