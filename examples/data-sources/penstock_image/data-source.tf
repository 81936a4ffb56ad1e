# The newest image of a name: of a penstock_baked_image, or of the stage that baked it.
data "penstock_image" "base" {
  pipeline = "shop"
  name     = "shop-base"
}

output "base" {
  value = "${data.penstock_image.base.id}, ${data.penstock_image.base.size} bytes"
}
