// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package ledgertest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// everyFact returns one Facts for each kind of fact, each with every field set, so
// that a field that is added to the domain is tested without a change here.
func everyFact(t testing.TB) []pipeline.Facts {
	t.Helper()
	var all []pipeline.Facts
	f := filler{t: t}
	kinds := reflect.TypeFor[pipeline.Facts]()
	for i := range kinds.NumField() {
		if kinds.Field(i).Type.Kind() != reflect.Pointer {
			continue // Gone
		}
		var facts pipeline.Facts
		f.fill(reflect.ValueOf(&facts).Elem().Field(i))
		if facts.Run != nil { // such as writes every record that a run can
			facts.Run.ID, facts.Run.Status, facts.Run.Kind = "r-1", pipeline.RunPassed, pipeline.KindStage
		}
		all = append(all, facts)
	}
	return all
}

// filler sets values that differ from one another, with texts that a careless
// encoding would change.
type filler struct {
	t testing.TB
	n int
}

func (f *filler) fill(v reflect.Value) {
	f.n++
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Date(2026, 1, 1, 0, 0, f.n, f.n, time.UTC)))
		return
	case v.CanInt():
		v.SetInt(int64(f.n))
		return
	case v.CanFloat():
		v.SetFloat(float64(f.n) + 0.1)
		return
	}
	if v.Type() == reflect.TypeFor[json.RawMessage]() {
		v.SetBytes(fmt.Appendf(nil, `{"n":[%d]}`, f.n))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("%d é'\"\\\n\t\x00<&>\u2028🙂", f.n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			f.fill(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		f.fill(key)
		f.fill(value)
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(v.Field(i))
		}
	default:
		f.t.Fatalf("facts have a %s, which this suite can't fill", v.Type())
	}
}

// theFact returns the value of the only fact.
func theFact(f pipeline.Facts) reflect.Value {
	for _, field := range reflect.ValueOf(f).Fields() {
		if field.Kind() == reflect.Pointer && !field.IsNil() {
			return field.Elem()
		}
	}
	panic("no fact")
}

// factRecorded is the kind of the events of this suite. Ledgers don't look at it.
const factRecorded pipeline.EventKind = "fact.recorded"
