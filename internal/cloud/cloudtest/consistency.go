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
		item *regexp.Regexp // at which an item of the list begins
		id   *regexp.Regexp
	}{
		"DescribeInstances": {regexp.MustCompile(`<item>\s*<reservationId>`), instanceID},
		"DescribeImages":    {regexp.MustCompile(`<item>\s*<blockDeviceMapping>`), imageIDs},
	}
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
		got.body = []byte(a.hide(string(got.body), list.item, list.id))
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
func (a *account) hide(body string, item, id *regexp.Regexp) string {
	begins := item.FindAllStringIndex(body, -1)
	for n := len(begins) - 1; n >= 0; n-- {
		from, to := begins[n][0], strings.LastIndex(body, "</item>")+len("</item>")
		if n+1 < len(begins) {
			to = begins[n+1][0]
		}
		if m := id.FindStringSubmatch(body[from:to]); m != nil && !a.seen(m[1]) {
			body = body[:from] + body[to:]
			for k := n + 1; k < len(begins); k++ {
				begins[k][0] -= to - from
			}
		}
	}
	return body
}
