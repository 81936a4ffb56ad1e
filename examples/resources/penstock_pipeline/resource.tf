resource "penstock_pipeline" "shop" {
  name = "shop"

  service = {
    install = "tar -xzf \"$PENSTOCK_ARTIFACT\""
    migrate = "./shop migrate"
    seed    = "./shop seed --sample"
    start   = "exec ./shop --port \"$PORT\""

    health_check = {
      path          = "/healthz"
      interval      = "1s"
      start_timeout = "30s"
    }
  }

  scale = { instances = 2 } # production's size
  keep  = 20                # builds, besides those in use
}

# A pipeline that only builds and tests has no service.
resource "penstock_pipeline" "library" {
  name = "library"
}
