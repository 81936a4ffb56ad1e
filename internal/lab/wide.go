// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// WideBuilds is how many builds the wide pipeline has.
const WideBuilds = 12

// The regions between which the wide pipeline fans out.
var (
	acceptanceRegions = []string{"eu-west-1", "us-east-1", "ap-southeast-1", "sa-east-1"}
	productionRegions = []string{"eu-west-1", "us-east-1", "us-west-2", "ap-southeast-1"}
)

// wideConfiguration is the configuration of the wide pipeline.
func (l *Lab) wideConfiguration() configuration {
	c := configuration{
		pipeline: pipeline.Pipeline{
			Name: Wide, Owner: l.App.Owner, Scale: pipeline.Scale{Instances: 1}, Service: service,
			Authorization: &pipeline.Authorization{Approve: []string{"qa-lead", "@security"}, Groups: map[string][]string{"security": {"sid"}}, Override: []string{"sid"}},
		},
		paths: &pipeline.Paths{Configuration: []string{"config/**"}},
		repo:  filepath.Join(l.options.Dir, "wide.git"),
	}
	add := func(kind pipeline.StageType, approval bool, name string, after ...string) {
		no := false
		s := pipeline.Stage{Pipeline: Wide, Owner: l.App.Owner, Type: kind, Name: name, After: after, Steps: []pipeline.Step{{Name: "check", Command: "make check"}}}
		if kind == pipeline.TypeCommit {
			s.Artifact = "dist.tar.gz"
			s.Steps = []pipeline.Step{{Name: "build", Command: "make dist.tar.gz"}, {Name: "unit tests", Command: "make test", Report: "junit.xml"}}
		}
		if name == "acceptance-ap-southeast-1" {
			s.Steps = append(s.Steps, pipeline.Step{Name: "journeys", Command: "make journeys"})
		}
		c.stages = append(c.stages, s.WithDefaults(&approval, &no))
	}
	add(pipeline.TypeCommit, false, "commit")
	add(pipeline.TypeCustom, false, "contract-tests-with-partners", "commit")
	add(pipeline.TypeCustom, false, "static-analysis", "commit")
	var accepted []string
	for _, region := range acceptanceRegions {
		add(pipeline.TypeCustom, false, "acceptance-"+region, "static-analysis")
		accepted = append(accepted, "acceptance-"+region)
	}
	add(pipeline.TypeExploratory, true, "exploratory", accepted...)
	add(pipeline.TypeCustom, false, "capacity-of-everything", accepted...)
	add(pipeline.TypeCustom, true, "security-review", "contract-tests-with-partners")
	add(pipeline.TypeCustom, false, "pre-production-eu-west-1", "exploratory", "capacity-of-everything", "security-review")
	var released []string
	for _, region := range productionRegions {
		add(pipeline.TypeProduction, false, "production-"+region, "pre-production-eu-west-1")
		released = append(released, "production-"+region)
	}
	add(pipeline.TypeCustom, false, "smoke-tests-after-release", released...)
	return c
}

// tellWide makes the wide pipeline. Its newest build is tried in one region, and has failed
// with the partners.
func tellWide(ctx context.Context, l *Lab) error {
	c := l.wideConfiguration()
	commits := make([]commit, WideBuilds)
	for i := range commits {
		commits[i] = commit{
			author: authors[i%len(authors)], message: fmt.Sprintf("%s, everywhere (%d)", messages[i%len(messages)], i+1), file: "src/main.txt",
			before: time.Duration(WideBuilds-1-i)*9*time.Hour + 25*time.Minute,
		}
	}
	l.clock.set(commits[0].before)
	ids, err := makeRepository(ctx, c.repo, l.clock.end, commits)
	if err != nil {
		return err
	}
	if err := l.define(ctx, c); err != nil {
		return err
	}
	l.App.Source = l.App.NewSource("")
	for i, id := range ids {
		l.clock.set(commits[i].before - time.Minute)
		l.runner.number = i + 1
		if i == 4 || i == WideBuilds-1 {
			l.runner.fail(Wide, "contract-tests-with-partners", failure{step: "check", exit: 7})
		}
		if i == WideBuilds-1 {
			break
		}
		if err := l.wideBuild(ctx, c, i+1, id); err != nil {
			return err
		}
	}
	return l.widePresent(ctx, c, ids[WideBuilds-1])
}

// wideBuild is what happens to a build until the next commit.
func (l *Lab) wideBuild(ctx context.Context, c configuration, n int, id string) error {
	build, err := l.apply(ctx, c, id)
	if err != nil || n%3 != 2 || n == 5 {
		return err
	}
	for stage, who := range map[string]string{"exploratory": "qa-lead", "security-review": "sid"} {
		if err := l.do(ctx, who, decision.Command{Verb: decision.Approve, Pipeline: Wide, Stage: stage, Build: build}); err != nil {
			return err
		}
	}
	if _, err := l.apply(ctx, c, id); err != nil {
		return err
	}
	for i, region := range productionRegions {
		if n > 8 && i > 1 { // the newest is in two regions only
			break
		}
		if err := l.do(ctx, "ann", decision.Command{Verb: decision.Promote, Pipeline: Wide, Stage: "production-" + region, Build: build}); err != nil {
			return err
		}
	}
	_, err = l.apply(ctx, c, id)
	return err
}

// widePresent is what happens at the end.
func (l *Lab) widePresent(ctx context.Context, c configuration, id string) error {
	live := slices.IndexFunc(c.stages, func(s pipeline.Stage) bool { return s.Name == "acceptance-ap-southeast-1" })
	now := c
	now.stages = c.stages[:live]
	if _, err := l.apply(ctx, now, id); err != nil {
		return err
	}
	return l.advanceLive(ctx, c.stages[live])
}
