data "penstock_source" "shop" {
  repository     = "https://example.com/acme/shop.git"
  ref            = "main"
  infrastructure = ["image/**"]
  configuration  = ["config/**"]
}

resource "penstock_pipeline" "shop" {
  name = "shop"
}

# Starts from a directory of the repository. The steps run in the root of a copy of it.
resource "penstock_baked_image" "base" {
  pipeline = penstock_pipeline.shop.name
  name     = "shop-base"
  from     = { directory = "image/rootfs" }
  source   = data.penstock_source.shop.image_revision

  steps = [
    { name = "packages", script = "image/packages.sh", timeout = "10m" },
    { name = "configuration", command = "cp -R \"$PENSTOCK_SOURCE/config\" ." },
  ]
}

# Starts from another image.
resource "penstock_baked_image" "debug" {
  pipeline = penstock_pipeline.shop.name
  name     = "shop-debug"
  from     = { image = penstock_baked_image.base.image_id }
  source   = data.penstock_source.shop.image_revision
  steps    = [{ name = "settings", command = "mkdir -p etc && echo verbose > etc/log-level" }]
  keep     = 0
}
