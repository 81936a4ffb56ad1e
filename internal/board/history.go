// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
	"github.com/penstock-io/terraform-provider-penstock/internal/present/shape"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// historyPage is what happened in a pipeline.
type historyPage struct {
	Filter  historyFilter
	Rows    []historyRow
	Stages  []string
	Kinds   []report.HistoryKind
	Pending int64
	Query   string // of the address with its question mark, for the files
	Older   string // the query of the next page; empty on the last
	Newest  string // the query of the first page; empty on that
}

// Waiting says that decisions are not in the history yet; empty where all are.
func (p historyPage) Waiting() string {
	if p.Pending == 0 {
		return ""
	}
	return present.Count(int(p.Pending), "decision") + " not in the history yet. The next apply adds what was decided to it."
}

// historyFilter is the filter as the form has it.
type historyFilter struct {
	Stage, Build, By, Kind, Since, Until string
	Zone                                 zone // of the days
}

// historyRow is an entry on the page.
type historyRow struct{ report.HistoryEntry }

// Tone is the class of what happened, which gives it its colour.
func (r historyRow) Tone() string {
	switch {
	case r.Rollback(), r.Kind == report.HistoryPause:
		return "person"
	case r.Kind == report.HistoryDeployment:
		return "serving"
	case r.Action == string(pipeline.Approved):
		return "passed"
	case r.Kind == report.HistoryOverride:
		return "rejected" // of the same weight
	}
	return r.Action
}

// Number returns the name of the build that people say: its number, if it is known.
func (r historyRow) Number() string { return buildName(r.BuildNumber, r.Build) }

// Before returns the name of the build that the stage was at before; empty for none.
func (r historyRow) Before() string { return buildName(r.FromNumber, r.From) }

func buildName(number int64, id string) string {
	if number > 0 {
		return fmt.Sprintf("#%d", number)
	}
	return id
}

// historyQuery reads the filter of an address.
func historyQuery(values url.Values) (f historyFilter, q report.HistoryQuery, err error) {
	get := func(name string) string { return strings.TrimSpace(values.Get(name)) }
	f = historyFilter{get("stage"), get("build"), get("by"), get("kind"), get("since"), get("until"), zone{}}
	if f.Zone, err = zoneOf(get("zone"), f.Since != "" || f.Until != ""); err != nil {
		return f, q, err
	}
	q = report.HistoryQuery{Stage: f.Stage, Build: f.Build, By: f.By, Limit: rowsPerPage}
	if f.Kind != "" {
		if !slices.Contains(report.HistoryKinds, report.HistoryKind(f.Kind)) {
			return f, q, pipeline.Errorf(pipeline.CodeInvalid, "show history", "there is no kind of entry %q", f.Kind).WithHint("Choose one of the list.")
		}
		q.Kinds = []report.HistoryKind{report.HistoryKind(f.Kind)}
	}
	if q.Since, err = moment(f.Zone, f.Since, 0); err != nil {
		return f, q, err
	}
	if q.Until, err = moment(f.Zone, f.Until, 1); err != nil {
		return f, q, err
	}
	if after := get("after"); after != "" {
		if q.After, err = strconv.ParseInt(after, 10, 64); err != nil || q.After < 1 {
			return f, q, pipeline.Errorf(pipeline.CodeInvalid, "show history", "%q is no sequence number", after).WithHint("Go by the links.")
		}
	}
	return f, q, nil
}

// moment returns the begin of a day, which is days after the one of a text, or a point in time.
func moment(z zone, text string, days int) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.UTC(), nil
	}
	return z.day(text, days)
}

// history shows what happened in a pipeline, the newest first.
func (b *Board) history(w http.ResponseWriter, r *http.Request, s *session) error {
	live, err := b.live(kindHistory, r)
	if err != nil {
		return err
	}
	st, err := b.existing(r)
	if err != nil {
		return err
	}
	values := r.URL.Query()
	filter, query, err := historyQuery(values)
	if err != nil {
		return err
	}
	found, err := b.Engine.Reports.History(r.Context(), st.Pipeline.Name, query)
	if err != nil {
		return err
	}
	page := historyPage{Filter: filter, Kinds: report.HistoryKinds, Pending: found.Pending}
	for _, e := range found.Entries {
		page.Rows = append(page.Rows, historyRow{e})
	}
	for _, stage := range st.StagesInOrder() {
		page.Stages = append(page.Stages, stage.Name)
	}
	for _, definition := range pipeline.ImagesInOrder(st) {
		page.Stages = append(page.Stages, pipeline.ImageRun(definition.Name))
	}
	if filter.Stage != "" && !slices.Contains(page.Stages, filter.Stage) {
		page.Stages = append(page.Stages, filter.Stage) // it was removed
	}
	values.Del("after")
	if len(values) > 0 {
		page.Query = "?" + values.Encode()
	}
	if query.After > 0 {
		live = nil                          // older ones stay as they are
		page.Newest = "?" + values.Encode() // also without a filter, so that it is not empty
	}
	if found.Next > 0 {
		values.Set("after", strconv.FormatInt(found.Next, 10))
		page.Older = "?" + values.Encode()
	}
	title := "History · " + st.Pipeline.Name
	if filter.Stage != "" {
		title = "History of " + present.Line(filter.Stage) + " · " + st.Pipeline.Name
	}
	b.show(w, s, http.StatusOK, "history", view{Title: title, Pipeline: st.Pipeline.Name, Tab: "history", Live: live, Body: page, State: st})
	return nil
}

// historyPath is the address of a stage's history.
func historyPath(pipelineName, stage string) string {
	return "/p/" + url.PathEscape(pipelineName) + "/history?" + url.Values{"stage": {stage}}.Encode()
}

// historyFile sends all entries that a filter selects, as a file of CSV or JSON.
func (b *Board) historyFile(format string) page {
	return func(w http.ResponseWriter, r *http.Request, _ *session) error {
		st, err := b.existing(r)
		if err != nil {
			return err
		}
		_, query, err := historyQuery(r.URL.Query())
		if err != nil {
			return err
		}
		// What is wrong with the query is an answer of its own, not a file.
		query.Limit = 1
		if _, err := b.Engine.Reports.History(r.Context(), st.Pipeline.Name, query); err != nil {
			return err
		}
		header := w.Header()
		header.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s-history.%s"`, st.Pipeline.Name, format))
		header.Set("Cache-Control", "no-store")
		header.Set("Content-Type", map[string]string{"csv": "text/csv; charset=utf-8", "json": "application/json"}[format])
		out := bufio.NewWriterSize(newStream(w, logLimit), 64<<10)
		each := func(do func(report.HistoryEntry) error) error {
			return b.Engine.Reports.EachEntry(r.Context(), st.Pipeline.Name, query, do)
		}
		if format == "csv" {
			err = writeCSV(out, each)
		} else {
			err = writeJSON(out, each)
		}
		if err = cmp.Or(err, out.Flush()); err != nil {
			b.Logger.Warn("send history", "pipeline", st.Pipeline.Name, "error", err)
			panic(http.ErrAbortHandler) // so that nobody takes a part for the whole
		}
		return nil
	}
}

func writeCSV(w io.Writer, each func(func(report.HistoryEntry) error) error) error {
	out, err := report.NewHistoryCSV(w)
	if err != nil {
		return err
	}
	return cmp.Or(each(out.Write), out.Flush())
}

// writeJSON writes a list, as the command prints it.
func writeJSON(w io.Writer, each func(func(report.HistoryEntry) error) error) error {
	before := "[\n"
	err := each(func(e report.HistoryEntry) error {
		doc, err := shape.Marshal(e)
		if err == nil {
			_, err = fmt.Fprintf(w, "%s%s", before, present.JSON(doc))
		}
		before = ",\n"
		return err
	})
	if err == nil && before != ",\n" {
		_, err = io.WriteString(w, before)
	}
	if err == nil {
		_, err = io.WriteString(w, "\n]\n")
	}
	return err
}
