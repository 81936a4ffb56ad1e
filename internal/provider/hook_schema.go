// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"maps"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// withHooks adds to the attributes of a service those that work on its data.
func withHooks(attributes map[string]schema.Attribute) map[string]schema.Attribute {
	command := func(text string) schema.StringAttribute {
		return optional(text+" The guide to data has the order of these commands.", stringvalidator.LengthAtLeast(1))
	}
	maps.Copy(attributes, map[string]schema.Attribute{
		"backup":       command("Backs the data up before each deployment to a persistent environment except for the first, before `migrate`. The last line that it prints is the backup's name, which is recorded with the run. If it fails, the deployment ends, and production is as it was."),
		"restore":      command("Restores the backup `$PENSTOCK_BACKUP`. It is run only by a rollback that asks for it, `penstock rollback --restore-data`, before the old build gets traffic. Requires `backup`."),
		"copy":         command("Fills a new environment from that of the stage in `data_from`, instead of the platform's copy of the data directory. It has the variables of the new environment, and those of the other as `PENSTOCK_FROM_` and their name, with `PENSTOCK_FROM_ENDPOINT`. On the local platform, `PENSTOCK_FROM_DATA` is the other's data directory."),
		"mask":         command("Makes copied data harmless, right after it was copied and before anything else sees it. Required for a stage that copies production's data, unless its `environment.unmasked` is true."),
		"finish":       command("Removes what only the build before needs, such as columns of its schema. It is run in the environment once for each deployment to a persistent one, after `keep_previous` and `finish_after` are over, by the next apply, `penstock watch` or `penstock gc`. A rollback before that cancels it. If it fails, it is tried again."),
		"finish_after": optional("How long after a deployment `finish` is run at the earliest. Default: `keep_previous` of the stage.", isDuration()),
		"hook_timeout": optional("How long each of `backup`, `restore`, `copy`, `mask`, `migrate`, `seed` and `finish` may take. Default: `1h`.", isDuration()),
	})
	return attributes
}

// validateHooks refuses commands that need others.
func validateHooks(service types.Object, diags *diag.Diagnostics) {
	if service.IsNull() || service.IsUnknown() {
		return
	}
	at, arguments := path.Root("service"), service.Attributes()
	without := func(name, other string) bool {
		v := arguments[name]
		return !v.IsNull() && !v.IsUnknown() && arguments[other].IsNull()
	}
	if without("restore", "backup") {
		diags.AddAttributeError(at.AtName("restore"), "Restore without a backup", "service.restore is set, and nothing takes a backup that it could restore. Set service.backup, too, or remove restore.")
	}
	if without("finish_after", "finish") {
		diags.AddAttributeError(at.AtName("finish_after"), "Time of no finish", "service.finish_after is set, and there is no service.finish that it could be for. Set finish, too, or remove finish_after.")
	}
}
