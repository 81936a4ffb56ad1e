// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
)

// ShopBuilds is how many builds the shop has.
const ShopBuilds = 43

// Hostile are messages of commits that somebody wrote to break what shows them. The shop has a
// build of each.
var Hostile = []string{
	"<script>alert(document.cookie)</script><img src=x onerror=alert(1)>",
	"javascript:alert(1) {{.Person}} ${PATH} $(reboot) `id` '; DROP TABLE builds; --",
	"\x1b]0;owned\x07\x1b[2J\x1b[31mred\x1b[0m \x1b]8;;https://evil.example.com\x07a link\x1b]8;;\x07",
	"العربية \u202egnihtyreve esrever\u202c and back",
	"Averylongwordwithoutanyspaceinit_averylongwordwithoutanyspaceinit_averylongwordwithoutanyspaceinit_averylongwordwithoutanyspaceinit_averylongword",
	"日本語のコミットメッセージ 🚀👩‍👩‍👧 ｆｕｌｌ ｗｉｄｔｈ",
}

// messages are those of the shop's commits, in turn.
var messages = []string{
	"Begin", "Show prices with tax", "Sort the search by relevance (#4711)", "Let baskets outlive a session", "Remove the old checkout",
	"Fix rounding of the discount", "Answer in gzip", "Say why a card was refused", "Cache the catalogue for a minute", "Ask before a basket is emptied",
}

var authors = []string{
	"Ada Byron <ada@example.com>", "Grace Hopper <grace@example.com>", "Linus <linus@example.com>", `Mallory "&amp;" O'Hara <mallory@example.com>`,
}

// badTests are tests that fail, one with a message of many lines.
var badTests = []pipeline.TestFailure{
	{Name: "payment/test_06 refuses an expired card", Message: "expected: 402 Payment Required\n     got: 500 Internal Server Error\n\npayment/card_test.go:88: see https://ci.example.com/cards?a=1&b=2"},
	{Name: "payment/test_17 <b>rounds</b> half to even", Message: "expected 10.02, got 10.03"},
	{Name: "basket/test_28 keeps items", Message: "the basket is empty"},
	{Name: "login/test_39 locks out after five tries", Message: "logged in at the sixth try"},
}

// chapter is what happens to a build, beside passing where nobody has to decide.
type chapter struct {
	fails map[string]failure // by stage
	deeds []deed             // after its apply
	later []deed             // after the apply that follows them
}

// deed is what a person does.
type deed struct {
	who    string
	verb   decision.Verb
	stage  string
	reason string
}

// shopStory is by build, from 1.
var shopStory = map[int]chapter{
	1:  {deeds: []deed{{"ruth", decision.Approve, "exploratory", ""}}, later: []deed{{"ruth", decision.Promote, "production", ""}}},
	3:  {fails: map[string]failure{"commit": {step: "unit tests", tests: badTests[:1]}}},
	5:  {deeds: []deed{{"ruth", decision.Approve, "exploratory", "looks good"}}, later: []deed{{"ann", decision.Promote, "production", ""}}},
	7:  {deeds: []deed{{"ben", decision.Reject, "exploratory", "the totals are wrong"}}},
	9:  {fails: map[string]failure{"acceptance": {step: "api tests", tests: badTests[1:3]}}},
	12: {deeds: []deed{{"ruth", decision.Approve, "exploratory", ""}}, later: []deed{{"ben", decision.Reject, "exploratory", "approved too early: a card is charged twice"}}},
	14: {fails: map[string]failure{"security-scan": {step: "scan", exit: 3}}},
	17: {deeds: []deed{{"ruth", decision.Approve, "exploratory", ""}}, later: []deed{{"ann", decision.Promote, "production", ""}}},
	20: {
		fails: map[string]failure{"capacity": {step: "peak", exit: 1}},
		deeds: []deed{{"ruth", decision.Approve, "exploratory", ""}, {"olga", decision.Override, "capacity", "the load machine was broken; the fix must go out today"}},
		later: []deed{{"ann", decision.Promote, "production", ""}},
	},
	23: {deeds: []deed{{"ben", decision.Reject, "exploratory", "the search finds nothing"}}},
	26: {fails: map[string]failure{"commit": {step: "lint", exit: 2}}},
	29: {deeds: []deed{{"ruth", decision.Approve, "exploratory", ""}}, later: []deed{{"ann", decision.Promote, "production", ""}}},
	31: {deeds: []deed{{"ruth", decision.Approve, "exploratory", ""}, {"ann", decision.Rollback, "production", "orders are lost since 11:00"}}},
	34: {deeds: []deed{{"ruth", decision.Approve, "exploratory", ""}}},
	38: {
		fails: map[string]failure{"pre-production": {step: "smoke", exit: 1, stays: true}},
		deeds: []deed{{"ruth", decision.Approve, "exploratory", "tried on a phone, too"}},
	},
	39: {deeds: []deed{{"olga", decision.Pause, "capacity", "the sale of the year runs until Sunday, and nobody may put load on the network of the warehouse before that is over"}}},
	42: {fails: map[string]failure{"acceptance": {step: "api tests", tests: badTests}}},
}

// shopConfiguration is the configuration of the shop.
func (l *Lab) shopConfiguration() configuration {
	stage := func(kind pipeline.StageType, name string, after ...string) pipeline.Stage {
		no := false
		s := pipeline.Stage{Pipeline: Shop, Owner: l.App.Owner, Type: kind, Name: name, After: after}.WithDefaults(nil, &no)
		return s
	}
	expected := pipeline.Load{Rate: 200, Duration: time.Minute, Path: "/", P95: 100 * time.Millisecond, P99: 150 * time.Millisecond, ErrorRate: 0.001, MinThroughput: 190}
	peak := expected
	peak.Rate, peak.MinThroughput = 400, 0
	c := configuration{
		pipeline: pipeline.Pipeline{
			Name: Shop, Owner: l.App.Owner, Scale: pipeline.Scale{Instances: 2}, Service: service, Keep: ShopBuilds + 20,
			Authorization: &pipeline.Authorization{Override: []string{"*"}},
		},
		paths: &pipeline.Paths{Configuration: []string{"config/**"}, Infrastructure: []string{"infra/**"}, Data: []string{"migrations/**"}},
		repo:  filepath.Join(l.options.Dir, "shop.git"),
		stages: []pipeline.Stage{
			stage(pipeline.TypeCommit, "commit"),
			stage(pipeline.TypeAcceptance, "acceptance", "commit"),
			stage(pipeline.TypeCustom, "security-scan", "commit"),
			stage(pipeline.TypeExploratory, "exploratory", "acceptance"),
			stage(pipeline.TypeCapacity, "capacity", "acceptance"),
			stage(pipeline.TypePreProduction, "pre-production", "exploratory", "capacity", "security-scan"),
			stage(pipeline.TypeProduction, "production", "pre-production"),
		},
	}
	steps := map[string][]pipeline.Step{
		"commit": {
			{Name: "build", Command: "make dist.tar.gz"}, {Name: "lint", Command: "make lint"}, {Name: "unit tests", Command: "make test", Report: "junit.xml"},
		},
		"acceptance": {
			{Name: "health", HTTP: &pipeline.HTTPCheck{Path: "/"}}, {Name: "api tests", Command: "make api", Report: "api.xml"}, {Name: "journeys", Command: "make journeys"},
		},
		"security-scan":  {{Name: "scan", Command: "scan --all ."}},
		"capacity":       {{Name: "expected", Load: &expected}, {Name: "peak", Load: &peak}},
		"pre-production": {{Name: "smoke", Command: "make smoke"}},
		"production":     {{Name: "smoke", HTTP: &pipeline.HTTPCheck{Path: "/"}}},
	}
	for i := range c.stages {
		s := &c.stages[i]
		s.Steps = steps[s.Name]
		switch s.Type {
		case pipeline.TypeCommit:
			s.Artifact = "dist.tar.gz"
		case pipeline.TypeAcceptance, pipeline.TypePreProduction:
			s.OnFailure = pipeline.OnFailureKeep
			if s.Type == pipeline.TypePreProduction {
				s.Env.Unmasked = true // the shop keeps no data
			}
		case pipeline.TypeExploratory:
			s.Env = &pipeline.EnvironmentSpec{Instances: 1}
		}
	}
	return c
}

// shopCommits are the commits of the shop. The last is a few minutes old.
func shopCommits() []commit {
	commits := make([]commit, ShopBuilds)
	for i := range commits {
		n := i + 1
		message := fmt.Sprintf("%s, part %d", messages[i%len(messages)], i/len(messages)+1)
		if n%7 == 4 {
			message = Hostile[(n/7)%len(Hostile)]
		}
		file := "src/main.txt"
		switch n % 6 {
		case 0:
			file = "migrations/1.sql"
		case 3:
			file = "config/prices.yaml"
		case 5:
			file = "src/style.css"
		}
		before := time.Duration(ShopBuilds-n)*110*time.Minute + 6*time.Minute
		commits[i] = commit{author: authors[(i*i+i/3)%len(authors)], message: message, file: file, before: before}
	}
	return commits
}

// tellShop makes the shop.
func tellShop(ctx context.Context, l *Lab) error {
	c, commits := l.shopConfiguration(), shopCommits()
	l.clock.set(commits[0].before)
	ids, err := makeRepository(ctx, c.repo, l.clock.end, commits)
	if err != nil {
		return err
	}
	if err := l.define(ctx, c); err != nil {
		return err
	}
	l.App.Source = l.App.NewSource("")
	for i, id := range ids[:ShopBuilds-1] {
		if err := l.shopBuild(ctx, c, i+1, id, commits[i].before); err != nil {
			return err
		}
	}
	if err := l.shopLaunches(ctx); err != nil {
		return err
	}
	return l.shopPresent(ctx, c, ids[ShopBuilds-1], commits[ShopBuilds-1].before)
}

// shopBuild is what happens to a build until the next commit.
func (l *Lab) shopBuild(ctx context.Context, c configuration, n int, id string, before time.Duration) error {
	l.clock.set(before - time.Minute)
	l.runner.number = n
	story := shopStory[n]
	for stage, f := range story.fails {
		l.runner.fail(Shop, stage, f)
	}
	build, err := l.apply(ctx, c, id)
	if err != nil {
		return err
	}
	for _, deeds := range [][]deed{story.deeds, story.later} {
		if len(deeds) == 0 {
			break
		}
		for _, d := range deeds {
			about := build
			if d.verb == decision.Rollback || d.verb == decision.Pause {
				about = ""
			}
			if err := l.do(ctx, d.who, decision.Command{Verb: d.verb, Pipeline: Shop, Stage: d.stage, Build: about, Reason: d.reason}); err != nil {
				return fmt.Errorf("build %d: %w", n, err)
			}
		}
		l.clock.pass(10 * time.Minute)
		if _, err := l.apply(ctx, c, id); err != nil {
			return err
		}
	}
	return nil
}

// shopLaunches lets people launch environments of their own. One has expired, and the service
// of one ends again and again.
func (l *Lab) shopLaunches(ctx context.Context) error {
	for _, r := range []struct {
		who    string
		before time.Duration
		run.LaunchRequest
	}{
		{"ben", 9 * time.Hour, run.LaunchRequest{Name: "ben-demo", TTL: 2 * time.Hour}},
		{"ann", 50 * time.Minute, run.LaunchRequest{Name: "ann", TTL: 8 * time.Hour}},
		{"grace", 40 * time.Minute, run.LaunchRequest{Name: "grace-checkout", TTL: 4 * time.Hour, Spec: pipeline.EnvironmentSpec{Instances: 2, Env: map[string]string{crashes: "1"}}}},
		{"ruth", 20 * time.Minute, run.LaunchRequest{Name: "a-rather-long-name-for-the-trial-of-prices", TTL: 24 * time.Hour}},
	} {
		l.clock.set(r.before)
		r.Pipeline, r.Configured = Shop, run.LaunchedByHand
		if _, err := l.Engine.As(pipeline.Person{Name: r.who}).Environments.Launch(ctx, r.LaunchRequest); err != nil {
			return err
		}
	}
	return nil
}

// shopPresent is what happens at the end: the newest build is tried, a promotion waits for an
// apply that nobody makes.
func (l *Lab) shopPresent(ctx context.Context, c configuration, id string, before time.Duration) error {
	l.clock.set(before - time.Minute)
	st, err := l.Engine.State(ctx, Shop)
	if err != nil {
		return err
	}
	if err := l.do(ctx, "ann", decision.Command{Verb: decision.Promote, Pipeline: Shop, Stage: "production", Build: st.Current["pre-production"].Build}); err != nil {
		return err
	}
	l.runner.number = ShopBuilds
	only := c
	only.stages = c.stages[:1]
	if _, err := l.apply(ctx, only, id); err != nil {
		return err
	}
	return l.advanceLive(ctx, c.stages[1])
}
