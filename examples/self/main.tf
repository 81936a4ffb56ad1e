# The pipeline of Penstock's own repository: build, unit tests and vet as steps.
# Apply it from a clone: the repository is the directory two levels up.

terraform {
  required_providers {
    penstock = {
      source = "penstock-io/penstock"
    }
  }
}

provider "penstock" {}

variable "repository" {
  description = "A git repository of Penstock: a URL, or a path."
  type        = string
  default     = "../.."
}

variable "ref" {
  description = "The branch, tag or commit to build; the repository's HEAD by default."
  type        = string
  default     = "HEAD"
}

data "penstock_source" "penstock" {
  repository = var.repository
  ref        = var.ref
  ignore     = ["docs/**", "*.md", ".github/**"]
}

resource "penstock_pipeline" "penstock" {
  name = "penstock"
  keep = 10
}

resource "penstock_stage" "commit" {
  pipeline = penstock_pipeline.penstock.name
  type     = "commit"
  source   = data.penstock_source.penstock.revision
  steps = [
    { name = "build", command = "CGO_ENABLED=0 go build -trimpath -o dist/terraform-provider-penstock ." },
    { name = "unit tests", command = "go test -short ./internal/pipeline/... ./internal/poll/... ./internal/engine/..." },
    { name = "vet", command = "go vet ./internal/pipeline/... ./internal/engine/..." },
  ]
  artifact = "dist/terraform-provider-penstock"
}

# A build is good when the binary that was stored says what it is.
resource "penstock_stage" "smoke" {
  pipeline = penstock_pipeline.penstock.name
  name     = "smoke"
  type     = "custom"
  after    = [penstock_stage.commit.passed]
  steps    = [{ name = "version", command = "cp \"$PENSTOCK_ARTIFACT\" ./penstock && chmod +x ./penstock && ./penstock version" }]
}

output "build" {
  description = "The newest build that passed."
  value       = penstock_stage.smoke.passed.build
}
