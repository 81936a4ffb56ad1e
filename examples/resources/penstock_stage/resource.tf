data "penstock_source" "shop" {
  repository = "https://example.com/acme/shop.git"
  ref        = "main"
  ignore     = ["docs/**", "*.md"]
}

resource "penstock_pipeline" "shop" {
  name = "shop"
  service = {
    install      = "tar -xzf \"$PENSTOCK_ARTIFACT\""
    start        = "exec ./shop --port \"$PORT\""
    health_check = { path = "/healthz" }
  }
  scale = { instances = 2 }
}

# Builds every commit that changes something, and stores the distribution.
resource "penstock_stage" "commit" {
  pipeline = penstock_pipeline.shop.name
  type     = "commit"
  source   = data.penstock_source.shop.revision
  steps = [
    { name = "build", command = "make dist" },
    { name = "unit tests", command = "make test", report = "junit.xml" },
  ]
  artifact = "dist/shop.tar.gz"
}

# Launches an environment of one instance, tests it, and bakes the build's image.
resource "penstock_stage" "acceptance" {
  pipeline = penstock_pipeline.shop.name
  type     = "acceptance"
  after    = [penstock_stage.commit.passed]
  steps = [
    { name = "version", http = { path = "/version", contains = "\"version\"" } },
    { name = "journeys", command = "make acceptance", retries = 1, timeout = "20m" },
  ]
  on_failure = "keep" # so that you can inspect the environment
}

# Passes with a person's approval. The environment is there until the decision.
resource "penstock_stage" "exploratory" {
  pipeline    = penstock_pipeline.shop.name
  type        = "exploratory"
  after       = [penstock_stage.acceptance.passed]
  environment = { instances = 1 }
}

# Runs beside exploratory, at production's size.
resource "penstock_stage" "capacity" {
  pipeline = penstock_pipeline.shop.name
  type     = "capacity"
  after    = [penstock_stage.acceptance.passed]
  steps = [
    { name = "expected", load = { rate = 50, duration = "30s", path = "/", p99 = "200ms", error_rate = 0.001 } },
    { name = "peak", load = { rate = 200, duration = "30s", path = "/", p99 = "500ms", error_rate = 0.01 } },
  ]
}

# A stage of your own: any name, type custom.
resource "penstock_stage" "licences" {
  pipeline = penstock_pipeline.shop.name
  type     = "custom"
  name     = "licences"
  after    = [penstock_stage.commit.passed]
  steps    = [{ name = "licences", command = "make licences" }]
}

# Takes a build that passed every stage in after.
resource "penstock_stage" "pre_production" {
  pipeline = penstock_pipeline.shop.name
  type     = "pre-production"
  after = [
    penstock_stage.exploratory.passed,
    penstock_stage.capacity.passed,
    penstock_stage.licences.passed,
  ]
  steps = [{ name = "answers", http = { path = "/healthz" } }]

  # It begins with a copy of production's data, in which nothing is of people. Otherwise
  # service.mask of the pipeline makes the copy harmless.
  environment = { unmasked = true }
}

variable "production_build" {
  description = "The build that production runs. Change it to promote, change it back to roll back."
  type        = string
  default     = null
}

# Moves only by build, or by `penstock promote`. Its environment is persistent.
resource "penstock_stage" "production" {
  pipeline    = penstock_pipeline.shop.name
  type        = "production"
  after       = [penstock_stage.pre_production.passed]
  build       = var.production_build
  environment = { port = 8080, drain_timeout = "1m" }
  steps       = [{ name = "answers", http = { path = "/healthz" }, retries = 3 }]

  lifecycle {
    prevent_destroy = true # its data goes with it
  }
}
