# A service with a PostgreSQL of its own in each environment, which a module makes beside the
# instances. The data goes through the pipeline, too: migrations, backups, a masked copy.

terraform {
  required_providers {
    penstock = {
      source = "penstock-io/penstock"
    }
  }
}

provider "penstock" {} # local platform; everything is kept in .penstock/

variable "repository" {
  description = "The service's git repository: a URL, or a path."
  type        = string
  default     = "../shop"
}

variable "directory" {
  description = "Where the module keeps the servers on this machine: a short path, as sockets need."
  type        = string
  default     = "../servers"
}

variable "backups" {
  description = "Where backups are kept on this machine."
  type        = string
  default     = "../backups"
}

variable "production_build" {
  description = "The build that production runs. Change it to promote, change it back to roll back."
  type        = string
  default     = null
}

variable "self_service" {
  description = "Names of the self-service environments that exist now."
  type        = set(string)
  default     = []
}

data "penstock_source" "shop" {
  repository = var.repository
  ref        = "main"
  data       = ["db/**"]
}

resource "penstock_pipeline" "shop" {
  name = "shop"
  module = {
    directory = "environment"
    variables = { directory = abspath(var.directory) }
    stateful  = ["terraform_data.server"]
  }
  service = {
    install      = "tar -xzf \"$PENSTOCK_ARTIFACT\""
    start        = "exec python3 shop.py --port \"$PORT\""
    migrate      = "db/data migrate"
    seed         = "db/data seed"
    backup       = "db/data backup"
    restore      = "db/data restore"
    copy         = "db/data copy"
    mask         = "db/data mask"
    health_check = { path = "/healthz", interval = "500ms", start_timeout = "2m" }
  }
  scale = { instances = 2 }
}

resource "penstock_stage" "commit" {
  pipeline = penstock_pipeline.shop.name
  type     = "commit"
  source   = data.penstock_source.shop.revision
  steps    = [{ name = "pack", command = "tar -czf shop.tar.gz shop.py db" }]
  artifact = "shop.tar.gz"
}

# A server of its own, with sample data.
resource "penstock_stage" "acceptance" {
  pipeline = penstock_pipeline.shop.name
  type     = "acceptance"
  after    = [penstock_stage.commit.passed]
  steps = [
    { name = "order", command = "curl -fsS -d '{\"customer\": \"Tess Test\", \"email\": \"tess@example.com\", \"product\": \"tea\"}' \"$PENSTOCK_ENDPOINT/orders\"" },
    { name = "is kept", command = "curl -fsS \"$PENSTOCK_ENDPOINT/orders\" | grep 'Sam Sample.*Tess Test'" },
  ]
}

# A copy of production's data, without its people.
resource "penstock_stage" "pre_production" {
  pipeline = penstock_pipeline.shop.name
  type     = "pre-production"
  after    = [penstock_stage.acceptance.passed]
  steps = [
    { name = "orders", command = "curl -fsS \"$PENSTOCK_ENDPOINT/orders\"" },
    { name = "nobody is in there", command = "! curl -fsS \"$PENSTOCK_ENDPOINT/orders\" | grep -i lovelace" },
  ]
}

resource "penstock_stage" "production" {
  pipeline    = penstock_pipeline.shop.name
  type        = "production"
  after       = [penstock_stage.pre_production.passed]
  build       = var.production_build
  environment = { env = { BACKUPS = abspath(var.backups) } } # outlive the server
  steps       = [{ name = "orders", http = { path = "/orders", status = 200 } }]
}

resource "penstock_self_service_env" "person" {
  for_each = var.self_service
  pipeline = penstock_pipeline.shop.name
  name     = each.key
  after    = [penstock_stage.acceptance.passed]
  ttl      = "1h"
}

output "ready" {
  description = "The newest build that may go to production."
  value       = penstock_stage.pre_production.passed.build
}

output "production" {
  description = "Where production answers."
  value       = penstock_stage.production.endpoint
}

output "self_service" {
  description = "Where the self-service environments answer."
  value       = { for name, env in penstock_self_service_env.person : name => env.endpoint }
}
