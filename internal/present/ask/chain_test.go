// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ask_test

import (
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/ask"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// The chain of a build names the other ledger with its head, where the image is published, and
// where the build runs.
func TestChain(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	ago := func(hours int) time.Time { return now.Add(-time.Duration(hours) * time.Hour) }
	on := pipeline.Elsewhere{Ledger: "l-1", Pipeline: "images", Stage: "tested", Build: "b-9999999999", Number: 9, Head: pipeline.Anchor{Sequence: 41, Hash: "9f86"}}
	none := on
	none.Build, none.Number = "", 0
	images := map[string]string{"us-east-1": "ami-2", "eu-west-1": "ami-1"}
	for want, got := range map[string]string{
		`stage "tested" of pipeline "images" had passed #9 (b-9999999999); ledger l-1, verified up to event 41:9f86; read before run r-1, which began 3h ago`: ask.Gated(report.Gated{Run: "r-1", At: ago(3), On: on}, now),
		`stage "tested" of pipeline "images" had passed no build; ledger l-1, verified up to event 41:9f86, when it was applied last`:                         ask.Gated(report.Gated{On: none}, now),
		"/acme/base has led to it for 3h, before that to #5 (b-5555555555): ami-1 in eu-west-1, ami-2 in us-east-1":                                           ask.Published(report.Published{Channel: "/acme/base", Standing: report.ChannelLeads, Since: ago(3), Images: images, Before: &five}, now),
		"a channel without a name has led to it for 3h, though nothing publishes by it any more":                                                              ask.Published(report.Published{Standing: report.ChannelLeads, Since: ago(3), Left: true}, now),
		"/acme/base is on its way to it, from #5 (b-5555555555)":                                                                                              ask.Published(report.Published{Channel: "/acme/base", Standing: report.ChannelMoves, Since: ago(3), After: &five}, now),
		"/acme/base led to it until 3h ago, and leads to #9 (b-9999999999): ami-1 in eu-west-1, ami-2 in us-east-1":                                           ask.Published(report.Published{Channel: "/acme/base", Standing: report.ChannelLed, Since: ago(3), Images: images, After: &nine}, now),
		"running in account 2, eu-west-1 for 3h  https://eu.example.com":                                                                                      ask.Held(report.Held{Status: pipeline.EnvRunning, Place: "account 2, eu-west-1", Since: ago(3), Endpoint: "https://eu.example.com"}, now),
		"degraded": ask.Held(report.Held{Status: pipeline.EnvDegraded}, now),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
