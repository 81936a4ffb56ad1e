// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package draw

import (
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

var update = flag.Bool("update", false, "write the golden files")

// report is a load of a minute that gets slow in its middle.
func report() pipeline.LoadReport {
	r := pipeline.LoadReport{
		Every: time.Second, Limits: &pipeline.LoadLimits{Rate: 50, P95: 300 * time.Millisecond, P99: 10 * time.Second, ErrorRate: 0.02, MinThroughput: 40},
		Histogram: []pipeline.LatencyBucket{{UpTo: time.Millisecond}, {UpTo: 10 * time.Millisecond, Count: 400}, {UpTo: 100 * time.Millisecond, Count: 2300}, {UpTo: time.Second, Count: 300}, {UpTo: 20 * time.Second, Count: 3}, {UpTo: 50 * time.Second}},
	}
	for i := range 60 {
		slow := math.Exp(-math.Pow(float64(i-30)/6, 2))
		p := pipeline.LoadPoint{Requests: 50, P50: time.Duration(8+40*slow) * time.Millisecond, P95: time.Duration(20+300*slow) * time.Millisecond, P99: time.Duration(40+900*slow) * time.Millisecond}
		if i > 25 && i < 35 {
			p.Errors = 2
		}
		if i == 45 {
			p = pipeline.LoadPoint{} // nothing was sent
		}
		r.Series = append(r.Series, p)
	}
	return r
}

// The pictures are equal to the golden files, and well-formed.
func TestPictures(t *testing.T) {
	pictures := map[string]string{
		"bars":  Bars{Title: "Deployments", Unit: Number, Axis: "week", Bars: []Bar{{"2 Nov", 3, false}, {"9 Nov", 0, false}, {"16 Nov", 7, true}}}.SVG(),
		"none":  Bars{Title: "Nothing", Unit: Number, Whole: true, Bars: []Bar{{"2 Nov", 0, false}}}.SVG(),
		"empty": Lines{Title: "Nothing", Unit: Seconds, Every: time.Second, Series: []Series{{Name: "p50"}}}.SVG(),
		"hostile": Lines{Title: `</svg><script>alert("1")</script>`, Unit: Number, Every: time.Second, Series: []Series{
			{Name: "\u202e<b>&", Values: []float64{math.NaN(), 1, math.NaN()}}}}.SVG(),
	}
	for i, svg := range Loads(report())[0] {
		pictures[fmt.Sprintf("load-%d", i)] = svg
	}
	for name, svg := range pictures {
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s is no XML: %v\n%s", name, err, svg)
			}
		}
		for _, bad := range []string{"NaN", "Inf", "<script", "style=", "\u202e"} {
			if strings.Contains(svg, bad) {
				t.Errorf("%s has %q", name, bad)
			}
		}
		file := filepath.Join("testdata", name+".svg")
		if *update {
			if err := os.WriteFile(file, []byte(svg+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil || string(want) != svg+"\n" {
			t.Errorf("%s differs from %s (look at it, then `go test ./internal/present/draw -update`): %v", name, file, err)
		}
	}
}

// A report of a version without series shows what it has.
func TestOldReport(t *testing.T) {
	r := report()
	r.Series, r.Limits = nil, nil
	if all := Loads(r)[0]; len(all) != 1 || !strings.Contains(all[0], "Answers by latency") {
		t.Errorf("%d pictures: %q", len(all), all)
	}
	if all := Loads(pipeline.LoadReport{})[0]; len(all) != 1 {
		t.Errorf("of nothing: %q", all)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.25: "0.25", 12.3456: "12.35", 1234.5: "1234", 20000: "20000"} {
		if got := Number(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}

func TestSeconds(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.25: "250ms", 1.5: "1.5s", 90: "1.5m", 7200: "2h", 86400 * 3: "3d", 20e-6: "20µs"} {
		if got := Seconds(v); got != want {
			t.Errorf("%v seconds: %q, want %q", v, got, want)
		}
	}
}

// Axes of times have the steps of a clock, so that their names are short.
func TestTimeAxis(t *testing.T) {
	for highest, want := range map[float64]string{
		0.2:       "0 50ms 100ms 150ms 200ms",
		300:       "0 1m 2m 3m 4m 5m",
		310:       "0 2m 4m 6m",
		4000:      "0 15m 30m 45m 1h 1.25h",
		9 * 3600:  "0 2h 4h 6h 8h 10h",
		3 * 86400: "0 1d 2d 3d",
		500:       "0 2m 4m 6m 8m 10m",
	} {
		var names []string
		for _, v := range Unit(Seconds).ticks(highest, 0) {
			names = append(names, Seconds(v))
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("up to %g s it is %q, want %q", highest, got, want)
		}
	}
}

// A limit can be told from zero, however much the value is above it.
func TestLimitIsVisible(t *testing.T) {
	r := report()
	r.Series[1].Errors, r.Limits = r.Series[1].Requests, &pipeline.LoadLimits{ErrorRate: 0.001}
	svg := Loads(r)[0][2]
	for _, want := range []string{"1 %", "0.2 %", "↑ up to 100 %, above", "limit of errors"} {
		if !strings.Contains(svg, want) {
			t.Errorf("the picture of errors does not say %q: %s", want, svg)
		}
	}
}
