data "penstock_source" "shop" {
  repository = "https://example.com/acme/shop.git"
  ref        = "main"
}

resource "penstock_pipeline" "shop" {
  name = "shop"
  service = {
    install = "tar -xzf \"$PENSTOCK_ARTIFACT\""
    start   = "exec ./shop --port \"$PORT\""
  }
}

resource "penstock_stage" "commit" {
  pipeline = penstock_pipeline.shop.name
  type     = "commit"
  source   = data.penstock_source.shop.revision
  steps    = [{ name = "build", command = "make dist" }]
  artifact = "dist/shop.tar.gz"
}

resource "penstock_stage" "acceptance" {
  pipeline = penstock_pipeline.shop.name
  type     = "acceptance"
  after    = [penstock_stage.commit.passed]
  steps    = [{ name = "journeys", command = "make acceptance" }]
}

# The newest build that passed acceptance, chosen at launch and then kept.
resource "penstock_self_service_env" "alice" {
  pipeline = penstock_pipeline.shop.name
  name     = "alice"
  after    = [penstock_stage.acceptance.passed]
  ttl      = "8h"
}

# Always the newest build that passed acceptance, at one port.
resource "penstock_self_service_env" "demo" {
  pipeline = penstock_pipeline.shop.name
  name     = "demo"
  after    = [penstock_stage.acceptance.passed]
  follow   = true
  ttl      = "168h"
  port     = 8090
  env      = { SHOP_THEME = "demo" }
}

# One build, by its ID.
resource "penstock_self_service_env" "bisect" {
  pipeline = penstock_pipeline.shop.name
  name     = "bisect"
  build    = "b-3f2a1bc9d0"
  ttl      = "2h"
}

output "alice" {
  value = "${penstock_self_service_env.alice.endpoint} until ${penstock_self_service_env.alice.expires_at}"
}
