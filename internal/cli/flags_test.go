// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/run"
	"github.com/spf13/cobra"
)

// line is a command line of a command with options O, and what these hold then.
func line[O any](make func(*factory, func(context.Context, *O) error) *cobra.Command, holds func(O) any, given ...string) func(*testing.T) (any, error) {
	return func(t *testing.T) (any, error) {
		o, err := parse(t, make, given...)
		return holds(o), err
	}
}

// Each command gives its arguments and flags to what it runs, and refuses what it does not
// know before it runs anything.
func TestFlags(t *testing.T) {
	type list = []any
	promote := func(o promoteOptions) any { return list{o.pipeline, o.stage, o.build, o.back} }
	judge := func(o decideOptions) any {
		run, seen := "any", int64(-1)
		if o.looked.Run != nil {
			run = *o.looked.Run
		}
		if o.looked.Decision != nil {
			seen = *o.looked.Decision
		}
		return list{o.build, run, seen, o.lift, o.yes}
	}
	env := func(o envOptions) any {
		return list{o.pipeline, o.name, o.build, o.instanceType, o.ttl, o.ttlGiven, o.all, o.yes}
	}
	use := func(o useOptions) any { return list{o.at, o.line, o.everywhere, o.follow, o.lines} }
	try := func(o tryOptions) any { return list{o.pipeline, o.stage, o.ttl, o.keep} }
	watch := func(o watchOptions) any {
		return list{o.dir, o.terraform, o.interval, o.planOnly, o.once, o.verbose, o.vars, o.varFiles}
	}
	notify := func(o notifyOptions) any { return list{o.pipeline, o.flush, o.test} }
	diff := func(o diffOptions) any { return list{o.pipeline, o.from, o.to} }
	metrics := func(o metricsOptions) any { return list{o.pipeline, o.stage, o.since} }
	graph := func(o graphOptions) any { return list{o.pipeline, o.format, o.file} }
	images := func(o imagesOptions) any { return o.pipeline }
	start := func(o initOptions) any { return list{o.dir, o.service, o.target, o.platform} }
	doctor := func(o doctorOptions) any { return o.deep }
	local := func(o localOptions) any {
		return list{o.pipeline, o.dir, o.build, o.artifact, o.start, o.health, o.tests, o.once, o.keep, o.verbose, o.ttl}
	}
	ledger := func(o ledgerOptions) any { return list{o.pipeline, o.file} }
	verify := func(o ledgerOptions) any { return list{o.pipeline, o.since, o.checkpoint, o.publicKey} }
	checkpoint := func(o ledgerOptions) any { return list{o.pipeline, o.key, o.kmsKey, o.file} }
	contexts := func(o contextOptions) any { return list{o.verb, o.name} }
	status := func(o statusOptions) any { return list{o.pipeline, o.watch, o.interval} }
	logs := func(o logsOptions) any { return list{o.run, o.pipeline, o.stage, o.follow, o.step} }
	approve := func(f *factory, runF func(context.Context, *decideOptions) error) *cobra.Command {
		return newDecide(f, decision.Approve, runF)
	}
	noVars := []string(nil)
	for name, tt := range map[string]struct {
		line func(*testing.T) (any, error)
		want any // nil: it is refused as usage
	}{
		"approve a run":             {line(approve, judge, "shop", "qa", "b-1", "--run", "r-1"), list{"b-1", "r-1", int64(-1), false, false}},
		"approve without a run":     {line(approve, judge, "shop", "qa", "--run", ""), list{"", "", int64(-1), false, false}},
		"approve whatever the run":  {line(approve, judge, "shop", "qa"), list{"", "any", int64(-1), false, false}},
		"approve what was seen":     {line(approve, judge, "shop", "qa", "b-1", "--seen", "0"), list{"b-1", "any", int64(0), false, false}},
		"lift":                      {line(approve, judge, "shop", "qa", "b-1", "--lift", "--yes", "--seen", "7"), list{"b-1", "any", int64(7), true, true}},
		"what was seen is a number": {line(approve, judge, "shop", "qa", "--seen", "it"), nil},
		"rollback":                  {line(newRollback, promote, "shop", "production"), list{"shop", "production", "", true}},
		"rollback to a build":       {line(newRollback, promote, "shop", "production", "b-1"), list{"shop", "production", "b-1", true}},
		"rollback of the pipeline":  {line(newRollback, promote, "shop"), list{"shop", "", "", true}},
		"promote what there is":     {line(newPromote, promote), list{"", "", "", false}},
		"promote a build":           {line(newPromote, promote, "b-0123456789"), list{"", "", "b-0123456789", false}},
		"promote a build there":     {line(newPromote, promote, "production", "b-0123456789"), list{"production", "", "b-0123456789", false}},
		"promote to four":           {line(newPromote, promote, "shop", "production", "b-1", "b-2"), nil},

		"env launch":              {line(newEnvLaunch, env, "shop"), list{"shop", "", "", "", 8 * time.Hour, false, false, false}},
		"env launch with all":     {line(newEnvLaunch, env, "shop", "alice", "--build", "b-1", "--ttl", "2h", "--instance-type", "t4g.small"), list{"shop", "alice", "b-1", "t4g.small", 2 * time.Hour, true, false, false}},
		"env launch where it is":  {line(newEnvLaunch, env), list{"", "", "", "", 8 * time.Hour, false, false, false}},
		"env launch for ever":     {line(newEnvLaunch, env, "shop", "--ttl", "ever"), nil},
		"env list":                {line(newEnvList, env), list{"", "", "", "", time.Duration(0), false, false, false}},
		"env list of one":         {line(newEnvList, env, "shop", "--all"), list{"shop", "", "", "", time.Duration(0), false, true, false}},
		"env list of two":         {line(newEnvList, env, "shop", "till"), nil},
		"env extend":              {line(newEnvExtend, env, "shop", "alice"), list{"shop", "alice", "", "", 8 * time.Hour, false, false, false}},
		"env extend by":           {line(newEnvExtend, env, "shop", "alice", "--ttl", "8h"), list{"shop", "alice", "", "", 8 * time.Hour, true, false, false}},
		"env extend the one":      {line(newEnvExtend, env), list{"", "", "", "", 8 * time.Hour, false, false, false}},
		"env extend of three":     {line(newEnvExtend, env, "shop", "alice", "bob"), nil},
		"env destroy":             {line(newEnvDestroy, env, "shop", "alice", "--yes"), list{"shop", "alice", "", "", time.Duration(0), false, false, true}},
		"env destroy of what":     {line(newEnvDestroy, env, "--yes"), nil},
		"env forget":              {line(newEnvForget, env, "shop", "production@us", "--yes"), list{"shop", "production@us", "", "", time.Duration(0), false, false, true}},
		"env show":                {line(newEnvShow, use, "shop", "alice"), list{run.EnvironmentRef{Pipeline: "shop", Name: "alice"}, noVars, false, false, 0}},
		"env show of a stage":     {line(newEnvShow, use, "shop", "--stage", "production"), list{run.EnvironmentRef{Pipeline: "shop", Stage: "production"}, noVars, false, false, 0}},
		"env show of one":         {line(newEnvShow, use, "shop"), list{run.EnvironmentRef{Pipeline: "shop"}, noVars, false, false, 0}},
		"env show of both":        {line(newEnvShow, use, "shop", "alice", "--stage", "production"), nil},
		"env open":                {line(newEnvOpen, use, "shop", "alice"), list{run.EnvironmentRef{Pipeline: "shop", Name: "alice"}, noVars, false, false, 0}},
		"env open the one":        {line(newEnvOpen, use), list{run.EnvironmentRef{}, noVars, false, false, 0}},
		"env logs":                {line(newEnvLogs, use, "shop", "alice"), list{run.EnvironmentRef{Pipeline: "shop", Name: "alice"}, noVars, false, false, 100}},
		"env logs that go on":     {line(newEnvLogs, use, "shop", "alice", "-f", "--lines", "5"), list{run.EnvironmentRef{Pipeline: "shop", Name: "alice"}, noVars, false, true, 5}},
		"env exec":                {line(newEnvExec, use, "shop", "alice", "--", "ls", "-l"), list{run.EnvironmentRef{Pipeline: "shop", Name: "alice"}, []string{"ls", "-l"}, false, false, 0}},
		"env exec everywhere":     {line(newEnvExec, use, "shop", "--stage", "production", "--everywhere", "--", "df"), list{run.EnvironmentRef{Pipeline: "shop", Stage: "production"}, []string{"df"}, true, false, 0}},
		"env exec without a dash": {line(newEnvExec, use, "shop", "alice", "ls"), nil},
		"env exec in the one":     {line(newEnvExec, use, "--", "ls"), list{run.EnvironmentRef{}, []string{"ls"}, false, false, 0}},

		"try":                   {line(newTry, try, "shop"), list{"shop", "", 2 * time.Hour, false}},
		"try with all":          {line(newTry, try, "shop", "qa", "--ttl", "1h", "--keep"), list{"shop", "qa", time.Hour, true}},
		"try what waits":        {line(newTry, try), list{"", "", 2 * time.Hour, false}},
		"watch":                 {line(newWatch, watch), list{".", "", time.Minute, false, false, false, noVars, noVars}},
		"watch with all":        {line(newWatch, watch, "deploy", "--terraform", "tofu", "--interval", "5s", "--plan-only", "--once", "--verbose", "--var", "a=b,c", "--var", "d=e", "--var-file", "f"), list{"deploy", "tofu", 5 * time.Second, true, true, true, []string{"a=b,c", "d=e"}, []string{"f"}}},
		"watch all the time":    {line(newWatch, watch, "--interval", "1ms"), nil},
		"watch two":             {line(newWatch, watch, "a", "b"), nil},
		"notify":                {line(newNotify, notify), list{"", false, false}},
		"notify of one":         {line(newNotify, notify, "shop", "--flush"), list{"shop", true, false}},
		"notify as a test":      {line(newNotify, notify, "shop", "--test"), list{"shop", false, true}},
		"notify all as a test":  {line(newNotify, notify, "--test"), nil},
		"diff":                  {line(newDiff, diff, "shop"), list{"shop", "", ""}},
		"diff of one":           {line(newDiff, diff, "shop", "b-1"), list{"shop", "", "b-1"}},
		"diff of two":           {line(newDiff, diff, "shop", "b-1", "b-2"), list{"shop", "b-1", "b-2"}},
		"diff of three":         {line(newDiff, diff, "shop", "b-1", "b-2", "b-3"), nil},
		"diff of the pipeline":  {line(newDiff, diff, "b-0123456789", "b-1123456789"), list{"", "b-0123456789", "b-1123456789"}},
		"diff of builds":        {line(newDiff, diff, "b-0123456789", "b-1123456789", "b-2123456789"), nil},
		"metrics":               {line(newMetrics, metrics, "shop"), list{"shop", "", 90 * 24 * time.Hour}},
		"metrics with all":      {line(newMetrics, metrics, "shop", "--stage", "production", "--since", "12h"), list{"shop", "production", 12 * time.Hour}},
		"metrics since never":   {line(newMetrics, metrics, "shop", "--since", "0d"), nil},
		"metrics of the one":    {line(newMetrics, metrics), list{"", "", 90 * 24 * time.Hour}},
		"graph":                 {line(newGraph, graph, "shop"), list{"shop", "text", ""}},
		"graph with all":        {line(newGraph, graph, "shop", "--format", "dot", "-o", "shop.dot"), list{"shop", "dot", "shop.dot"}},
		"graph as a photograph": {line(newGraph, graph, "shop", "--format", "jpeg"), nil},
		"images":                {line(newImages, images), ""},
		"images of one":         {line(newImages, images, "shop"), "shop"},
		"images of two":         {line(newImages, images, "shop", "till"), nil},
		"init":                  {line(newInit, start), list{".", "", "", "local"}},
		"init with all":         {line(newInit, start, "repo", "--platform", "aws", "--service", "a/b", "--dir", "d"), list{"repo", "a/b", "d", "aws"}},
		"init elsewhere":        {line(newInit, start, "--platform", "mars"), nil},
		"doctor":                {line(newDoctor, doctor), false},
		"doctor of all":         {line(newDoctor, doctor, "--deep"), true},
		"doctor of one":         {line(newDoctor, doctor, "shop"), nil},

		"bootstrap local":           {line(newBootstrapLocal, local), list{"", ".", "", "", "", "", false, false, false, false, 12 * time.Hour}},
		"bootstrap local, pipeline": {line(newBootstrapLocal, local, "shop", "tree", "--tests", "--once", "--keep", "--verbose", "--ttl", "1h"), list{"shop", "tree", "", "", "", "", true, true, true, true, time.Hour}},
		"bootstrap local, commands": {line(newBootstrapLocal, local, "--build", "make", "--artifact", "a.tar.gz", "--start", "./a", "--health", "/up"), list{"", ".", "make", "a.tar.gz", "./a", "/up", false, false, false, false, 12 * time.Hour}},
		"bootstrap local, half":     {line(newBootstrapLocal, local, "--build", "make"), nil},
		"ledger verify":             {line(newLedgerVerify, verify), list{"", "", "", ""}},
		"ledger verify one":         {line(newLedgerVerify, verify, "shop", "--since", "1:a"), list{"shop", "1:a", "", ""}},
		"ledger verify checkpoint":  {line(newLedgerVerify, verify, "--checkpoint", "c", "--public-key", "k"), list{"", "", "c", "k"}},
		"ledger verify no key":      {line(newLedgerVerify, verify, "--checkpoint", "c"), nil},
		"ledger verify both":        {line(newLedgerVerify, verify, "--since", "1:a", "--checkpoint", "c", "--public-key", "k"), nil},
		"ledger head":               {line(newLedgerHead, ledger, "shop"), list{"shop", ""}},
		"ledger checkpoint":         {line(newLedgerCheckpoint, checkpoint, "shop", "--key", "k", "-o", "f"), list{"shop", "k", "", "f"}},
		"ledger checkpoint kms":     {line(newLedgerCheckpoint, checkpoint, "--kms-key", "arn"), list{"", "", "arn", ""}},
		"ledger checkpoint no key":  {line(newLedgerCheckpoint, checkpoint, "shop"), nil},
		"ledger checkpoint keys":    {line(newLedgerCheckpoint, checkpoint, "--key", "k", "--kms-key", "arn"), nil},
		"ledger verify two":         {line(newLedgerVerify, ledger, "shop", "till"), nil},
		"ledger export":             {line(newLedgerExport, ledger, "shop", "-o", "file"), list{"shop", "file"}},
		"ledger export two":         {line(newLedgerExport, ledger, "shop", "till"), nil},
		"ledger import":             {line(newLedgerImport, ledger, "-"), list{"", "-"}},
		"ledger import nothing":     {line(newLedgerImport, ledger), nil},
		"context":                   {line(newContext, contexts), list{"list", ""}},
		"context list":              {line(newContext, contexts, "list"), list{"list", ""}},
		"context show":              {line(newContext, contexts, "show"), list{"show", ""}},
		"context set":               {line(newContext, contexts, "set", "team"), list{"set", "team"}},
		"context use":               {line(newContext, contexts, "use", "-"), list{"use", "-"}},
		"context remove":            {line(newContext, contexts, "remove", "team"), list{"remove", "team"}},
		"context set what":          {line(newContext, contexts, "set"), nil},
		"context of a name":         {line(newContext, contexts, "team"), nil},
		"status that stays":         {line(newStatus, status, "shop", "--watch", "--interval", "5s"), list{"shop", true, 5 * time.Second}},
		"status all the time":       {line(newStatus, status, "--interval", "1ms"), nil},
		"logs of a stage":           {line(newLogs, logs, "shop", "commit", "-f", "--step", "build"), list{"", "shop", "commit", true, "build"}},
		"logs of the last":          {line(newLogs, logs), list{"", "", "", false, ""}},
		"logs of the only":          {line(newLogs, logs, "commit"), list{"", "commit", "", false, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tt.line(t)
			var usage *usageError
			if (tt.want == nil) != errors.As(err, &usage) || tt.want != nil && err != nil {
				t.Fatalf("error %v, want a usage error: %v", err, tt.want == nil)
			}
			if tt.want != nil && !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %#v, want %#v", got, tt.want)
			}
		})
	}
}
