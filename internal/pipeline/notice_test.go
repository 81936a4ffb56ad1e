// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"slices"
	"testing"
)

// A target that is mentioned twice is notified of both.
func TestTargets(t *testing.T) {
	failed, passed := []NoticeKind{NoticeFailed}, []NoticeKind{NoticePassed}
	p := Pipeline{Notify: []NotifyTarget{{Command: "a", On: failed}, {Command: "b", On: failed}, {Command: "a", On: passed}, {Command: "b"}}}
	got := p.Targets()
	if len(got) != 2 || !slices.Equal(got[0].On, []NoticeKind{NoticeFailed, NoticePassed}) || got[1].On != nil {
		t.Errorf("targets %+v", got)
	}
	if len(p.Notify[0].On) != 1 {
		t.Error("the definition was changed")
	}
}

func TestDescribeTarget(t *testing.T) {
	for want, target := range map[string]NotifyTarget{
		"webhook example.com":      {Webhook: "https://user:secret@example.com/hook?token=s3cret"},
		"webhook $HOOK":            {Webhook: "$HOOK"},
		"slack hooks.example.com":  {Slack: "https://hooks.example.com/services/T/B/secret"},
		"event bus default":        {EventBus: "default"},
		"command notify-send this": {Command: "notify-send this\nand that"},
	} {
		if got := target.Describe(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	a, b := NotifyTarget{Command: "cat"}, NotifyTarget{Command: "cat", On: []NoticeKind{NoticeFailed}}
	if a.Key() != b.Key() || a.Key() == (NotifyTarget{Command: "cut"}).Key() {
		t.Error("the key of a target is not that of what it is")
	}
}
