# What the team of base images has passed, in another account. Its pipeline bakes an image,
# and its stage "acceptance" tests it.
data "penstock_passed" "base" {
  pipeline = "images"
  stage    = "acceptance"
  aws = {
    region      = "eu-west-1"
    stack       = "penstock"
    role_arn    = "arn:aws:iam::111111111111:role/penstock-ReaderRole-EXAMPLE"
    external_id = "acme-7"
  }
}

# An application is baked from that image, wherever it is published to.
data "penstock_source" "shop" {
  repository     = "https://example.com/acme/shop.git"
  infrastructure = ["image/**"]
}

resource "penstock_baked_image" "shop" {
  pipeline = "shop"
  name     = "shop-base"
  from     = { ami = data.penstock_passed.base.image_ids["eu-west-1"] }
  source   = data.penstock_source.shop.image_revision
}

# Nothing reaches production while no base image has passed.
resource "penstock_stage" "production" {
  pipeline = "shop"
  type     = "production"
  after    = [{ stage = "pre-production" }, data.penstock_passed.base.passed]
}

# On the local platform, from the data directory of another configuration.
data "penstock_passed" "library" {
  pipeline = "library"
  stage    = "acceptance"
  data_dir = "../library/.penstock"
}
