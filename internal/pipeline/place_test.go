// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline_test

import (
	"strings"
	"testing"

	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	. "github.com/penstock-io/terraform-provider-penstock/internal/pipeline/pipelinetest"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/reason"
)

func TestCheckStage(t *testing.T) {
	st := Tell(t).Stages(CommitOf("x"), Named("dev", "qa"), Named("qa", "commit"), Named("free"), A(TypeBootstrap)).State()
	tests := map[string]struct {
		stage Stage
		says  string
	}{
		"fine":                    {Named("live", "qa"), ""},
		"after itself":            {Named("qa", "qa"), "after itself"},
		"after nothing":           {Named("qa", "nowhere"), `no stage "nowhere"`},
		"a cycle of two":          {Named("qa", "dev"), "after each other"},
		"a cycle of builds":       {A(TypeCommit, "free"), "makes the builds that stage \"free\""},
		"after a bootstrap stage": {A(TypeCommit, "bootstrap"), ""},
		"a second commit stage":   {func() Stage { s := A(TypeCommit, "qa"); s.Name = "nightly"; return s }(), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := CheckStage(st, tt.stage)
			if (err == nil) != (tt.says == "") || err != nil && (!strings.Contains(err.Error(), tt.says) || CodeOf(err) != CodeInvalid || reason.Hint(err) == "") {
				t.Errorf("error %v (%s), want %q", err, reason.Hint(err), tt.says)
			}
		})
	}
	st.Pipeline.Service.Start = ""
	if err := CheckStage(st, A(TypeAcceptance, "commit")); err == nil || !strings.Contains(err.Error(), "service.start") {
		t.Errorf("an environment without a service: %v", err)
	}
}

// Two commit stages may have a pipeline each to themselves, but no stage comes after both,
// however far below them, unless they make the same builds.
func TestStagesThatNeverMeet(t *testing.T) {
	commit := func(name, repository, digest string, after ...string) Stage {
		return Stage{Pipeline: "shop", Name: name, Type: TypeCommit, After: after, BaseImage: "img-1",
			Source: &SourceRef{Repository: repository, Commit: "c" + digest, Digest: digest}}.WithDefaults(nil, nil)
	}
	api, web := commit("api", "api.git", "x"), commit("web", "web.git", "y")
	apiQA, webQA, free := Named("api-qa", "api"), Named("web-qa", "web"), Named("free")
	both := Named("both", "api-qa", "web-qa")
	undecided := web
	undecided.Source = nil
	rebased, again, older := commit("web", "api.git", "x"), commit("web", "api.git", "x"), commit("web", "api.git", "w")
	rebased.BaseImage = "img-2"
	images := commit("web", "api.git", "w")
	images.Source.Commit = api.Source.Commit
	pinned := PinnedTo(both, ID("x"))
	tests := map[string]struct {
		recorded []Stage
		stage    Stage
		says     string
	}{
		"separate ways":                        {[]Stage{api, web, apiQA}, webQA, ""},
		"below both at once":                   {[]Stage{api, web}, Named("live", "api", "web"), `"api" and "web"`},
		"below a stage of each":                {[]Stage{api, web, apiQA, webQA}, both, `"api-qa" (whose builds "api" makes) and "web-qa" (whose builds "web" makes)`},
		"a pin opens nothing":                  {[]Stage{api, web, apiQA, webQA}, pinned, "no build can ever pass both"},
		"far below":                            {[]Stage{api, web, apiQA, webQA, Named("a", "api-qa", "free"), Named("b", "web-qa"), free}, Named("live", "a", "b"), "no build can ever pass both"},
		"once is enough":                       {[]Stage{api, web, apiQA, webQA, both}, Named("live", "both"), ""},
		"one of them, and one that takes all":  {[]Stage{api, web, free}, Named("live", "api", "free"), ""},
		"both, and one that takes all":         {[]Stage{api, web, free}, Named("live", "api", "free", "web"), `"api" and "web"`},
		"a bootstrap stage, too":               {[]Stage{api, web, A(TypeBootstrap)}, Named("live", "api", "bootstrap"), ""},
		"a commit stage after another":         {[]Stage{api, apiQA}, commit("web", "web.git", "y", "api-qa"), `"api-qa" (whose builds "api" makes) and "web"`},
		"the same source":                      {[]Stage{api, again}, Named("live", "api", "web"), ""},
		"the same source, at another commit":   {[]Stage{api, older}, Named("live", "api", "web"), ""},
		"the same source, on another image":    {[]Stage{api, rebased}, Named("live", "api", "web"), "no build can ever pass both"},
		"other files of the same commit":       {[]Stage{api, images}, Named("live", "api", "web"), "no build can ever pass both"},
		"a source that is not known yet":       {[]Stage{api, undecided}, Named("live", "api", "web"), ""},
		"a stage that is gone":                 {[]Stage{api, web, Named("old", "gone")}, Named("live", "api", "old"), ""},
		"a branch that is impossible already":  {[]Stage{api, web, apiQA, both, webQA}, Named("live", "both", "api-qa"), ""},
		"two ways of one commit stage":         {[]Stage{api, web, apiQA, Named("api-load", "api")}, Named("live", "api-qa", "api-load"), ""},
		"a cycle of stages ends, and is named": {[]Stage{api, web, Named("a", "b"), Named("b", "a")}, Named("live", "a", "web"), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := CheckStage(Tell(t).Stages(tt.recorded...).State(), tt.stage)
			if (err == nil) != (tt.says == "") || err != nil && (!strings.Contains(err.Error(), tt.says) || CodeOf(err) != CodeInvalid || reason.Hint(err) == "") {
				t.Errorf("error %v (%s), want %q", err, reason.Hint(err), tt.says)
			}
		})
	}
}

func TestCheckData(t *testing.T) {
	st := Tell(t).Route().State()
	for from, says := range map[string]string{
		"": "", "production": "", "later": "", "capacity": `"capacity", which keeps no environment`, "qa": `"qa", the stage itself`,
	} {
		s := Named("qa", "commit")
		s.Env = &EnvironmentSpec{DataFrom: from, Unmasked: true}
		err := CheckData(st, s)
		if (err == nil) != (says == "") || err != nil && (!strings.Contains(err.Error(), "data_from names "+says) || CodeOf(err) != CodeInvalid || reason.Hint(err) == "") {
			t.Errorf("data_from %q: %v (%s)", from, err, reason.Hint(err))
		}
	}
}
