// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"net/http"
	"regexp"
	"strings"
	"time"
)

// Of EC2: what makes something that is not seen at once, what lists it, and what a
// request names it by.
var (
	creates = map[string]*regexp.Regexp{"RunInstances": instanceID, "CreateImage": imageIDs, "CopyImage": imageIDs}
	lists   = map[string]struct {
		set string         // the element whose items are listed
		id  *regexp.Regexp // of an item
	}{
		"DescribeInstances": {"reservationSet", instanceID},
		"DescribeImages":    {"imagesSet", imageIDs},
	}
	itemTag   = regexp.MustCompile(`</?item>`)
	names     = regexp.MustCompile(`^(InstanceId|ImageId|ResourceId)(\.\d+)?$`)
	notFounds = map[string]string{"i": "InvalidInstanceID.NotFound", "ami": "InvalidAMIID.NotFound"}
)

// eventually answers a request to EC2 as its consistency allows: for a time that the pace
// sets what was made is not found by its ID, and not listed.
func (a *account) eventually(r *request, do func() answer) answer {
	visible := a.cloud.paced().Visible
	if r.service != "ec2" || visible == 0 {
		return do()
	}
	for name, values := range r.form {
		if names.MatchString(name) && !a.seen(values[0]) {
			kind, _, _ := strings.Cut(values[0], "-")
			return r.fail(http.StatusBadRequest, notFounds[kind], "The ID '"+values[0]+"' does not exist")
		}
	}
	got := do()
	if got.status != http.StatusOK {
		return got
	}
	if id := creates[r.action]; id != nil {
		a.mu.Lock()
		for _, m := range id.FindAllSubmatch(got.body, -1) {
			if made := string(m[1]); made != r.form.Get("ImageId") && made != r.form.Get("SourceImageId") && a.made[made].IsZero() {
				a.made[made] = time.Now().Add(visible)
			}
		}
		a.mu.Unlock()
	}
	if list, ok := lists[r.action]; ok {
		got.body = []byte(a.hide(string(got.body), list.set, list.id))
	}
	return got
}

// seen reports whether a thing is seen by now.
func (a *account) seen(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !time.Now().Before(a.made[id])
}

// hide takes the items out of a list that are not seen yet.
func (a *account) hide(body, set string, id *regexp.Regexp) string {
	head, rest, found := strings.Cut(body, "<"+set+">")
	items, tail, closed := strings.Cut(rest, "</"+set+">")
	if !found || !closed { // none
		return body
	}
	var shown strings.Builder
	for item := range eachItem(items) {
		if m := id.FindStringSubmatch(item); m == nil || a.seen(m[1]) {
			shown.WriteString(item)
		}
	}
	return head + "<" + set + ">" + shown.String() + "</" + set + ">" + tail
}
