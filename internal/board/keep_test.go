// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// Sessions go on after a restart, for as long as they would have without one: those of people
// who still get in. The file tells nobody how to sign in.
func TestKeptSessions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "board", "7436.json")
	ann := pipeline.Person{Name: "ann", Groups: []string{"testers"}}
	options := func(who pipeline.Person) Options {
		return Options{Access: NewToken(who), Sessions: path, Logger: hclog.NewNullLogger()}
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		first := keptSessions(ctx, options(ann))
		secret, s := first.begin(Arrival{Who: ann, Key: hashOf("key"), Proof: "proof"})
		gone, _ := first.begin(Arrival{Who: ann})
		idle, _ := first.begin(Arrival{Who: ann})
		first.finish(gone)
		time.Sleep(idleLimit - time.Minute)
		first.find(secret, true)
		first.close()
		end()
		synctest.Wait()
		if s.ctx.Err() == nil {
			t.Fatal("the board has not ended")
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, hidden := range []string{secret, idle, "proof", `"key"` + `:"key"`} {
			if strings.Contains(string(data), hidden) {
				t.Errorf("the file has %s: %s", hidden, data)
			}
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the file is %v, %v", info, err)
		}

		time.Sleep(2 * time.Minute)
		again := keptSessions(t.Context(), options(pipeline.Person{Name: "ann", Groups: []string{"others"}}))
		found := again.find(secret, true)
		if found == nil || !found.proves("key") || found.proves("") || found.person.Groups[0] != "others" {
			t.Fatalf("the session is %+v", found)
		}
		if again.find(gone, true) != nil || again.find(idle, true) != nil {
			t.Error("a session goes on that was signed out, or that nobody used")
		}
		if others := keptSessions(t.Context(), options(pipeline.Person{Name: "bob"})); others.find(secret, true) != nil {
			t.Error("the board of another lets in ann")
		}
		time.Sleep(sessionLife - idleLimit)
		synctest.Wait()
		if found.ctx.Err() == nil || again.find(secret, true) != nil {
			t.Error("a restart makes the session longer")
		}
	})
}

// What a killed program has of the file is what people were signed in with; a file that is
// none signs people out, and the board begins.
func TestKeptSessionsOfTheKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "7436.json")
	ann := pipeline.Person{Name: "ann"}
	o := Options{Access: NewToken(ann), Sessions: path, Logger: hclog.NewNullLogger()}
	synctest.Test(t, func(t *testing.T) {
		first := keptSessions(t.Context(), o)
		secret, _ := first.begin(Arrival{Who: ann})
		for range 6 { // longer than anybody may do nothing
			time.Sleep(sessionLife / 8)
			first.find(secret, true)
		}
		if again := keptSessions(t.Context(), o); again.find(secret, true) == nil {
			t.Error("somebody who has used it all the time is signed out")
		}
	})
	for _, text := range []string{"", "{", "[]", `{"realm":"oidc","sessions":[{"id":"a","person":{"Name":"ann"}}]}`, `{"realm":"token","sessions":[{"id":"a","person":{"Name":"ann"},"began":"2999-01-01T00:00:00Z","used":"2999-01-01T00:00:00Z"}]}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if all := keptSessions(t.Context(), o); len(all.all) != 0 {
			t.Errorf("%q lets in %d", text, len(all.all))
		}
	}
	o.Access = &Proxy{}
	if all := keptSessions(t.Context(), o); all.keep != nil {
		t.Error("what a proxy says is kept")
	}
}

// One browser and one person have so many streams, and get them back.
func TestStreamsAreCounted(t *testing.T) {
	all := newSessions(t.Context())
	_, one := all.begin(Arrival{Who: pipeline.Person{Name: "ann"}})
	var leaves []func()
	for leave, ok := all.stream(one); ok; leave, ok = all.stream(one) {
		leaves = append(leaves, leave)
	}
	if len(leaves) != maxBrowserStreams {
		t.Errorf("a browser has %d", len(leaves))
	}
	leaves[0]()
	if _, ok := all.stream(one); !ok {
		t.Error("one that has ended is counted for ever")
	}
	_, bob := all.begin(Arrival{Who: pipeline.Person{Name: "bob"}})
	if _, ok := all.stream(bob); !ok {
		t.Error("another has none")
	}
}
