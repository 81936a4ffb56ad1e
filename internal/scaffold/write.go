// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package scaffold

import (
	"fmt"
	"strconv"
	"strings"
)

// Platform is where the pipeline is to run.
type Platform string

// The platforms.
const (
	Local Platform = "local"
	AWS   Platform = "aws"
)

// Write returns a configuration for the project, as `terraform fmt` writes it, and what
// there is to do by hand.
func Write(p Project, on Platform) (text string, notes []string) {
	w := &writer{}
	w.head(p, on)
	w.source(p, on)
	w.pipeline(p)
	if on == AWS {
		w.image(p)
	}
	w.stages(p, on)
	switch {
	case p.Language == "":
		notes = append(notes, "No known build file was found: fill in the steps of the commit stage.")
	case p.Start == "":
		notes = append(notes, "The start command could not be determined: fill in service.start, and uncomment the stages.")
	case !p.OwnPort:
		notes = append(notes, p.portEdit())
	}
	if on == AWS {
		port := ""
		if p.Start != "" && p.Port != 0 {
			port = fmt.Sprintf(" --port %d", p.Port)
		}
		notes = append(notes, "Create what Penstock needs in AWS with `penstock bootstrap --region eu-west-1"+port+"`, and set the region.")
	}
	return w.String(), notes
}

// portEdit says what has to change in a service that listens at a port of its own.
func (p Project) portEdit() string {
	as := map[string]string{"Node.js": "process.env.PORT || %d", "Python": `int(os.environ.get("PORT", %d))`, "Go": `":" + os.Getenv("PORT")`}[p.Language]
	if strings.Contains(as, "%d") {
		as = fmt.Sprintf(as, p.Port)
	}
	const where = "$PORT, and on $HOST if that is set"
	switch {
	case p.Port == 0:
		return "The service must listen on " + where + "; nothing in the repository mentions it."
	case p.Listens == "" || as == "":
		return fmt.Sprintf("The service listens on port %d, but it must listen on %s; nothing in the repository mentions that.", p.Port, where)
	default:
		return fmt.Sprintf("%s listens on port %d. Make it listen on %s, as in %s, and commit that.", p.Listens, p.Port, where, as)
	}
}

type writer struct{ strings.Builder }

func (w *writer) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

// quote writes a string as HCL does.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "${", "$${", "%{", "%%{", "\n", `\n`).Replace(s) + `"`
}

func list(items []string) string {
	quoted := make([]string, len(items))
	for i, item := range items {
		quoted[i] = quote(item)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func (w *writer) head(p Project, on Platform) {
	what := p.Language
	if what == "" {
		what = "a service"
	}
	w.line("# A deployment pipeline for %s (%s).", p.Name, what)
	w.line("#\n#   terraform init\n#   terraform apply       # build, test, and wait for a decision\n#   penstock status\n#   penstock try %s\n#   penstock watch        # apply by itself from now on\n", p.Name)
	w.line("terraform {\n  required_providers {\n    penstock = { source = \"penstock-io/penstock\" }\n  }\n}\n")
	if on == AWS {
		w.line("provider \"penstock\" {\n  aws = { region = \"eu-west-1\", stack = \"penstock\" }\n}\n")
		return
	}
	w.line("# Everything runs on this machine, and its data is in .penstock/ here.\n" +
		"provider \"penstock\" {}\n")
}

func (w *writer) source(p Project, on Platform) {
	if p.Directory == "" {
		w.line("# The files that a commit touches decide what it moves. Files that match no list belong to the application.")
	} else {
		w.line("# The files that a commit touches in the directory decide what it moves. Files that match no list belong to the application.")
		w.line("# Commands run in the directory, in a checkout of the whole repository.")
	}
	w.line("data \"penstock_source\" %s {", quote(p.Name))
	rows := [][2]string{{"repository", quote(p.Repository)}}
	if p.Directory != "" {
		rows = append(rows, [2]string{"directory", quote(p.Directory)})
	}
	ignore := p.Ignore
	if p.Deploy != "" {
		ignore = append([]string{p.Deploy + "/**"}, ignore...)
	}
	infrastructure := p.Infrastructure
	if on != AWS { // no image is baked, so that what belongs to it would move nothing
		infrastructure = nil
	}
	for _, part := range []struct {
		name     string
		patterns []string
	}{{"include", p.Include}, {"infrastructure", infrastructure}, {"configuration", p.Configuration}, {"data", p.Data}, {"ignore", ignore}} {
		if len(part.patterns) > 0 {
			rows = append(rows, [2]string{part.name, list(part.patterns)})
		}
	}
	w.rows("  ", rows)
	w.line("}\n")
}

// rows writes arguments with their equals signs below one another.
func (w *writer) rows(indent string, rows [][2]string) {
	widest := 0
	for _, r := range rows {
		widest = max(widest, len(r[0]))
	}
	for _, r := range rows {
		w.line("%s%-*s = %s", indent, widest, r[0], r[1])
	}
}

func (w *writer) pipeline(p Project) {
	w.line("resource \"penstock_pipeline\" %s {\n  name = %s", quote(p.Name), quote(p.Name))
	switch {
	case p.Start == "":
		w.line("\n" +
			"  # How to install and start the service. It must listen on $PORT.")
		start := "exec ./service"
		if p.Declared != "" {
			start = p.Declared
		}
		w.line("  # service = {\n  #   install = %s\n  #   start   = %s\n  # }", quote(unpack), quote(start))
	default:
		says := ""
		if p.Says != "" {
			says = ", as " + p.Says + " says"
		}
		w.line("\n"+
			"  # How to install and start the service%s. It must listen on $PORT.", says)
		if !p.OwnPort {
			w.line("  # EDIT: %s", p.portEdit())
		}
		if p.Declared != "" && p.Says != p.Declares {
			w.line("  # Its %s starts it with: %s", strings.TrimPrefix(p.Declares, "the "), p.Declared)
		}
		w.line("  service = {")
		rows := [][2]string{{"install", quote(p.Install)}, {"start", quote(p.Start)}}
		if p.Port != 0 {
			rows = append(rows, [2]string{"port", strconv.Itoa(p.Port)})
		}
		w.rows("    ", append(rows, [2]string{"health_check", fmt.Sprintf("{ path = %s }", quote(p.Health))}))
		if p.Migrate != "" {
			w.line("    # migrate = %s # the Procfile's release; it runs before a new build gets traffic", quote(p.Migrate))
		}
		w.line("  }\n\n  # Production's size.\n  scale = { instances = 2 }")
	}
	w.line("\n" +
		"  # Who may approve, deploy, launch and override. Default: everybody, but nobody may override.\n" +
		"  # authorize = { approve = [\"alice\"], deploy = [\"alice\", \"bob\"] }")
	w.line("\n" +
		"  # Who is notified of what.\n" +
		"  # notify = [{ on = [\"failed\", \"waiting\", \"deployed\"], slack_url = \"$SLACK_URL\" }]\n" +
		"}\n")
}

func (w *writer) image(p Project) {
	w.line("# The image that instances start from. A commit that touches infrastructure or configuration bakes it again.")
	w.line("resource \"penstock_baked_image\" \"base\" {")
	w.rows("  ", [][2]string{
		{"pipeline", fmt.Sprintf("penstock_pipeline.%s.name", p.Name)}, {"name", quote(p.Name + "-base")},
		{"from", `{ ssm_parameter = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64" }`},
		{"source", fmt.Sprintf("data.penstock_source.%s.image_revision", p.Name)},
		{"steps", `[{ name = "packages", command = "dnf -y update" }]`},
	})
	w.line("}\n")
}

func (w *writer) stages(p Project, on Platform) {
	pipeline := fmt.Sprintf("penstock_pipeline.%s.name", p.Name)
	w.line("# Builds, tests and stores every commit that touches application, configuration or data.")
	w.line("resource \"penstock_stage\" \"commit\" {")
	rows := [][2]string{{"pipeline", pipeline}, {"type", `"commit"`}, {"source", fmt.Sprintf("data.penstock_source.%s.revision", p.Name)}}
	if on == AWS {
		rows = append(rows, [2]string{"base_image", "penstock_baked_image.base.image_id"})
	}
	w.rows("  ", rows)
	if p.Needs != "" {
		w.line("  # It requires %s.", p.Needs)
	}
	w.line("  steps = [")
	for _, s := range p.Build {
		w.line("    { name = %s, command = %s },", quote(s.Name), quote(s.Command))
	}
	w.line("  ]")
	if p.Start != "" {
		w.line("  artifact = %s", quote(p.Artifact))
	}
	w.line("}\n")
	begin := w.Len()
	w.stage(p, "acceptance", "acceptance", "Launches an environment with the build, and tests it.", "commit")
	w.line("  steps = [\n    { name = \"answers\", http = { path = %s } },\n    # { name = \"journeys\", command = \"make acceptance\" }, # at $PENSTOCK_ENDPOINT\n  ]\n}\n", quote(p.Health))
	w.stage(p, "exploratory", "exploratory", "A person tries the build and decides: `penstock try "+p.Name+"`.", "acceptance")
	w.line("}\n")
	w.stage(p, "capacity", "capacity", "Expected and peak load, in parallel with exploratory.", "acceptance")
	w.line("  steps = [\n    { name = \"expected\", load = { rate = 20, duration = \"10s\", path = %s, p99 = \"500ms\", error_rate = 0.001 } },\n    { name = \"peak\", load = { rate = 60, duration = \"10s\", path = %s, p99 = \"1s\", error_rate = 0.01 } },\n  ]\n}\n", quote(p.Health), quote(p.Health))
	w.stage(p, "pre_production", "pre-production", "The size of production, when both have passed the same build.", "exploratory", "capacity")
	w.line("}\n")
	w.stage(p, "production", "production", "A person deploys: `penstock promote "+p.Name+" production`, or build = \"b-…\" here.", "pre_production")
	w.line("}\n\noutput \"production\" {\n  value = penstock_stage.production.endpoint\n}")
	if p.Start != "" {
		return
	}
	// Without a service to start there is nothing that they could do.
	rest := w.String()
	w.Reset()
	w.WriteString(rest[:begin])
	for line := range strings.Lines(rest[begin:]) {
		w.WriteString(strings.TrimRight("# "+line, " \n") + "\n")
	}
}

// stage opens a stage that comes after others.
func (w *writer) stage(p Project, name, kind, why string, after ...string) {
	passed := make([]string, len(after))
	for i, up := range after {
		passed[i] = fmt.Sprintf("penstock_stage.%s.passed", up)
	}
	w.line("# %s\nresource \"penstock_stage\" %s {", why, quote(name))
	rows := [][2]string{{"pipeline", fmt.Sprintf("penstock_pipeline.%s.name", p.Name)}, {"type", quote(kind)}, {"after", "[" + strings.Join(passed, ", ") + "]"}}
	if kind == "pre-production" {
		rows = append(rows, [2]string{"environment", "{ unmasked = true } # once there is data of people, mask the copy: service.mask"})
	}
	w.rows("  ", rows)
}
