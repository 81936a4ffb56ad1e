// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/decision"
	"github.com/penstock-io/terraform-provider-penstock/internal/gate"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// databases is a pipeline of three stages whose service works on its data.
func databases(t *testing.T) *desk {
	t.Helper()
	d := open(t)
	d.shop.Service.Backup, d.shop.Service.Restore, d.shop.Service.Migrate, d.shop.Service.Finish = "backup", "restore", "migrate", "finish"
	return d
}

// short is a route of three stages, with production moved by people.
func short(digest string) []pipeline.Stage {
	return []pipeline.Stage{commit(digest), stage(pipeline.TypeAcceptance, "commit"), stage(pipeline.TypeProduction, "acceptance")}
}

// promote promotes a build, and applies.
func (d *desk) promote(digest string) error {
	if err := d.apply(short(digest)); err != nil {
		return err
	}
	_, err := d.Decisions.Do(d.ctx, decision.Command{Verb: decision.Promote, Pipeline: "shop", Stage: "production", Build: build(digest)})
	return errors.Join(err, d.apply(short(digest)))
}

// did returns what hooks did since the last call for a build, in production and before.
func (d *desk) did() []string {
	d.life.world.mu.Lock()
	defer d.life.world.mu.Unlock()
	var said []string
	for _, line := range d.hooked {
		for n := range 9 {
			line = strings.ReplaceAll(line, build(fmt.Sprint(n)), fmt.Sprint(n))
		}
		said = append(said, line)
	}
	d.hooked = nil
	return said
}

func (d *desk) wantDid(when string, want ...string) {
	d.t.Helper()
	if got := d.did(); !slices.Equal(got, want) {
		d.t.Errorf("%s: the hooks did %q, want %q", when, got, want)
	}
}

func (d *desk) state() *pipeline.State {
	d.t.Helper()
	st, err := d.State(context.Background(), "shop")
	d.must(err)
	return st
}

// A backup is taken before each migration in a lasting environment but the first, and kept
// with the run. A rollback migrates nothing back by itself; one that asks for it restores the
// backup from before what it leaves, once.
func TestBackupAndRestore(t *testing.T) {
	d := databases(t)
	d.must(d.promote("1"))
	d.wantDid("the first deployment", "migrate 1", "migrate 1", "finish 1")
	d.must(d.promote("2"))
	d.wantDid("the second", "migrate 2", "backup 2", "migrate 2", "finish 2")
	run := d.status("production").Run
	if run.Backup != "backup-1" {
		t.Errorf("the run has the backup %q", run.Backup)
	}
	whole, err := d.config.Ledger.(memLedger).Run(t.Context(), "shop", run.ID)
	d.must(err)
	names := []string{}
	for _, h := range whole.Hooks {
		names = append(names, h.Name)
		if h.Log == nil || h.Log.To <= h.Log.From || h.Error != "" {
			t.Errorf("of %s the record has %+v", h.Name, h)
		}
	}
	if !slices.Equal(names, []string{"service.backup", "service.migrate"}) || whole.Backup != "backup-1" {
		t.Errorf("the run has the hooks %q and the backup %q", names, whole.Backup)
	}
	log := d.logs["shop/"+run.ID].String()
	for _, line := range []string{`== hook "service.backup": backup`, `== hook "service.backup" passed in`, "the backup is backup-1"} {
		if !strings.Contains(log, line) {
			t.Errorf("the log lacks %q:\n%s", line, log)
		}
	}
	d.must(d.promote("3"))
	d.wantDid("the third", "migrate 3", "backup 3", "migrate 3", "finish 3")

	c := decision.Command{Verb: decision.Rollback, Pipeline: "shop", Stage: "production", Build: build("1"), RestoreData: true}
	done, err := d.Decisions.Do(d.ctx, c)
	d.must(err)
	if r := done.Promotion.Restore; r == nil || r.Backup != "backup-1" || r.Build != build("2") {
		t.Fatalf("from 3 to 1 it restores %+v", r)
	}
	d.must(d.apply(short("3")))
	d.wantDid("the rollback", "backup 1", "restore 1 backup-1", "migrate 1", "finish 1")
	if got := d.status("production"); got.Current.Build != build("1") || got.Run.Backup != "backup-3" {
		t.Errorf("production is at %s with %+v", got.Current.Build, got.Run)
	}
	d.must(d.apply(short("3")))
	d.wantDid("the next apply")

	// Without being asked, nothing is restored, and what was asked before is over.
	d.must(d.promote("4"))
	d.did()
	_, err = d.Decisions.Do(d.ctx, decision.Command{Verb: decision.Rollback, Pipeline: "shop", Stage: "production"})
	d.must(err)
	d.must(d.apply(short("4")))
	d.wantDid("a rollback of the build alone", "backup 1", "migrate 1", "finish 1")
	pinned := short("4")
	pinned[2].Pin = build("4")
	d.must(d.apply(pinned))
	pinned[2].Pin = build("1")
	d.did()
	d.must(d.apply(pinned))
	d.wantDid("a rollback by a pin", "backup 1", "migrate 1", "finish 1")
}

// What can't be restored is refused, and what can be is named.
func TestRestoreRefused(t *testing.T) {
	d := databases(t)
	d.must(d.promote("1"))
	d.must(d.promote("2"))
	d.must(d.promote("3"))
	rollback := decision.Command{Verb: decision.Rollback, Pipeline: "shop", Stage: "production", Build: build("1"), RestoreData: true}
	for says, change := range map[string]func(*decision.Command){
		`no backup "nightly"`: func(c *decision.Command) { c.Backup = "nightly" },
		"not with a rollback": func(c *decision.Command) { c.Verb = decision.Promote },
	} {
		c := rollback
		change(&c)
		if _, err := d.Decisions.Do(d.ctx, c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("it says %v, want %q", err, says)
		}
	}
	named := rollback
	named.Backup = "backup-7"
	d.did()
	all := d.state().BackupsOf("production")
	named.Backup = all[len(all)-1].Name
	done, err := d.Decisions.Do(d.ctx, named)
	d.must(err)
	if r := done.Promotion.Restore; r == nil || r.Backup != named.Backup || r.Build != build("3") {
		t.Errorf("by its name it restores %+v", r)
	}
	d.shop.Service.Restore = ""
	if err := d.apply(short("3")); err == nil || !strings.Contains(err.Error(), "no longer has service.restore") {
		t.Errorf("without service.restore: %v", err)
	}
	if _, err := d.Decisions.Do(d.ctx, rollback); err == nil || !strings.Contains(err.Error(), "service.restore") {
		t.Errorf("without service.restore a rollback says %v", err)
	}
	if got := d.status("production"); got.Environment.Build != build("3") {
		t.Errorf("production serves %s", got.Environment.Build)
	}
}

// A backup that fails, or has no name, stops the deployment before the migration.
func TestBackupFails(t *testing.T) {
	d := databases(t)
	d.must(d.promote("1"))
	d.did()
	d.shop.Service.Backup = "fail"
	if err := d.promote("2"); err == nil || !strings.Contains(err.Error(), "service.backup") {
		t.Fatalf("with a backup that fails: %v", err)
	}
	d.wantDid("a deployment whose backup fails", "migrate 2", "backup 2")
	if got := d.status("production"); got.Environment.Build != build("1") || got.Run.Status != pipeline.RunFailed {
		t.Errorf("production serves %s, its run %+v", got.Environment.Build, got.Run)
	}
	d.shop.Service.Backup = "two\twords"
	if err := d.apply(short("2")); err == nil || !strings.Contains(err.Error(), "can't be printed") {
		t.Fatalf("with a name that can't be printed: %v", err)
	}
	d.shop.Service.Backup = "***/2" // a platform has masked a part of it
	if err := d.apply(short("2")); err == nil || !strings.Contains(err.Error(), "contains a secret") {
		t.Fatalf("with a name that is masked in part: %v", err)
	}
	d.shop.Service.Backup = "backup"
	d.did()
	d.must(d.apply(short("2")))
	d.wantDid("the next one", "backup 2", "migrate 2", "finish 2")
}

// The data of production is copied by the service's own command, which sees both
// environments, and masked before anything else sees it.
func TestCopyAndMask(t *testing.T) {
	d := databases(t)
	d.shop.Service.Backup, d.shop.Service.Restore, d.shop.Service.Finish = "", "", ""
	d.shop.Service.Seed = "seed"
	pre := stage(pipeline.TypePreProduction, "acceptance")
	pre.Env.Unmasked = false
	stages := func(digest string) []pipeline.Stage {
		all := append(short(digest), pre)
		all[2].Env.Env = map[string]string{"COLOUR": "green"}
		return all
	}
	d.must(d.promote("1"))
	err := d.apply(stages("1"))
	if pipeline.CodeOf(err) != pipeline.CodeInvalid || !strings.Contains(err.Error(), `the data of "production", and nothing masks it`) {
		t.Fatalf("without a mask: %v", err)
	}
	d.did()
	d.shop.Service.Copy, d.shop.Service.Mask = "copy", "mask"
	d.must(d.apply(stages("1")))
	endpoint := d.status("production").Environment.Endpoint
	d.wantDid("with a mask", "copy 1 from "+endpoint+" green", "mask 1", "migrate 1")
	d.shop.Service.Copy = ""
	d.must(d.apply(stages("1")))
	d.wantDid("with the platform's copy", "mask 1", "migrate 1")
	d.shop.Service.Mask, pre.Env.Unmasked = "", true
	d.must(d.apply(stages("1")))
	d.wantDid("unmasked", "migrate 1")
}

// The finish runs when the build before can't be taken again any more, by any apply or
// collection after that. It waits that long even over kills, and fails without harm.
func TestFinish(t *testing.T) {
	d := databases(t)
	d.shop.Service.Backup, d.shop.Service.Restore, d.shop.Service.FinishAfter = "", "", 24*time.Hour
	d.must(d.promote("1"))
	d.must(d.promote("2"))
	d.wantDid("two deployments within a day", "migrate 1", "migrate 1", "migrate 2", "migrate 2")
	f := d.state().Finishes["production"]
	if f.Build != build("2") || f.Done() || f.Due || f.Skipped == nil || f.Skipped.Build != build("1") || !strings.Contains(f.Skipped.Reason, "before it was due") {
		t.Errorf("the finish that is to come: %+v, skipped %+v", f, f.Skipped)
	}
	if got := d.status("production"); got.Move.Action != gate.ActionNone {
		t.Errorf("before it is due: %s", got.Move.Action)
	}
	d.clock = d.clock.Add(25 * time.Hour)
	d = d.again()
	d.shop.Service = d.state().Pipeline.Service
	if got := d.status("production"); got.Move.Action != gate.ActionFinish || !strings.Contains(got.Move.Why.String(), "service.finish of build #2 is due") {
		t.Errorf("when it is due: %s, %s", got.Move.Action, got.Move.Why)
	}
	d.shop.Service.Finish = "fail"
	if err := d.apply(short("2")); err == nil || !strings.Contains(err.Error(), "the table is locked") {
		t.Fatalf("a finish that fails: %v", err)
	}
	if f := d.state().Finishes["production"]; f.Tries != 1 || !strings.Contains(f.Error, "exit status 7") || !f.Due || f.Done() {
		t.Errorf("after it failed: %+v", f)
	}
	if got := d.status("production"); got.Environment.Build != build("2") || got.Move.Action != gate.ActionFinish {
		t.Errorf("after it failed production serves %s, next %s", got.Environment.Build, got.Move.Action)
	}
	d.shop.Service.Finish = "finish"
	_, err := d.Pipelines.Update(d.ctx, d.shop)
	d.must(err)
	done, err := d.Stages.FinishDue(d.ctx, "shop")
	if d.must(err); !slices.Equal(done, []string{"production"}) {
		t.Errorf("done at %q", done)
	}
	d.wantDid("then", "finish 2", "finish 2")
	if f := d.state().Finishes["production"]; !f.Done() || f.Error != "" || f.Due {
		t.Errorf("after it was done: %+v", f)
	}
	d.must(d.apply(short("2")))
	d.wantDid("the next apply")

	// Going forward, what is due is done before the next build is migrated in; going back
	// cancels it.
	d.must(d.promote("3"))
	d.clock = d.clock.Add(25 * time.Hour)
	d = d.again()
	d.shop.Service = d.state().Pipeline.Service
	d.did()
	d.must(d.apply(short("4")[:2]))
	_, err = d.Decisions.Do(d.ctx, decision.Command{Verb: decision.Promote, Pipeline: "shop", Stage: "production", Build: build("4")})
	d.must(err)
	d.must(d.apply(short("4")))
	d.wantDid("the next deployment", "migrate 4", "finish 3", "migrate 4")
	d.clock = d.clock.Add(25 * time.Hour)
	d = d.again()
	d.shop.Service = d.state().Pipeline.Service
	_, err = d.Decisions.Do(d.ctx, decision.Command{Verb: decision.Rollback, Pipeline: "shop", Stage: "production", Build: build("3")})
	d.must(err)
	d.must(d.apply(short("4")))
	d.wantDid("a rollback", "migrate 3")
	if f := d.state().Finishes["production"]; f.Build != build("3") || f.Skipped == nil || !strings.Contains(f.Skipped.Reason, "went back") {
		t.Errorf("after the rollback: %+v", f)
	}
}

// Whatever is killed anywhere, no build is migrated in before a backup was recorded, the
// backup is restored, and nothing is restored again once that is recorded.
func TestDataSurvivesKills(t *testing.T) {
	before := databases(t)
	before.must(before.promote("1"))
	before.must(before.promote("2"))
	_, err := before.Decisions.Do(before.ctx, decision.Command{Verb: decision.Rollback, Pipeline: "shop", Stage: "production", RestoreData: true})
	before.must(err)
	before.did()
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			d := start(t, before.copied(), t.TempDir())
			d.shop.Service = before.shop.Service
			d.limit, d.after = n, after
			if err := d.apply(short("2")); err == nil {
				break
			}
			d = d.again()
			d.shop.Service = before.shop.Service
			recorded := slices.ContainsFunc(d.record.History("shop"), func(e pipeline.Event) bool { return e.Kind == pipeline.DataRestored })
			first := len(d.hooked)
			if err := d.apply(short("2")); err != nil {
				t.Fatalf("killed at call %d (after %v): %v", n, after, err)
			}
			second := slices.Clone(d.hooked[first:])
			all := strings.Join(d.did(), ", ")
			if restores := strings.Count(strings.Join(second, ","), "restore"); recorded && restores > 0 {
				t.Errorf("killed at call %d (after %v): restored again: %s", n, after, all)
			}
			if !strings.Contains(all, "restore 1 backup-1") || strings.Contains(all, "restore 1 backup-2") || !strings.HasSuffix(all, "finish 1") {
				t.Errorf("killed at call %d (after %v): %s", n, after, all)
			}
			if first := strings.Index(all, "backup 1"); first < 0 || first > strings.Index(all, "restore") {
				t.Errorf("killed at call %d (after %v): restored without a backup: %s", n, after, all)
			}
			if got := d.status("production"); got.Current.Build != build("1") || got.Move.Action != gate.ActionNone {
				t.Errorf("killed at call %d (after %v): production is at %s, next %s", n, after, got.Current.Build, got.Move.Action)
			}
			if f := d.state().Finishes["production"]; !f.Done() || f.Build != build("1") {
				t.Errorf("killed at call %d (after %v): the finish is %+v", n, after, f)
			}
		}
	}
}
