// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Right is what a person may be allowed to do.
type Right string

// The rights.
const (
	RightApprove  Right = "approve"  // also to lift a rejection
	RightReject   Right = "reject"   // a build at a stage
	RightDeploy   Right = "deploy"   // promote, roll back and retry where a person moves the stage; pause and resume any
	RightLaunch   Right = "launch"   // a self-service environment
	RightOverride Right = "override" // a gate
)

// Rights lists the rights in the order of a pipeline's definition.
var Rights = []Right{RightApprove, RightReject, RightDeploy, RightLaunch, RightOverride}

// Person is the person who does something: the recorded name, further names that identify the
// person, such as an ARN, and the groups that the person is known to be in.
type Person struct {
	Name   string
	Names  []string
	Groups []string
	// Literal lists those of the names that nobody has verified, or that a person may have
	// chosen. An entry means one of them in full, or with "*"; no other wildcards match it.
	Literal []string
}

// Authorization says who may do what in a pipeline. A list names people, "@" and the name of
// a group, or has wildcards: * for any text, ? for a character. A nil list leaves the right
// to everybody; an empty one grants it to nobody. The override right is never everybody's:
// only the people on its list have it. Anybody who may approve may reject.
type Authorization struct {
	Approve   []string            `json:"approve,omitzero"`
	Reject    []string            `json:"reject,omitzero"`
	Deploy    []string            `json:"deploy,omitzero"`
	Launch    []string            `json:"launch,omitzero"`
	Override  []string            `json:"override,omitzero"`
	Groups    map[string][]string `json:"groups,omitempty"` // who is in a group
	People    map[string][]string `json:"people,omitempty"` // the names that a person goes by
	Approvals int                 `json:"approvals,omitempty"`
	NotAuthor bool                `json:"not_author,omitempty"`
}

// list returns the people who have a right, and whether everybody has it.
func (a *Authorization) list(right Right) (who []string, everybody bool) {
	if a == nil {
		return nil, right != RightOverride
	}
	switch right {
	case RightApprove:
		who = a.Approve
	case RightReject:
		if who = a.Reject; who == nil {
			who = a.Approve
		}
	case RightDeploy:
		who = a.Deploy
	case RightLaunch:
		who = a.Launch
	case RightOverride:
		return a.Override, false
	}
	return who, who == nil
}

// Allows reports whether a person has a right.
func (a *Authorization) Allows(right Right, who Person) bool {
	list, everybody := a.list(right)
	return everybody || a.anyIs(list, who)
}

// anyIs reports whether one of the entries means the person. A group that Groups defines
// consists of the people named there; a group of the same name in the system does not count.
func (a *Authorization) anyIs(entries []string, who Person) bool {
	return slices.ContainsFunc(entries, func(entry string) bool {
		if group, ok := strings.CutPrefix(entry, "@"); ok {
			if members, defined := a.Groups[group]; defined {
				return a.anyIs(ungrouped(members), who)
			}
			return slices.Contains(who.Groups, group)
		}
		return a.is(entry, who)
	})
}

// ungrouped leaves out groups: a group contains no group.
func ungrouped(entries []string) []string {
	return slices.DeleteFunc(slices.Clone(entries), func(e string) bool { return strings.HasPrefix(e, "@") })
}

// is reports whether an entry, which is no group, means the person: by one of the person's
// names, or by the name under which People lists one of them.
func (a *Authorization) is(entry string, who Person) bool {
	if who.goesBy(entry) {
		return true
	}
	aliases, ok := a.People[entry]
	return ok && slices.ContainsFunc(aliases, who.goesBy)
}

// goesBy reports whether an entry means one of the person's names. Case does not matter
// where the name is an address.
func (w Person) goesBy(entry string) bool {
	return slices.ContainsFunc(append([]string{w.Name}, w.Names...), func(name string) bool {
		entry, literal := entry, slices.Contains(w.Literal, name)
		if IsAddress(name) {
			entry, name = strings.ToLower(entry), strings.ToLower(name)
		}
		return entry == "*" || entry == name || !literal && Matches(entry, name)
	})
}

// IsAddress reports whether a name is written as a mail address: text, an @, and the name of
// a host. An ARN is none.
func IsAddress(name string) bool {
	local, host, ok := strings.Cut(name, "@")
	return ok && local != "" && host != "" && !strings.ContainsAny(name, ":/\\ ") && !strings.Contains(host, "@")
}

// Person returns the name under which People lists somebody, else the recorded name. Two
// names of one person count as one approval.
func (a *Authorization) Person(who Person) string {
	if a != nil {
		for _, key := range slices.Sorted(maps.Keys(a.People)) {
			if a.is(key, who) {
				return key
			}
		}
	}
	return who.Name
}

// Needed returns the number of people who must approve.
func (a *Authorization) Needed() int {
	if a == nil {
		return 1
	}
	return max(a.Approvals, 1)
}

// Authorize refuses, with CodeNotAllowed, what a person has no right to. The error says who
// the person is, what was needed, and who has it. op says what was asked for.
func (p Pipeline) Authorize(right Right, who Person, op string) error {
	if p.Authorization.Allows(right, who) {
		return nil
	}
	return p.notAllowed(right, op, "%s has no right to %s in pipeline %q", who.describe(), right, p.Name)
}

func (p Pipeline) notAllowed(right Right, op, format string, args ...any) error {
	return Errorf(CodeNotAllowed, op, format, args...).WithHint("%s", p.whoMay(right))
}

// RefuseAuthor refuses, with CodeNotAllowed, a person who wrote any of what would be
// approved, if the pipeline wants somebody else to look at it.
func (p Pipeline) RefuseAuthor(who Person, authors []string, op string) error {
	if p.Authorization == nil || !p.Authorization.NotAuthor {
		return nil
	}
	for _, author := range authors {
		if p.Authorization.Wrote(author, who) {
			return p.notAllowed(RightApprove, op, "%s wrote part of the build, as %s, and pipeline %q wants the approval of somebody else", who.describe(), author, p.Name)
		}
	}
	return nil
}

// whoMay says who has a right, and where that is configured.
func (p Pipeline) whoMay(right Right) string {
	names, everybody := p.Entitled(right)
	if right == RightReject && p.Authorization != nil && p.Authorization.Reject == nil {
		right = RightApprove
	}
	setting := fmt.Sprintf("authorize.%s of penstock_pipeline %q", right, p.Name)
	switch {
	case everybody:
		return "Everybody else may."
	case len(names) == 0:
		return "Nobody may: " + setting + " names nobody."
	}
	return fmt.Sprintf("Ask one of %s; %s says so.", strings.Join(names, ", "), setting)
}

// Entitled lists the people who have a right, in words: a group with its members, if the
// pipeline names them. It reports whether everybody has it.
func (p Pipeline) Entitled(right Right) (names []string, everybody bool) {
	who, everybody := p.Authorization.list(right)
	names = slices.Clone(who)
	for i, entry := range names {
		if members := p.Authorization.Groups[strings.TrimPrefix(entry, "@")]; strings.HasPrefix(entry, "@") && len(members) > 0 {
			names[i] = fmt.Sprintf("%s (%s)", entry, strings.Join(members, ", "))
		}
	}
	return names, everybody
}

// describe names a person, with the first of the further names.
func (w Person) describe() string {
	if len(w.Names) == 0 {
		return w.Name
	}
	return fmt.Sprintf("%s (%s)", w.Name, w.Names[0])
}

// Wrote reports whether a person is the author of a commit, written as "Name <address>". The
// name and the address, or its part before the @, are compared to the last part of the
// person's name and to the entries of People. Case does not matter.
func (a *Authorization) Wrote(author string, who Person) bool {
	name, address, _ := strings.Cut(strings.TrimSuffix(author, ">"), "<")
	name, address = strings.TrimSpace(name), strings.TrimSpace(address)
	local, _, _ := strings.Cut(address, "@")
	theirs := []string{name, address, local}
	ours := []string{who.Name, who.Name[strings.LastIndexAny(who.Name, `/\`)+1:]}
	if a != nil {
		ours = append(ours, a.People[a.Person(who)]...)
	}
	return slices.ContainsFunc(ours, func(our string) bool {
		return our != "" && slices.ContainsFunc(theirs, func(their string) bool {
			return Matches(strings.ToLower(our), strings.ToLower(their))
		})
	})
}

// Matches reports whether a pattern, in which * is any text and ? any character, is
// the whole of s.
func Matches(pattern, s string) bool {
	p, text := []rune(pattern), []rune(s)
	i, j, star, from := 0, 0, -1, 0
	for j < len(text) {
		switch {
		case i < len(p) && p[i] == '*':
			star, from = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == text[j]):
			i++
			j++
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

// Check refuses an authorization that can't be met: more approvals than there are people who
// may approve.
func (a *Authorization) Check() error {
	const op = "check authorize"
	if a == nil || a.Approvals < 2 || a.Approve == nil {
		return nil
	}
	var people []string
	for _, entry := range a.Approve {
		members := []string{entry}
		if group, ok := strings.CutPrefix(entry, "@"); ok {
			if members, ok = a.Groups[group]; !ok {
				return nil // only the system that people sign in to knows its members
			}
		}
		people = append(people, members...)
	}
	slices.Sort(people)
	people = slices.Compact(people)
	if slices.ContainsFunc(people, func(p string) bool { return strings.ContainsAny(p, "*?") }) || len(people) >= a.Approvals {
		return nil
	}
	return Errorf(CodeInvalid, op, "approvals is %d, but only %d people may approve: %s", a.Approvals, len(people), strings.Join(people, ", ")).
		WithHint("Name more people in authorize.approve, or lower authorize.approvals.")
}
