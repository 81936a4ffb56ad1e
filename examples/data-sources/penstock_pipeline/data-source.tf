# The status of every stage of a pipeline, as `penstock status` shows it.
data "penstock_pipeline" "shop" {
  name = "shop"

  # In the configuration that moves the pipeline, read it after the stages:
  # depends_on = [penstock_stage.production]
}

output "stages" {
  value = data.penstock_pipeline.shop.stages
}

output "log" {
  value = data.penstock_pipeline.shop.stages["production"].log
}
