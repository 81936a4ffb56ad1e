# One pipeline over several accounts. Builds are made, tested and recorded in the account of tools; production
# runs in others, a wave of them at a time. Teams that keep Auto Scaling groups of their own follow the channel,
# which leads to the image of what production runs.
#
#   penstock bootstrap --region eu-west-1                              # in the account of tools: prints its roles
#   penstock bootstrap target --region eu-west-1 --stack shop --trust DEPLOYER_ROLE --readers APPROVER_ROLE,LAUNCHER_ROLE \
#     --external-id shop-1 --image-keys KEY                            # in each account of production: prints its two roles
#   penstock bootstrap --region eu-west-1 --target-roles ROLE,ROLE --reader-roles READER_ROLE,READER_ROLE   # in the account of tools
#
#   terraform init && terraform apply -var-file=production.tfvars
#
# The key of the images is one of the account of tools. So is each kms_key, a key for the copies in its region. Each
# has an alias below alias/penstock/ in its own region: a replica of a key has none of the key's aliases.

terraform {
  required_providers {
    penstock = {
      source = "penstock-io/penstock"
    }
  }
}

provider "penstock" {
  aws = { region = var.region }
}

variable "region" {
  description = "The region of the pipeline."
  type        = string
  default     = "eu-west-1"
}

variable "repository" {
  description = "The service's git repository: a URL, or a path."
  type        = string
}

variable "ami" {
  description = "The AMI that images are baked from. Null is the newest Amazon Linux."
  type        = string
  default     = null
}

variable "image_key" {
  description = "ARN of the KMS key that encrypts the images."
  type        = string
}

variable "external_id" {
  description = "The external ID that the roles of production ask for."
  type        = string
}

variable "production" {
  description = "Where production runs. A region that is not that of the pipeline needs kms_key, a key of the account of tools there."
  type = list(object({
    name            = string
    wave            = number
    role_arn        = string
    reader_role_arn = optional(string)
    region          = optional(string)
    kms_key         = optional(string)
    instances       = optional(number)
  }))
}

data "penstock_source" "shop" {
  repository     = var.repository
  ref            = "main"
  infrastructure = ["image/**"]
}

resource "penstock_pipeline" "shop" {
  name = "shop"
  service = {
    install      = "tar -xzf \"$PENSTOCK_ARTIFACT\""
    start        = "exec ./serve"
    health_check = { path = "/" }
  }
}

resource "penstock_baked_image" "base" {
  pipeline = penstock_pipeline.shop.name
  name     = "base"
  from     = { ami = var.ami, ssm_parameter = var.ami == null ? "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64" : null }
  source   = data.penstock_source.shop.image_revision
  kms_key  = var.image_key
  steps    = [{ name = "harden", script = "image/harden.sh" }]
}

resource "penstock_stage" "commit" {
  pipeline   = penstock_pipeline.shop.name
  type       = "commit"
  source     = data.penstock_source.shop.revision
  base_image = penstock_baked_image.base.image_id
  steps      = [{ name = "build", command = "./build" }]
  artifact   = "dist.tar.gz"
}

resource "penstock_stage" "acceptance" {
  pipeline = penstock_pipeline.shop.name
  type     = "acceptance"
  after    = [penstock_stage.commit.passed]
  steps    = [{ name = "answers", http = { path = "/" } }]
}

resource "penstock_stage" "production" {
  pipeline    = penstock_pipeline.shop.name
  type        = "production"
  trigger     = "automatic"
  after       = [penstock_stage.acceptance.passed]
  environment = { instances = 1, drain_timeout = "5s" }
  steps       = [{ name = "smoke", http = { path = "/" } }]
  targets     = [for target in var.production : merge(target, { external_id = var.external_id, stack = "shop" })]
  rollout     = { pause = "5s" }
  publish     = { channel = "/penstock/shop" }
}

output "current" {
  description = "The build that each account runs."
  value       = penstock_stage.production.current_by_target
}

output "endpoints" {
  description = "Where each account serves."
  value       = penstock_stage.production.endpoint_by_target
}

output "published" {
  description = "The image that the channel leads to."
  value       = penstock_stage.production.published
}
