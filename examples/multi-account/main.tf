# Images for several accounts and regions: they are baked in the account of tools, and
# launched in those of the teams. Each account that deploys has its own stack, its own
# ledger and its own pipeline; what joins them is the image.
#
# The key has an alias below alias/penstock/, so that the deployer role may grant its use.

terraform {
  required_providers {
    penstock = {
      source = "penstock-io/penstock"
    }
  }
}

# The account of tools, reached through two roles: that of the person or the CI server,
# and the deployer's of the stack there.
provider "penstock" {
  aws = {
    region = "eu-west-1"
    assume_role = [
      { role_arn = "arn:aws:iam::111111111111:role/tools" },
      { role_arn = "arn:aws:iam::111111111111:role/penstock-DeployerRole-EXAMPLE", session_name = "images" },
    ]
  }
}

data "penstock_source" "images" {
  repository     = "https://example.com/acme/images.git"
  ref            = "main"
  infrastructure = ["**"]
}

resource "penstock_pipeline" "images" {
  name = "images"
}

resource "penstock_baked_image" "linux" {
  pipeline = penstock_pipeline.images.name
  name     = "linux"
  from     = { ssm_parameter = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64" }
  source   = data.penstock_source.images.image_revision
  kms_key  = "alias/penstock/images"
  steps    = [{ name = "harden", script = "linux/harden.sh" }]
  cleanup  = ["rm -rf var/cache/dnf"]
  keep     = 5
  publish = {
    regions         = ["eu-central-1", "us-east-1"]
    kms_keys        = { eu-central-1 = "alias/penstock/images", us-east-1 = "alias/penstock/images" }
    share_with      = { accounts = ["222222222222", "333333333333"] }
    ssm_parameter   = "/penstock/linux"
    deprecate_after = "2160h" # 90 days
    keep_shared     = true
  }
}

# In the other accounts: from = { filter = { name = "penstock images/linux *", owners = ["111111111111"] } },
# or the ID for their region from here.
output "linux" {
  description = "The newest image by region."
  value       = penstock_baked_image.linux.image_ids
}
