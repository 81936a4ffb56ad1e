// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package runlog

import (
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		secrets []string
		chunks  []string
		want    string
	}{
		"whole lines":          {nil, []string{"a", "b\nc", "\n"}, "ab\nc\n"},
		"an end without LF":    {nil, []string{"a\nb"}, "a\nb\n"},
		"CR and CRLF":          {nil, []string{"10%\r20%\r\ndone\r\n"}, "10%\n20%\ndone\n"},
		"controls and rubbish": {nil, []string{"\x1b[31mred\x00\xff\n"}, `red\x00\xff` + "\n"},
		"a secret in chunks":   {[]string{"hush-1"}, []string{"x hu", "sh-1 y\n"}, "x *** y\n"},
		"a coloured secret":    {[]string{"hush-1"}, []string{"hush\x1b[0m-1\n"}, "***\n"},
		"a secret of lines":    {[]string{"{\nhush-1\nhush-2\n}"}, []string{"{\nhush-2\n"}, "{\n***\n"},
		"an empty secret":      {[]string{"", " "}, []string{"a b\n"}, "a b\n"},
		"one in another":       {[]string{"hush", "hush-1"}, []string{"hush-1 hush\n"}, "*** ***\n"},
		"two that overlap":     {[]string{"hush-1", "1-2-3"}, []string{"hush-1-2-3\n"}, "***\n"},
		"a short secret":       {[]string{"42"}, []string{"is 42\n"}, "is ***\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			l := New(&out, Options{Hide: options(test.secrets...).Hide})
			for _, c := range test.chunks {
				_, _ = l.Write([]byte(c))
			}
			l.Tail()
			if out.String() != test.want {
				t.Errorf("got %q, want %q", out.String(), test.want)
			}
		})
	}
}

// A line of any length needs little memory, and a secret at its cut is hidden.
func TestLongLine(t *testing.T) {
	t.Parallel()
	const secret = "hush-1234567890"
	for offset := range 2 * len(secret) {
		var out strings.Builder
		l := New(&out, Options{Hide: options(secret).Hide})
		_, _ = l.Write([]byte(secret + strings.Repeat("x", maxLine-2*len(secret)+offset) + secret))
		for range 100 {
			_, _ = l.Write([]byte(strings.Repeat("y", 10_000)))
		}
		_, _ = l.Write([]byte("\nnext\n"))
		got := out.String()
		if strings.Contains(got, "hush") || len(got) > maxLine+100 || !strings.HasSuffix(got, "\nnext\n") {
			t.Fatalf("offset %d: the output has %d bytes and ends with %q", offset, len(got), got[max(0, len(got)-50):])
		}
		if len(l.line) > 0 || cap(l.line) > 4*maxLine || len(l.Tail()) != 2 {
			t.Fatalf("%d bytes are kept", cap(l.line))
		}
	}
}
