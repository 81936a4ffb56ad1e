// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package module

import (
	"fmt"
	"path"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// stateful are patterns of the types of resources that keep data which is lost with them, of
// the large providers. A module's own patterns come besides.
var stateful = []string{
	// AWS
	"aws_db_instance", "aws_rds_cluster", "aws_rds_cluster_instance", "aws_rds_global_cluster", "aws_docdb_*cluster", "aws_neptune_*cluster", "aws_dsql_cluster",
	"aws_dynamodb_table", "aws_dynamodb_global_table", "aws_keyspaces_table", "aws_timestream*_table", "aws_timestream*_database", "aws_qldb_ledger",
	"aws_s3_bucket", "aws_s3_directory_bucket", "aws_s3tables_*", "aws_efs_file_system", "aws_fsx_*_file_system", "aws_fsx_*_volume", "aws_ebs_volume", "aws_backup_vault",
	"aws_elasticache_cluster", "aws_elasticache_replication_group", "aws_elasticache_serverless_cache", "aws_memorydb_cluster",
	"aws_opensearch_domain", "aws_elasticsearch_domain", "aws_opensearchserverless_collection", "aws_redshift_cluster", "aws_redshiftserverless_namespace",
	"aws_msk_cluster", "aws_msk_serverless_cluster", "aws_mq_broker", "aws_kinesis_stream", "aws_sqs_queue", "aws_cognito_user_pool", "aws_kms_key", "aws_secretsmanager_secret",
	"aws_cloudwatch_log_group", "aws_ecr_repository", "aws_lightsail_database",
	// Google Cloud
	"google_sql_database_instance", "google_sql_database", "google_alloydb_cluster", "google_alloydb_instance", "google_spanner_instance", "google_spanner_database",
	"google_bigtable_*", "google_bigquery_dataset", "google_bigquery_table", "google_firestore_database", "google_storage_bucket", "google_filestore_instance",
	"google_compute_disk", "google_compute_region_disk", "google_redis_*", "google_memorystore_instance", "google_pubsub_topic", "google_pubsub_subscription", "google_kms_*key*",
	"google_secret_manager_secret", "google_artifact_registry_repository",
	// Azure
	"azurerm_*sql_database", "azurerm_*sql_server", "azurerm_mssql_managed_*", "azurerm_*_flexible_server*", "azurerm_cosmosdb_*", "azurerm_storage_account", "azurerm_storage_container",
	"azurerm_storage_share", "azurerm_storage_table", "azurerm_storage_queue", "azurerm_managed_disk", "azurerm_redis_cache", "azurerm_managed_redis", "azurerm_key_vault",
	"azurerm_key_vault_key", "azurerm_key_vault_secret", "azurerm_eventhub", "azurerm_servicebus_queue", "azurerm_servicebus_topic", "azurerm_kusto_*", "azurerm_container_registry",
	// Others
	"kubernetes_persistent_volume*", "kubernetes_stateful_set*", "digitalocean_database_cluster", "digitalocean_database_db", "digitalocean_spaces_bucket", "digitalocean_volume",
	"hcloud_volume", "mongodbatlas_*cluster", "confluent_kafka_*", "postgresql_database", "postgresql_schema", "mysql_database", "neon_project", "neon_branch", "planetscale_database",
	"docker_volume",
}

// keepsData reports whether a resource keeps data that is lost with it. Patterns are of types,
// or of addresses.
func keepsData(kind, address string, patterns []string) bool {
	for _, p := range stateful {
		if matches(p, kind) {
			return true
		}
	}
	for _, p := range patterns {
		if matches(p, kind) || p == address || matches(p, address) {
			return true
		}
	}
	return false
}

// matches reports whether a name matches a pattern in which * stands for any text. Brackets
// and dots are themselves, as addresses have them.
func matches(pattern, name string) bool {
	ok, err := path.Match(strings.NewReplacer("[", `\[`, "]", `\]`, "?", `\?`).Replace(pattern), strings.ReplaceAll(name, "/", "_"))
	return ok && err == nil
}

// losing returns the changes by which data is lost. Where kept is not nil, that does not
// count for a resource which it lacks, or has with another ID than the state.
func losing(changes []pipeline.ModuleChange, state []byte, kept map[string]string) []pipeline.ModuleChange {
	present, _ := readState(state)
	ids := present.resources()
	var all []pipeline.ModuleChange
	for _, c := range changes {
		id, known := kept[c.Address]
		if c.Stateful && (kept == nil || known && id == ids[c.Address]) {
			all = append(all, c)
		}
	}
	return all
}

// refuse returns the error for changes that lose data.
func refuse(op string, changes []pipeline.ModuleChange) error {
	var lines []string
	for _, c := range changes {
		line := fmt.Sprintf("%s would be destroyed", c.Address)
		if c.Action == pipeline.ModuleReplace {
			line = fmt.Sprintf("%s would be destroyed and made again", c.Address)
		}
		if c.Reason != "" {
			line += " (" + c.Reason + ")"
		}
		lines = append(lines, line)
	}
	return pipeline.Errorf(pipeline.CodeRefused, op, "data would be lost: %s", strings.Join(lines, "; ")).
		WithHint("Keep the resource, or move it with a moved block; if its data may go, allow the stage to destroy (allow_destroy).")
}

// reasons fills in why resources are replaced, from Terraform's description of a plan.
func reasons(changes []pipeline.ModuleChange, plan *tfjson.Plan) {
	by := map[string]*tfjson.ResourceChange{}
	for _, r := range plan.ResourceChanges {
		by[r.Address] = r
	}
	for i, c := range changes {
		r := by[c.Address]
		if r == nil || r.Change == nil || c.Action != pipeline.ModuleReplace && c.Action != pipeline.ModuleDestroy {
			continue
		}
		changes[i].Reason = reason(r)
	}
}

// reason says why a resource is replaced or destroyed.
func reason(r *tfjson.ResourceChange) string {
	var paths []string
	for _, p := range r.Change.ReplacePaths {
		var parts []string
		if steps, ok := p.([]any); ok {
			for _, s := range steps {
				parts = append(parts, fmt.Sprint(s))
			}
		}
		paths = append(paths, strings.Join(parts, "."))
	}
	if len(paths) > 0 {
		return "a change of " + strings.Join(paths, ", ")
	}
	return why[string(r.ActionReason)]
}

// why are Terraform's reasons for actions in words.
var why = map[string]string{
	"replace_because_tainted":           "its creation failed half way",
	"replace_because_cannot_update":     "it can't be changed in place",
	"replace_by_request":                "it was asked for",
	"replace_by_triggers":               "its replace_triggered_by changed",
	"delete_because_no_resource_config": "it is not in the module any more",
	"delete_because_no_module":          "its module is not there any more",
	"delete_because_wrong_repetition":   "it has count or for_each now, or has it no longer",
	"delete_because_count_index":        "its count is smaller",
	"delete_because_each_key":           "its key is not in for_each any more",
	"delete_because_no_move_target":     "it was moved to where nothing is",
}
