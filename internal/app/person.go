// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"os"
	"os/user"
	"slices"
	"strconv"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// localPerson is the user of the operating system, with the groups that it knows. Who they
// are says the system alone, by the user ID of this process, and no variable such as USER
// or HOME, which anybody may set. A user ID without an entry in the system's list of users
// is "uid 1234". What the system can't tell is left out.
func localPerson() pipeline.Person {
	u, err := systemUser()
	if err != nil {
		return pipeline.Person{Name: "uid " + strconv.Itoa(os.Getuid()), Groups: processGroups()}
	}
	who := pipeline.Person{Name: u.Username}
	ids, _ := u.GroupIds()
	who.Groups = groupNames(ids)
	return who
}

// systemUser looks this process's user up. It is not user.Current, which answers with USER
// where the system has no entry.
func systemUser() (*user.User, error) {
	if id := os.Getuid(); id >= 0 {
		return user.LookupId(strconv.Itoa(id))
	}
	return user.Current() // Windows has no such numbers, and asks the token of the process
}

// processGroups gives the groups that this process is in.
func processGroups() []string {
	ids := []int{os.Getgid()}
	if more, err := os.Getgroups(); err == nil {
		ids = append(ids, more...)
	}
	slices.Sort(ids)
	var texts []string
	for _, id := range slices.Compact(ids) {
		texts = append(texts, strconv.Itoa(id))
	}
	return groupNames(texts)
}

// groupNames leaves out groups that have no name.
func groupNames(ids []string) (names []string) {
	for _, id := range ids {
		if group, err := user.LookupGroupId(id); err == nil {
			names = append(names, group.Name)
		}
	}
	return names
}
