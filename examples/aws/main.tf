# The nine stages of a pipeline for a small HTTP service, on AWS.
#
# Once for each account and region, with credentials that may create roles:
#
#   penstock bootstrap --region eu-west-1
#
# Then, with credentials of a deployer:
#
#   terraform init && terraform apply -var repository=https://example.com/acme/shop.git

terraform {
  required_providers {
    penstock = {
      source = "penstock-io/penstock"
    }
  }
}

provider "penstock" {
  aws = {
    region           = var.region
    stack            = "penstock"  # that `penstock bootstrap` made
    instance_type    = "t4g.small" # the default
    public_endpoints = var.outside # single instances are reached from outside of the VPC
    default_tags     = { team = "shop" }
  }
}

variable "region" {
  description = "The region of the pipeline."
  type        = string
  default     = "eu-west-1"
}

variable "outside" {
  description = "Whether Terraform runs outside of the VPC. Then bootstrap with --public-instances, and --clients with your addresses."
  type        = bool
  default     = true
}

variable "repository" {
  description = "The service's git repository: a URL, or a path."
  type        = string
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

# Polled at every plan.
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
    port         = 8080
    health_check = { path = "/healthz", start_timeout = "2m" }
  }
  scale = { instances = 2, instance_type = "m7g.large" }
}

# Bootstrap: what the rest needs where Terraform runs.
resource "penstock_stage" "bootstrap" {
  pipeline = penstock_pipeline.shop.name
  type     = "bootstrap"
  steps    = [{ name = "tools", command = "git --version; go version" }]
}

# Image: infrastructure and configuration commits bake an AMI from the newest Amazon
# Linux. The next bake uses a newer one.
resource "penstock_baked_image" "base" {
  pipeline = penstock_pipeline.shop.name
  name     = "shop-base"
  from     = { ssm_parameter = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64" }
  source   = data.penstock_source.shop.image_revision
  steps    = [{ name = "packages", script = "image/packages.sh" }]
  publish  = { ssm_parameter = "/penstock/shop/base" } # for other Terraform code
}

# Commit: every other commit is built, tested, analysed and stored.
resource "penstock_stage" "commit" {
  pipeline   = penstock_pipeline.shop.name
  type       = "commit"
  after      = [penstock_stage.bootstrap.passed]
  source     = data.penstock_source.shop.revision
  base_image = penstock_baked_image.base.image_id
  steps = [
    { name = "build", command = "make dist GOOS=linux GOARCH=arm64" }, # for the machines above
    { name = "unit tests", command = "make test", report = "junit.xml" },
    { name = "static analysis", command = "make lint" },
  ]
  artifact = "dist/shop.tar.gz"
}

# Acceptance: the artifact on one instance, the longer tests, and an AMI of it.
resource "penstock_stage" "acceptance" {
  pipeline    = penstock_pipeline.shop.name
  type        = "acceptance"
  after       = [penstock_stage.commit.passed]
  environment = { instance_type = "t4g.small" }
  steps = [
    { name = "version", http = { path = "/version", status = 200 } },
    { name = "journeys", command = "make acceptance", report = "acceptance.xml" },
  ]
}

# Exploratory: a person tries the build, and approves or rejects it.
resource "penstock_stage" "exploratory" {
  pipeline    = penstock_pipeline.shop.name
  type        = "exploratory"
  after       = [penstock_stage.acceptance.passed]
  environment = { instance_type = "t4g.small" }
}

# Capacity: production's size behind a load balancer, expected and peak load.
resource "penstock_stage" "capacity" {
  pipeline    = penstock_pipeline.shop.name
  type        = "capacity"
  after       = [penstock_stage.acceptance.passed]
  environment = { port = 82 }
  steps = [
    { name = "expected", load = { rate = 50, duration = "2m", path = "/products", p99 = "200ms", error_rate = 0.001 } },
    { name = "peak", load = { rate = 200, duration = "2m", path = "/products", p99 = "500ms", error_rate = 0.01 } },
  ]
}

# Pre-production: production's size, and a copy of production's data.
resource "penstock_stage" "pre_production" {
  pipeline    = penstock_pipeline.shop.name
  type        = "pre-production"
  after       = [penstock_stage.exploratory.passed, penstock_stage.capacity.passed]
  environment = { port = 84, unmasked = true } # the orders name nobody; otherwise service.mask hides who ordered
  steps       = [{ name = "orders", http = { path = "/orders", status = 200 } }]
}

# Production: moves when production_build changes. A tenth of the traffic first; the
# previous instances are kept for an hour, for a rollback.
resource "penstock_stage" "production" {
  pipeline = penstock_pipeline.shop.name
  type     = "production"
  after    = [penstock_stage.pre_production.passed]
  build    = var.production_build
  environment = {
    port          = 80
    shift         = [{ percent = 10, pause = "5m" }, { percent = 50, pause = "5m" }]
    keep_previous = "1h"
  }
  steps = [{ name = "answers", http = { path = "/healthz", status = 200 }, retries = 3 }]
}

# Self-service: a personal environment, from a build that passed acceptance.
resource "penstock_self_service_env" "person" {
  for_each = var.self_service
  pipeline = penstock_pipeline.shop.name
  name     = each.key
  after    = [penstock_stage.acceptance.passed]
  ttl      = "8h"
}

output "ready" {
  description = "The newest build that may go to production."
  value       = penstock_stage.pre_production.passed.build
}

output "production" {
  description = "Where production answers."
  value       = penstock_stage.production.endpoint
}
