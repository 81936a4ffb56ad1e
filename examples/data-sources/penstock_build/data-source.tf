# The newest build that passed a stage.
data "penstock_build" "ready" {
  pipeline = "shop"
  passed   = "pre-production"
}

# One build, by its ID.
data "penstock_build" "one" {
  pipeline = "shop"
  id       = "b-3f2a1bc9d0"
}

output "ready" {
  value = {
    build    = data.penstock_build.ready.id
    commit   = data.penstock_build.ready.commit
    artifact = data.penstock_build.ready.artifact_path
  }
}
