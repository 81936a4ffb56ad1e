# The nine stages of a pipeline for a small HTTP service, on the local platform.

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

# Polled at every plan. Which files belong to which component decides what a
# commit sets off.
data "penstock_source" "shop" {
  repository     = var.repository
  ref            = "main"
  infrastructure = ["image/**"]
  configuration  = ["config/**"]
  data           = ["db/**"]
  ignore         = ["docs/**", "*.md"]
}

resource "penstock_pipeline" "shop" {
  name = "shop"
  service = {
    install      = "tar -xzf \"$PENSTOCK_ARTIFACT\""
    start        = "exec ./shop --port \"$PORT\""
    migrate      = "./shop migrate"
    seed         = "./shop seed --sample"
    health_check = { path = "/healthz", interval = "200ms" }
  }
  scale = { instances = 2 }
}

# Bootstrap: what the rest needs.
resource "penstock_stage" "bootstrap" {
  pipeline = penstock_pipeline.shop.name
  type     = "bootstrap"
  steps    = [{ name = "tools", command = "git --version; go version; make --version | head -n 1" }]
}

# Image: infrastructure and configuration commits bake the base image.
resource "penstock_baked_image" "base" {
  pipeline = penstock_pipeline.shop.name
  name     = "shop-base"
  from     = { directory = "image/rootfs" }
  source   = data.penstock_source.shop.image_revision
  steps    = [{ name = "packages", script = "image/packages.sh" }]
}

# Commit: every other commit is built, tested, analysed and stored.
resource "penstock_stage" "commit" {
  pipeline   = penstock_pipeline.shop.name
  type       = "commit"
  after      = [penstock_stage.bootstrap.passed]
  source     = data.penstock_source.shop.revision
  base_image = penstock_baked_image.base.image_id
  steps = [
    { name = "build", command = "make dist" },
    { name = "unit tests", command = "make test", report = "junit.xml" },
    { name = "static analysis", command = "make lint" },
  ]
  artifact = "dist/shop.tar.gz"
}

# Acceptance: the longer tests against an environment of one instance.
resource "penstock_stage" "acceptance" {
  pipeline = penstock_pipeline.shop.name
  type     = "acceptance"
  after    = [penstock_stage.commit.passed]
  steps = [
    { name = "version", http = { path = "/version", status = 200 } },
    { name = "journeys", command = "make acceptance", report = "acceptance.xml" },
  ]
}

# Exploratory: a person tries the build, and approves or rejects it.
resource "penstock_stage" "exploratory" {
  pipeline = penstock_pipeline.shop.name
  type     = "exploratory"
  after    = [penstock_stage.acceptance.passed]
}

# Capacity: expected and peak load, beside exploratory.
resource "penstock_stage" "capacity" {
  pipeline = penstock_pipeline.shop.name
  type     = "capacity"
  after    = [penstock_stage.acceptance.passed]
  steps = [
    # Generous limits: this machine may have other things to do.
    { name = "expected", load = { rate = 50, duration = "3s", path = "/products", p99 = "2s", error_rate = 0.001 } },
    { name = "peak", load = { rate = 200, duration = "3s", path = "/products", p99 = "5s", error_rate = 0.01 } },
  ]
}

# Pre-production: production's size, and a copy of production's data.
resource "penstock_stage" "pre_production" {
  pipeline = penstock_pipeline.shop.name
  type     = "pre-production"
  after    = [penstock_stage.exploratory.passed, penstock_stage.capacity.passed]
  steps    = [{ name = "orders", http = { path = "/orders", status = 200 } }]

  environment = { unmasked = true } # the orders name nobody; otherwise service.mask hides who ordered
}

# Production: moves when production_build changes, without a failed request.
resource "penstock_stage" "production" {
  pipeline = penstock_pipeline.shop.name
  type     = "production"
  after    = [penstock_stage.pre_production.passed]
  build    = var.production_build
  steps    = [{ name = "answers", http = { path = "/healthz", status = 200 }, retries = 3 }]
}

# Self-service: a personal environment, from a build that passed acceptance.
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
  description = "Where the self-service environments answer, and until when."
  value       = { for name, env in penstock_self_service_env.person : name => "${env.endpoint} until ${env.expires_at}" }
}
