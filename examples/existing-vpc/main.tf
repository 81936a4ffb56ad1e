# A pipeline in an existing VPC, with load balancers that only the VPC can reach.
# The subnets must reach Systems Manager and S3, by a NAT gateway or by endpoints; and
# Terraform must run where it reaches the instances' private addresses.
#
#   penstock bootstrap support --region eu-west-1 --stack shop \
#     --vpc vpc-0123456789abcdef0 --subnets subnet-0aaaaaaaaaaaaaaaa,subnet-0bbbbbbbbbbbbbbbb \
#     --bucket acme-artifacts --clients 10.0.0.0/8

terraform {
  required_providers {
    penstock = {
      source = "penstock-io/penstock"
    }
  }
}

provider "penstock" {
  aws = {
    region                 = "eu-west-1"
    stack                  = "shop"
    internal_load_balancer = true
  }
}

data "penstock_source" "shop" {
  repository     = "https://example.com/acme/shop.git"
  ref            = "main"
  infrastructure = ["image/**"]
}

resource "penstock_pipeline" "shop" {
  name = "shop"
  service = {
    install      = "tar -xzf \"$PENSTOCK_ARTIFACT\""
    start        = "exec ./shop --port \"$PORT\""
    health_check = { path = "/healthz" }
  }
  scale = { instances = 3 }
}

# The newest image of the base image team.
resource "penstock_baked_image" "base" {
  pipeline      = penstock_pipeline.shop.name
  name          = "shop-base"
  from          = { filter = { name = "acme-linux-*", owners = ["210987654321"], architecture = "x86_64" } }
  follow_source = true # bake again when they publish one
  source        = data.penstock_source.shop.image_revision
  steps         = [{ name = "packages", script = "image/packages.sh" }]
}

resource "penstock_stage" "commit" {
  pipeline   = penstock_pipeline.shop.name
  type       = "commit"
  source     = data.penstock_source.shop.revision
  base_image = penstock_baked_image.base.image_id
  steps      = [{ name = "build and test", command = "make dist test" }]
  artifact   = "dist/shop.tar.gz"
}

resource "penstock_stage" "acceptance" {
  pipeline = penstock_pipeline.shop.name
  type     = "acceptance"
  after    = [penstock_stage.commit.passed]
  steps    = [{ name = "journeys", command = "make acceptance" }]
}

resource "penstock_stage" "production" {
  pipeline    = penstock_pipeline.shop.name
  type        = "production"
  after       = [penstock_stage.acceptance.passed]
  environment = { alarms = ["shop-5xx"], keep_previous = "2h" }
}
