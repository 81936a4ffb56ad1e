// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/engine"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// environmentActions are those on people's environments. They take minutes where instances
// have to start: they go on when the page has been answered.
var environmentActions = map[string]action{
	"launch": {
		Label: "Launch an environment", Submit: "Launch",
		Explain: func(*pipeline.State, asked) []string {
			return []string{"An environment of your own: the whole service on one instance, with data of its own. It ends by itself when its time is over."}
		},
	},
	"extend": {
		Label: "Extend", Submit: "Extend",
		Explain: func(_ *pipeline.State, a asked) []string {
			return []string{fmt.Sprintf("Environment %s ends when the time that you choose is over, counted from now. If it has ended, it is launched again.", a.Name)}
		},
	},
	"destroy": {
		Label: "End", Submit: "End it", Danger: true,
		Explain: func(_ *pipeline.State, a asked) []string {
			return []string{fmt.Sprintf("Environment %s is ended at once, with its data.", a.Name)}
		},
	},
}

// lifetimes are offered for environments.
var lifetimes = []time.Duration{time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 24 * time.Hour, 72 * time.Hour, 168 * time.Hour}

// offeredBuilds is how many builds a form lists to choose from.
const offeredBuilds = 30

// prepareEnvironment finds out what an action on an environment is about.
func (b *forms) prepareEnvironment(st *pipeline.State, who pipeline.Person, q *asked, c *confirmation) error {
	c.Back += "/environments"
	longest := st.Pipeline.SelfService.MaxTTL
	for _, t := range lifetimes {
		if longest == 0 || t <= longest {
			c.Times = append(c.Times, t)
		}
	}
	if longest > 0 && len(c.Times) == 0 {
		c.Times = []time.Duration{longest}
	}
	q.TTL = cmp.Or(q.TTL, run.DefaultTTL)
	if longest > 0 {
		q.TTL = min(q.TTL, longest)
	}
	if c.Key != "launch" {
		env, ok := st.PersonEnvironment(q.Name)
		if !ok {
			return pipeline.Errorf(pipeline.CodeNotFound, "find environment", "pipeline %q has no self-service environment %q", q.Pipeline, q.Name).
				WithHint("It may have ended; the page of environments lists them.")
		}
		if !st.Pipeline.Authorization.Owns(env.Owner, who) {
			c.refuse(st.Pipeline.Authorize(pipeline.RightLaunch, who, ""))
		}
		return nil
	}
	q.Name = cmp.Or(q.Name, run.OwnName(who.Name))
	err := b.Engine.As(who).Environments.CheckLaunch(st, run.LaunchRequest{Pipeline: q.Pipeline, Name: q.Name, TTL: q.TTL})
	if st.Pipeline.Service.Start == "" {
		err = pipeline.Errorf(pipeline.CodeInvalid, "launch environment", "pipeline %q has no service.start", q.Pipeline).WithHint("Set service = { start = \"…\" } on the pipeline.")
	}
	c.refuse(err)
	for build := range st.NewestBuilds() {
		if len(c.Choice) >= offeredBuilds {
			break
		}
		if _, err := run.ChooseBuild(st, run.LaunchRequest{Pipeline: q.Pipeline, Name: q.Name, Build: build.ID}); err == nil {
			c.Choice = append(c.Choice, build)
		}
	}
	if len(c.Choice) == 0 {
		_, err := run.ChooseBuild(st, run.LaunchRequest{Pipeline: q.Pipeline, Name: q.Name})
		c.refuse(err)
	}
	return nil
}

// refuse says why there is nothing to press.
func (c *confirmation) refuse(err error) {
	if err != nil && c.Refused == nil {
		refused := problem(err)
		c.Refused = &refused
	}
}

func workKey(pipelineName, env string) string { return pipelineName + "/" + env }

func afterSlash(s string) string { return s[strings.IndexByte(s, '/')+1:] }

// onEnvironment begins what a form asks for; what can be refused at once is.
func (b *forms) onEnvironment(ctx context.Context, e *engine.Engine, name string, q asked) (string, error) {
	st, err := e.State(ctx, q.Pipeline)
	if err != nil {
		return "", err
	}
	env, exists := st.PersonEnvironment(q.Name)
	r := run.LaunchRequest{Pipeline: q.Pipeline, Name: q.Name, TTL: cmp.Or(q.TTL, run.DefaultTTL), Renew: true}
	key := workKey(q.Pipeline, q.Name)
	switch {
	case name == "launch":
		if err := checkName(q.Name); err != nil {
			return "", err
		}
		r.Build, r.Spec, r.Create, r.Configured = q.Build, pipeline.EnvironmentSpec{Instances: 1}, true, run.LaunchedByHand
	case !exists:
		return "", pipeline.Errorf(pipeline.CodeNotFound, "find environment", "there is no self-service environment %q any more", q.Name)
	case name == "destroy":
		if !st.Pipeline.Authorization.Owns(env.Owner, e.Person()) {
			if err := st.Pipeline.Authorize(pipeline.RightLaunch, e.Person(), fmt.Sprintf("end environment %q of %s", q.Name, env.Owner)); err != nil {
				return "", err
			}
		}
		return fmt.Sprintf("Environment %s is being ended.", q.Name),
			b.work.begin(key, "end", b.Now, func(ctx context.Context) error { return e.Environments.End(ctx, q.Pipeline, q.Name, "") })
	default:
		r.Build, r.Spec, r.Configured, r.Owner = env.Build, env.Spec, env.Configured, env.Owner
	}
	if err := e.Environments.CheckLaunch(st, r); err != nil {
		return "", err
	}
	if _, err := run.ChooseBuild(st, r); err != nil {
		return "", err
	}
	err = b.work.begin(key, name, b.Now, func(ctx context.Context) error {
		_, err := e.Environments.Launch(ctx, r)
		return err
	})
	if err != nil {
		return "", err
	}
	if name == "extend" {
		return fmt.Sprintf("Environment %s lives for %s from now on.", q.Name, present.Duration(r.TTL)), nil
	}
	return fmt.Sprintf("Environment %s is being launched; this page shows when it is there.", q.Name), nil
}

// shownFailure is how long people see that a launch failed.
const shownFailure = time.Hour

// failures returns what failed not long ago, by key.
func (b *core) failures() map[string]failure {
	all := b.work.failures()
	maps.DeleteFunc(all, func(_ string, f failure) bool { return b.Now().Sub(f.At) > shownFailure })
	return all
}

// checkName refuses what can't be the name of an environment.
func checkName(name string) error {
	if run.OwnName(name) != name {
		return pipeline.Errorf(pipeline.CodeInvalid, "launch environment", "%q is no name for it", name).
			WithHint("Use small letters, digits and hyphens, a letter first, at most 40.")
	}
	return nil
}

// environmentButtons returns what can be done with a person's environment: by its owner, and by
// who may launch some.
func environmentButtons(st *pipeline.State, env pipeline.Environment, who pipeline.Person) (list []button) {
	owns := st.Pipeline.Authorization.Owns(env.Owner, who) || st.Pipeline.Authorization.Allows(pipeline.RightLaunch, who)
	for _, name := range []string{"extend", "destroy"} {
		a := environmentActions[name]
		b := button{Action: name, Label: a.Label, Name: env.Name, Danger: a.Danger, Says: a.Label + " " + env.Name}
		if !owns {
			names, _ := st.Pipeline.Entitled(pipeline.RightLaunch)
			b.refusal = refusal{verbs: []string{verbs[name].verb}, may: people(append([]string{env.Owner}, names...))}
		}
		list = append(list, b)
	}
	return list
}

// environments lists the environments of a pipeline.
func (b *Board) environments(w http.ResponseWriter, r *http.Request, s *session) error {
	live, err := b.live(kindEnvironments, r)
	if err != nil {
		return err
	}
	st, err := b.existing(r)
	if err != nil {
		return err
	}
	body := struct {
		Environments []environment
		Failures     []failure // of launches that left nothing
		Buttons      []button
	}{Environments: b.serving(st, s.person)}
	launch := button{Action: "launch", Label: environmentActions["launch"].Label, Primary: true}
	if st.Pipeline.Service.Start != "" && launch.mayLaunch(st, s.person) {
		body.Buttons = append(body.Buttons, launch)
	}
	for key, f := range b.failures() {
		if _, there := st.PersonEnvironment(afterSlash(key)); !there && key == workKey(st.Pipeline.Name, afterSlash(key)) {
			f.What += " " + afterSlash(key)
			body.Failures = append(body.Failures, f)
		}
	}
	b.show(w, s, http.StatusOK, "environments", view{Title: "Environments · " + st.Pipeline.Name, Pipeline: st.Pipeline.Name, Tab: "environments", Live: live, Body: body})
	return nil
}
