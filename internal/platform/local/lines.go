// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"bytes"
	"io"
	"strings"
	"sync"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

const (
	// maxLine is where a line of output is cut. Longer ones are data, not text.
	maxLine = 16 << 10

	// The last lines are kept for errors, and each is cut.
	tailLines = 20
	tailWidth = 500
)

// masker masks secrets in lines of output.
type masker struct{ *pipeline.Redactor }

func newMasker(secrets []string) masker {
	var all []pipeline.Secret
	for _, s := range secrets {
		all = append(all, pipeline.Secret(s))
	}
	return masker{pipeline.NewRedactor(all...)}
}

// line masks a line and makes it printable. It masks again afterwards, as a secret
// may come out only then.
func (m masker) line(b []byte) string {
	return m.Text(present.Text(m.Text(string(b))))
}

// lines hands the output of a command to a writer: whole lines, printable, cut and
// without secrets. It keeps the last ones. It takes everything, even when the
// writer fails, as a full disk must not block a service.
type lines struct {
	mu     sync.Mutex
	to     io.Writer // may be nil
	hide   masker
	part   []byte // of a line that is not complete yet
	cut    bool   // bytes of it were dropped
	recent []string
}

func newLines(to io.Writer, hide masker) *lines { return &lines{to: to, hide: hide} }

// Write takes output in chunks of any size. It never fails.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for rest := p; len(rest) > 0; {
		i := bytes.IndexAny(rest, "\r\n")
		piece := rest
		if i >= 0 {
			piece = rest[:i]
		}
		room := maxLine + l.hide.Longest() - len(l.part)
		l.cut = l.cut || len(piece) > room
		l.part = append(l.part, piece[:min(room, len(piece))]...)
		if i < 0 {
			break
		}
		l.end()
		rest = rest[i+1:]
	}
	return len(p), nil
}

// end ends the line; an empty one is left out.
func (l *lines) end() {
	if len(l.part) == 0 {
		return
	}
	s := l.hide.line(l.part)
	if l.cut { // what may be the beginning of a secret is at the end
		s = strings.ToValidUTF8(s[:max(0, len(s)-l.hide.Longest())], "") + " …"
	}
	l.part, l.cut = l.part[:0], false
	if l.to != nil {
		_, _ = io.WriteString(l.to, s+"\n")
	}
	if len(s) > tailWidth {
		s = strings.ToValidUTF8(s[:tailWidth], "") + " …"
	}
	l.recent = append(l.recent, s)
	if len(l.recent) > tailLines {
		l.recent = append(l.recent[:0], l.recent[1:]...)
	}
}

// tail gives the last lines, a line that has no end yet among them.
func (l *lines) tail() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
	return append([]string(nil), l.recent...)
}

// saying gives text with the last lines of a log below it.
func saying(text string, tail []string) string {
	if len(tail) == 0 {
		return text + "; it printed nothing"
	}
	return text + "; its last lines:\n  " + strings.Join(tail, "\n  ")
}
