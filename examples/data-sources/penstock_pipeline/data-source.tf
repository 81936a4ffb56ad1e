# Where every stage of a pipeline stands, as `penstock status` shows it.
data "penstock_pipeline" "shop" {
  name = "shop"
}

output "stages" {
  value = data.penstock_pipeline.shop.stages
}
