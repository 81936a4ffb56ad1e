// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/compare"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/report"
)

// imageText returns a baked image, named and with more arguments, of the tree that all have.
func imageText(address, name, more string) string {
	return fmt.Sprintf(`
resource "penstock_baked_image" %q {
  pipeline = penstock_pipeline.p.name
  name     = %q
  from     = { directory = "image/rootfs" }
  source   = data.penstock_source.s.image_revision
  %s
}`, address, name, more)
}

// imagesOf returns a configuration of a pipeline with images.
func (b *bench) imagesOf(images ...string) string {
	text := fmt.Sprintf(`
provider "penstock" { data_dir = %q }
data "penstock_source" "s" {
  repository     = %q
  ref            = "main"
  infrastructure = ["image/**"]
}
resource "penstock_pipeline" "p" { name = "p" }`, b.dir, b.repo)
	for _, image := range images {
		text += image
	}
	return text
}

func imageAddress(address string) string { return "penstock_baked_image." + address }

// Images of one content are one image, which each that bakes it has, until the last one
// goes.
func TestAccImagesOfOneContent(t *testing.T) {
	b := newBench(t)
	const steps = `steps = [{ name = "look", command = "ls" }]`
	a, same, other := imageText("a", "a", ""), imageText("b", "b", ""), imageText("c", "c", steps)
	const data = `
data "penstock_image" "of" {
  for_each   = toset(["a", "b", "c"])
  pipeline   = penstock_pipeline.p.name
  name       = each.key
  depends_on = [penstock_baked_image.a, penstock_baked_image.b, penstock_baked_image.c]
}
output "ids" { value = distinct([for image in data.penstock_image.of : image.id]) }
output "names" { value = [for image in data.penstock_image.of : image.name] }`
	one := func(x, y string) statecheck.StateCheck {
		return statecheck.CompareValuePairs(imageAddress(x), tfjsonpath.New("image_id"), imageAddress(y), tfjsonpath.New("image_id"), compare.ValuesSame())
	}
	noop := func(address string) plancheck.PlanCheck {
		return plancheck.ExpectResourceAction(imageAddress(address), plancheck.ResourceActionNoop)
	}
	walk(t,
		resource.TestStep{Config: b.imagesOf(a, same, other), ConfigStateChecks: []statecheck.StateCheck{one("a", "b"), one("a", "c")}},
		resource.TestStep{
			Config: b.imagesOf(a, same, other, data),
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownOutputValue("ids", knownvalue.ListSizeExact(1)),
				statecheck.ExpectKnownOutputValue("names", knownvalue.ListExact([]knownvalue.Check{exact("a"), exact("b"), exact("c")})),
			},
		},
		resource.TestStep{Config: b.imagesOf(same, other), ConfigPlanChecks: plan(noop("b"), noop("c")), ConfigStateChecks: []statecheck.StateCheck{one("b", "c")}},
		resource.TestStep{Config: b.imagesOf(other), ConfigPlanChecks: plan(noop("c"))},
		resource.TestStep{Config: b.imagesOf(other, same), ConfigPlanChecks: plan(noop("c")), ConfigStateChecks: []statecheck.StateCheck{one("b", "c")}},
	)
}

// A name that an image has is another one's only after an apply in which it was given up.
// The image of a name that is replaced goes on.
func TestAccImageNameTakenOver(t *testing.T) {
	for name, tt := range map[string]struct{ before, after []string }{
		"beside": {
			[]string{imageText("a", "one", "")},
			[]string{imageText("a", "two", ""), imageText("b", "one", "")},
		},
		"after the one that had it": {
			[]string{imageText("a", "one", "")},
			[]string{imageText("a", "two", ""), imageText("b", "one", "depends_on = [penstock_baked_image.a]")},
		},
		"before the one that had it": {
			[]string{imageText("a", "one", "lifecycle { create_before_destroy = true }")},
			[]string{imageText("a", "two", "lifecycle { create_before_destroy = true }"), imageText("b", "one", "")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			freed := slices.Clone(tt.before)
			freed[0] = strings.Replace(freed[0], `"one"`, `"two"`, 1)
			walk(t,
				resource.TestStep{Config: b.imagesOf(tt.before...)},
				resource.TestStep{Config: b.imagesOf(tt.after...), ExpectError: taken},
				resource.TestStep{Config: b.imagesOf(freed...)},
				resource.TestStep{Config: b.imagesOf(tt.after...)},
				b.imageThere(),
			)
		})
	}
}

// imageThere is a step that finds an image of the pipeline.
func (b *bench) imageThere() resource.TestStep {
	return resource.TestStep{PreConfig: func() {
		b.open(func(a *app.App) error {
			images, err := a.Engine.Reports.Images(b.t.Context(), "p")
			if there := slices.ContainsFunc(images, func(i report.ImageUse) bool { return i.There }); !there {
				b.t.Errorf("there is no image: %+v", images)
			}
			return err
		})
	}, RefreshState: true}
}

// An image that is replaced has its name to itself. Before it goes, the name is its own.
func TestAccImageReplaced(t *testing.T) {
	replaced := func(more string) string {
		return imageText("a", "one", "lifecycle {\n replace_triggered_by = [terraform_data.t]\n"+more+"\n}")
	}
	b := newBench(t)
	steps := []resource.TestStep{
		{Config: b.imagesOf(trigger("1"), replaced(""))},
		{Config: b.imagesOf(trigger("2"), replaced(""))},
		b.imageThere(),
	}
	if restores() {
		steps = append(steps, resource.TestStep{Config: b.imagesOf(trigger("3"), replaced("create_before_destroy = true")), ExpectError: taken}, b.imageThere())
	}
	walk(t, append(steps, resource.TestStep{Config: b.imagesOf(trigger("4"), replaced(""))}, b.imageThere())...)
}

func trigger(value string) string {
	return fmt.Sprintf("\nresource \"terraform_data\" \"t\" { input = %q }\n", value)
}
