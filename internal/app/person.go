// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"os"
	"os/user"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// localPerson is the user of the operating system, with the groups that it knows. Who they
// are says the system alone, by the user ID of this process, and no variable such as USER
// or HOME, which anybody may set. A user ID without an entry in the system's list of users
// is "uid 1234". What the system doesn't know is left out.
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

// userList is the system's list of users where the standard library can't be asked: in a
// program without cgo, as ours is released, user.Current and user.LookupId answer with USER
// where the list has no entry for this process.
const userList = "/etc/passwd"

// systemUser looks this process's user up.
func systemUser() (*user.User, error) {
	if runtime.GOOS == "linux" {
		return listedUser(userList, os.Getuid())
	}
	return user.Current() // asks the system, also without cgo
}

// listedUser finds a user in a file of lines NAME:PASSWORD:ID:GROUP:COMMENT:HOME:SHELL.
// Errors are those of the file, or user.UnknownUserIdError.
func listedUser(file string, id int) (*user.User, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(fields) >= 6 && fields[0] != "" && fields[2] == strconv.Itoa(id) {
			return &user.User{Username: fields[0], Uid: fields[2], Gid: fields[3], HomeDir: fields[5]}, nil
		}
	}
	return nil, user.UnknownUserIdError(id)
}

// processGroups returns the groups that this process is in.
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
