// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// versionItem is a version in a list of those of launch templates.
var versionItem = regexp.MustCompile(`<launchTemplateId>(lt-[0-9a-f]+)</launchTemplateId>(?s:.*?)<versionNumber>([0-9]+)</versionNumber>`)

// deleteVersions answers DeleteLaunchTemplateVersions, which moto lacks. The default version
// stays, as do those that are not there: AWS says so of each.
func (a *account) deleteVersions(r *request) answer {
	id := r.form.Get("LaunchTemplateId")
	found := a.query(r, "ec2", "DescribeLaunchTemplates", url.Values{"LaunchTemplateId.1": {id}})
	if found.status != http.StatusOK {
		return found
	}
	var done, failed strings.Builder
	for _, number := range numbered(r.form, "LaunchTemplateVersion") {
		item := fmt.Sprintf("<item><launchTemplateId>%s</launchTemplateId><versionNumber>%s</versionNumber>", id, number)
		if strings.Contains(string(found.body), "<defaultVersionNumber>"+number+"<") || a.lacksVersion(id, number) {
			failed.WriteString(item + "<responseError><code>launchTemplateVersionDoesNotExist</code><message>none, or the default version</message></responseError></item>")
			continue
		}
		a.mu.Lock()
		a.unversioned[id+" "+number] = true
		a.mu.Unlock()
		done.WriteString(item + "</item>")
	}
	return xml(http.StatusOK, `<DeleteLaunchTemplateVersionsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>test</requestId><successfullyDeletedLaunchTemplateVersionSet>`+done.String()+
		`</successfullyDeletedLaunchTemplateVersionSet><unsuccessfullyDeletedLaunchTemplateVersionSet>`+failed.String()+`</unsuccessfullyDeletedLaunchTemplateVersionSet></DeleteLaunchTemplateVersionsResponse>`)
}

func (a *account) lacksVersion(id, number string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.unversioned[id+" "+number]
}

// versionsLeft answers DescribeLaunchTemplateVersions. It refuses a request for a version that
// was deleted, whatever else that asks for.
func (a *account) versionsLeft(r *request) answer {
	id := r.form.Get("LaunchTemplateId")
	for _, number := range numbered(r.form, "LaunchTemplateVersion") {
		if a.lacksVersion(id, number) {
			return r.fail(http.StatusBadRequest, "InvalidLaunchTemplateId.VersionNotFound", "Could not find the specified version "+number+" for the launch template with ID "+id+".")
		}
	}
	got := a.describeLaunchTemplateVersions(r)
	got.body = a.undeleted(got.body)
	return got
}

// undeleted takes the versions that were deleted out of a list.
func (a *account) undeleted(body []byte) []byte {
	head, rest, _ := strings.Cut(string(body), "<launchTemplateVersionSet>")
	items, tail, closed := strings.Cut(rest, "</launchTemplateVersionSet>")
	if !closed {
		return body
	}
	var left strings.Builder
	for item := range eachItem(items) {
		if m := versionItem.FindStringSubmatch(item); m == nil || !a.lacksVersion(m[1], m[2]) {
			left.WriteString(item)
		}
	}
	return []byte(head + "<launchTemplateVersionSet>" + left.String() + "</launchTemplateVersionSet>" + tail)
}

// eachItem yields the items of a list, with those that they have in them.
func eachItem(items string) func(func(string) bool) {
	return func(yield func(string) bool) {
		depth, begin := 0, 0
		for _, tag := range itemTag.FindAllStringIndex(items, -1) {
			if items[tag[0]+1] != '/' {
				if depth++; depth == 1 {
					begin = tag[0]
				}
				continue
			}
			if depth--; depth == 0 && !yield(items[begin:tag[1]]) {
				return
			}
		}
	}
}
