// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// BenchmarkApply measures what a module adds to a run: with nothing in it, and with a provider
// that is cached. "new" is an environment's first apply, "again" one that changes nothing.
func BenchmarkApply(b *testing.B) {
	for name, text := range map[string]string{"empty": "output \"x\" { value = 1 }\n", "provider": databases} {
		dir := b.TempDir()
		m := New(Config{Dir: filepath.Join(dir, "work"), Store: NewDirStore(filepath.Join(dir, "store"))})
		pkg := filepath.Join(dir, "module.tar.gz")
		checkout := b.TempDir()
		check := func(err error) {
			b.Helper()
			if err != nil {
				b.Fatal(err)
			}
		}
		check(writeFile(filepath.Join(checkout, "env", "main.tf"), []byte(text)))
		_, err := m.Pack(b.Context(), pipeline.PackRequest{Module: pipeline.Module{Directory: "env"}, Checkout: checkout, Out: pkg})
		check(err)
		request := func(environment string) pipeline.ModuleRequest {
			r := pipeline.ModuleRequest{Environment: environment, Package: pkg}
			if name == "provider" {
				r.Variables = map[string]json.RawMessage{"dir": raw(b.TempDir())}
			}
			return r
		}
		b.Run(name+"/new", func(b *testing.B) {
			n := 0
			for b.Loop() {
				n++
				_, err := m.Apply(b.Context(), request(fmt.Sprintf("e-%d-%d", b.N, n)))
				check(err)
			}
		})
		b.Run(name+"/again", func(b *testing.B) {
			r := request("again")
			_, err := m.Apply(b.Context(), r)
			check(err)
			for b.Loop() {
				_, err := m.Apply(b.Context(), r)
				check(err)
			}
		})
	}
}
