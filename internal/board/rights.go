// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// refusal says why a person may not press a button that others may press.
type refusal struct {
	verbs []string // what pressing it does
	may   string   // who may, in words
	why   string   // a sentence, where it is not for want of a right
}

// Refused reports whether the person may not press it.
func (r refusal) Refused() bool { return r.may != "" || r.why != "" }

// verbs are the rights that actions take, and what they are called in "may …".
var verbs = map[string]struct {
	right pipeline.Right
	verb  string
}{
	"approve": {pipeline.RightApprove, "approve"}, "reject": {pipeline.RightReject, "reject"}, "lift": {pipeline.RightApprove, "lift the rejection"},
	"promote": {pipeline.RightDeploy, "promote"}, "rollback": {pipeline.RightDeploy, "roll back"}, "cancel-promotion": {pipeline.RightDeploy, "cancel the promotion"},
	"override": {pipeline.RightOverride, "override"}, "pause": {pipeline.RightDeploy, "pause"}, "resume": {pipeline.RightDeploy, "resume"}, "retry": {pipeline.RightDeploy, "run it again"},
	"launch": {pipeline.RightLaunch, "launch an environment"}, "extend": {pipeline.RightLaunch, "extend it"}, "destroy": {pipeline.RightLaunch, "end it"},
}

// refusalOf says who may do what a person was refused with CodeNotAllowed. It is the zero one
// where nobody may: there is no button then.
func refusalOf(st *pipeline.State, action string, who pipeline.Person) refusal {
	names, everybody := st.Pipeline.Entitled(verbs[action].right)
	r := refusal{verbs: []string{verbs[action].verb}, may: people(names)}
	if st.Pipeline.Authorization.Allows(verbs[action].right, who) {
		r.may, r.why = "", "You wrote part of the build, and somebody else has to approve it."
		if !everybody {
			r.why += " It waits for " + people(names) + "."
		}
	}
	return r
}

// withRights returns a state in which everybody has every right, so that it shows what can be
// done by somebody.
func withRights(st *pipeline.State) *pipeline.State {
	free := *st
	free.Pipeline.Authorization = &pipeline.Authorization{Override: []string{"*"}, Approvals: st.Pipeline.Authorization.Needed()}
	return &free
}

// mayLaunch reports whether the button of a launch is shown to a person, and notes who may press
// it if that is somebody else.
func (b *button) mayLaunch(st *pipeline.State, who pipeline.Person) bool {
	if st.Pipeline.Authorization.Allows(pipeline.RightLaunch, who) {
		return true
	}
	b.refusal = refusalOf(st, "launch", who)
	return b.Refused()
}

// buttonRow is buttons beside one another, with what is said of those that the person may not press.
type buttonRow struct {
	Buttons []described
	Notes   []note
}

// described is a button with the note that describes it; empty for none.
type described struct {
	button
	Note string
}

// note is a sentence, and its ID on the page.
type note struct{ ID, Text string }

// inRow puts buttons into a row, whose place on the page is a part of the IDs of its notes. What
// the same people may do is said once.
func inRow(buttons []button, place string) (r buttonRow) {
	var reasons []refusal
	for _, b := range buttons {
		s := described{button: b}
		if b.Refused() {
			i := slices.IndexFunc(reasons, func(r refusal) bool { return r.may == b.may && r.why == b.why })
			if i < 0 {
				i, reasons = len(reasons), append(reasons, b.refusal)
			} else {
				reasons[i].verbs = append(slices.Clone(reasons[i].verbs), b.verbs...)
			}
			s.Note = fmt.Sprintf("why-%s-%d", place, i+1)
		}
		r.Buttons = append(r.Buttons, s)
	}
	for i, reason := range reasons {
		text := reason.why
		if text == "" {
			text = fmt.Sprintf("Only %s may %s.", reason.may, either(reason.verbs))
		}
		r.Notes = append(r.Notes, note{fmt.Sprintf("why-%s-%d", place, i+1), text})
	}
	return r
}

// others says who else may do what the person that e works for may; empty where that is
// everybody, and where the person may not: the button says so. Where nobody may there is none.
func others(e *engine.Engine, st *pipeline.State, action string, s pipeline.Stage, build string) string {
	names, everybody := st.Pipeline.Entitled(verbs[action].right)
	refused := pipeline.CodeOf(check(e, st, s, action, build)) == pipeline.CodeNotAllowed
	switch {
	case refused && !refusalOf(st, action, e.Person()).Refused():
		return fmt.Sprintf("Nobody has the right to %s here.", action)
	case refused, everybody:
		return ""
	}
	return fmt.Sprintf("You may %s it, as may %s.", action, people(names))
}

// people names those who have a right, in words: a group as a team.
func people(names []string) string {
	words := make([]string, len(names))
	for i, name := range names {
		words[i] = name
		if group, is := strings.CutPrefix(name, "@"); is {
			group, members, _ := strings.Cut(group, " ")
			words[i] = strings.TrimSpace("the " + group + " team " + members)
		}
	}
	return either(words)
}

// either lists alternatives.
func either(words []string) string {
	n := len(words)
	if n < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
}
