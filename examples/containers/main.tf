# A service whose environments are made by a module as a whole, as those of a container
# service are. Here they are processes behind nginx, so that no cloud is needed.

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
  description = "Where the module keeps its environments on this machine."
  type        = string
  default     = "../sites"
}

variable "nginx" {
  description = "The program nginx: its name or path."
  type        = string
  default     = "nginx"
}

variable "production_build" {
  description = "The build that production runs. Change it to promote, change it back to roll back."
  type        = string
  default     = null
}

data "penstock_source" "shop" {
  repository = var.repository
  ref        = "main"
}

resource "penstock_pipeline" "shop" {
  name = "shop"
  module = {
    directory = "environment"
    variables = { directory = abspath(var.directory), nginx = var.nginx }
  }
  scale = { instances = 3 }
}

resource "penstock_stage" "commit" {
  pipeline = penstock_pipeline.shop.name
  type     = "commit"
  source   = data.penstock_source.shop.revision
  steps    = [{ name = "pack", command = "python3 -m py_compile shop.py && tar -czf shop.tar.gz shop.py" }]
  artifact = "shop.tar.gz"
}

resource "penstock_stage" "acceptance" {
  pipeline = penstock_pipeline.shop.name
  type     = "acceptance"
  after    = [penstock_stage.commit.passed]
  steps    = [{ name = "products", http = { path = "/products", status = 200 } }]
}

resource "penstock_stage" "production" {
  pipeline    = penstock_pipeline.shop.name
  type        = "production"
  after       = [penstock_stage.acceptance.passed]
  build       = var.production_build
  environment = { variables = { greeting = "Welcome" } }
  steps       = [{ name = "answers", http = { path = "/healthz", status = 200 } }]
}

output "ready" {
  description = "The newest build that may go to production."
  value       = penstock_stage.acceptance.passed.build
}

output "production" {
  description = "Where production answers."
  value       = penstock_stage.production.endpoint
}
